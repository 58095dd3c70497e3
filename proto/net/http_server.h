#pragma once

// HTTP/1.1 server, as coroutines: one handler for all requests, bounds on everything a peer sends.
//
//   auto server = HttpServer::listen(executor, {.port = 7070}, handle);
//   asio::awaitable<void> handle(Exchange& exchange) {
//     const auto body = co_await exchange.read_body(64 * 1024);
//     Response response;
//     response.body = "...";
//     co_await exchange.send(std::move(response));
//   }
//
// Give arguments of awaited calls as named objects: GCC 12 destroys a braced temporary within a
// co_await expression twice.
//
// Malformed requests are answered with 400, 408, 413, 414, 431 or 501 and closed before a handler
// sees them; a handler that throws or sends nothing is answered with 500. Idle connections hold no
// buffer. A server lives on one thread, that of its executor.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "proto/net/http_types.h"
#include "proto/net/tls.h"
#include "proto/net/url.h"
#include "proto/result.h"

namespace ratchet::net {

namespace asio = boost::asio;
using Millis = std::chrono::milliseconds;

struct ServerOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;             // 0: the kernel chooses
  std::optional<TlsServerFiles> tls;  // absent: plaintext
  // Without it, listening in plaintext on an address beyond loopback is refused.
  bool allow_plaintext = false;
  std::size_t max_connections = 20000;  // further ones are closed at once
  std::size_t max_header_bytes = 16 * 1024;
  std::size_t max_header_fields = 100;
  Millis header_timeout{10000};  // first byte to the end of the header; also the TLS handshake
  Millis body_timeout{30000};    // between two pieces of a body
  Millis write_timeout{30000};   // between two pieces of an answer that the peer takes
  Millis idle_timeout{90000};    // between two requests
  // Reads of files for send_file() happen here; empty: on the server's own thread.
  asio::any_io_executor file_executor;
};

struct Request {
  Method method = Method::kGet;
  std::string path;      // unescaped; always begins with '/', holds no NUL
  std::string raw_path;  // as it came, for routes whose parts may hold an escaped '/'
  QueryParameters query;
  Headers headers;
  std::string remote_address;
  bool tls = false;
  [[nodiscard]] std::optional<std::string_view> parameter(std::string_view name) const;
};

struct Response {
  int status = 200;
  Headers headers;  // Content-Length, Date and Connection are the server's
  std::string body;
};

// One request and its answer. Lent to the handler until it returns.
class Exchange {
 public:
  virtual ~Exchange() = default;
  [[nodiscard]] virtual const Request& request() const = 0;
  [[nodiscard]] virtual std::optional<std::uint64_t> content_length() const = 0;

  // The whole body. Errors: kInvalidArgument, it is larger than `max_bytes` (answer 413);
  // kCorrupt, broken framing (400); kUnavailable, the peer is gone or too slow (408).
  virtual asio::awaitable<Result<std::string>> read_body(std::size_t max_bytes) = 0;
  // The next piece, at most buffer.size() bytes; 0 at the end.
  virtual asio::awaitable<Result<std::size_t>> read_some(std::span<char> buffer) = 0;

  // Answers. Each fails with kUnavailable when the peer is gone. A body that was not read is
  // skipped when it is small; otherwise the connection is closed after the answer.
  virtual asio::awaitable<Status> send(Response response) = 0;
  // `response.body` is not used. Content-Length is the range's; status as given (200, 206).
  virtual asio::awaitable<Status> send_file(Response response, FileRange range) = 0;
  // An answer of unknown length (SSE, logs): begin_stream, write..., end_stream. Nothing is held
  // back: a piece is on its way when write() returns.
  virtual asio::awaitable<Status> begin_stream(Response response) = 0;
  virtual asio::awaitable<Status> write(std::string piece) = 0;
  virtual asio::awaitable<Status> end_stream() = 0;

  [[nodiscard]] virtual bool answered() const = 0;  // a status was sent
  // The peer has closed its side, or the server stops: a long poll or stream should end.
  [[nodiscard]] virtual bool should_end() const = 0;
};

using Handler = std::function<asio::awaitable<void>(Exchange& exchange)>;

struct ServerStats {
  std::uint64_t connections = 0;  // open now
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;  // over max_connections
  std::uint64_t requests = 0;
  std::uint64_t malformed = 0;
  std::uint64_t timed_out = 0;
  std::uint64_t handler_failures = 0;
};

class HttpServer {
 public:
  // Binds and begins to accept. Fails when the address is taken, the TLS files are unusable, or
  // plaintext beyond loopback is not allowed.
  static Result<std::unique_ptr<HttpServer>> listen(asio::any_io_executor executor,
                                                    ServerOptions options, Handler handler);
  ~HttpServer();  // closes everything
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  [[nodiscard]] std::uint16_t port() const;
  [[nodiscard]] std::string url() const;  // "http://127.0.0.1:7070"
  [[nodiscard]] ServerStats stats() const;

  // Reads certificate and key again, for connections that begin from now on: they are replaced on
  // disk long before they run out. On an error those in use stay. Nothing to do without TLS.
  Status reload_tls();

  // Accepts no more, closes idle connections, waits for the others at most `grace`, then closes
  // them. Returns when no connection is left.
  asio::awaitable<void> stop(Millis grace);

 private:
  struct Impl;
  explicit HttpServer(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace ratchet::net
