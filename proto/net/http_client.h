#pragma once

// HTTP/1.1 client of one service, as coroutines.
//
//   auto client = HttpClient::create(executor, parse_url("https://control:7070").value(), {...});
//   ClientRequest request;  // a named one: see http_server.h
//   request.target = "/v1/nodes";
//   auto answer = co_await client.value()->send(std::move(request));
//   if (answer && answer->status == 200) use(answer->body);
//
// Connections are kept and reused. A request goes out once; only when a kept connection turns out
// to be closed and the request may be repeated (GET, HEAD, PUT, DELETE, or an Idempotency-Key) it
// goes out again on a fresh one. All other retries are the caller's (proto/net/retry.h).
//
// Errors: kUnavailable (not reached, timed out, cut off, cancelled), kCorrupt (no HTTP),
// kInvalidArgument (answer larger than allowed), kFailedPrecondition (refused: plaintext, or the
// peer's certificate), or what a sink returned. A status of 400 and above is an answer, no error.
//
// Lives on one thread, that of its executor. Must outlive its requests.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "proto/net/http_types.h"
#include "proto/net/sse.h"
#include "proto/net/tls.h"
#include "proto/net/url.h"
#include "proto/result.h"

namespace ratchet::net {

namespace asio = boost::asio;
using Millis = std::chrono::milliseconds;

struct ClientOptions {
  TlsClientOptions tls;      // used by https URLs
  std::string bearer_token;  // sent with every request; may be replaced later
  // Without it a bearer token is only sent by TLS or to a loopback address.
  bool allow_plaintext = false;
  std::string user_agent = "ratchet";
  Millis connect_timeout{5000};  // name, connection and TLS handshake together
  Millis total_timeout{30000};
  std::size_t max_response_bytes = 4 * 1024 * 1024;
  std::size_t max_header_bytes = 64 * 1024;
  std::size_t max_idle_connections = 4;
  Millis idle_timeout{45000};  // a kept connection is dropped after
  // Connect here instead of what the host's name resolves to; the name still counts for the Host
  // header and the certificate.
  std::string pinned_address;
};

// Ends requests from outside: they return kUnavailable. One thread; may be shared by requests.
class CancelSource {
 public:
  CancelSource();
  ~CancelSource();
  CancelSource(const CancelSource&) = delete;
  CancelSource& operator=(const CancelSource&) = delete;
  void cancel();
  [[nodiscard]] bool cancelled() const;

  struct Impl;
  [[nodiscard]] const std::shared_ptr<Impl>& impl() const { return impl_; }

 private:
  std::shared_ptr<Impl> impl_;
};

struct ClientRequest {
  Method method = Method::kGet;
  std::string target;  // path and query below the base URL's path: "/v1/jobs?limit=10"
  Headers headers;
  std::variant<std::string, FileRange> body;  // a file range is streamed
  Millis total_timeout{0};                    // 0: the client's
  std::size_t max_response_bytes = 0;         // 0: the client's; of what is kept in memory
  bool repeatable = false;  // like an Idempotency-Key: may go out again on a fresh connection
  bool ignore_body =
      false;  // the status is all that counts; a body is read up to the bound at most
  CancelSource* cancel = nullptr;  // borrowed
};

struct ClientResponse {
  int status = 0;
  Headers headers;
  std::string body;  // of a streamed answer: empty, unless its status is not 2xx
};

class HttpClient {
 public:
  static Result<std::unique_ptr<HttpClient>> create(asio::any_io_executor executor, Url base,
                                                    ClientOptions options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  asio::awaitable<Result<ClientResponse>> send(ClientRequest request);

  // Gives the body of a 2xx answer to the sink in pieces; the total time-out then counts silence
  // between two pieces instead of the whole.
  using Sink = std::function<Status(std::string_view piece)>;
  asio::awaitable<Result<ClientResponse>> download(ClientRequest request, Sink sink);

  // Server-sent events of a 2xx answer, until it ends or the sink fails. Ends with kUnavailable
  // after `silence` without a byte (comments count).
  using EventSink = std::function<Status(const SseEvent& event)>;
  asio::awaitable<Result<ClientResponse>> stream(ClientRequest request, Millis silence,
                                                 EventSink sink);

  void set_bearer_token(std::string token);
  [[nodiscard]] const Url& base() const;
  void close_idle();

 private:
  struct Impl;
  explicit HttpClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Addresses of a host, bounded in time also when the system's resolver hangs. Numeric hosts are
// returned as they are.
asio::awaitable<Result<std::vector<std::string>>> resolve_host(std::string host, Millis timeout);

}  // namespace ratchet::net
