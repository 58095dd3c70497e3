#pragma once

// One connection of the HTTP client: one request at a time. Private to proto/net.

#include <boost/asio/any_io_executor.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "proto/net/http_client.h"
#include "proto/net/stream.h"

namespace ratchet::net {

using SteadyTime = std::chrono::steady_clock::time_point;

class ClientConnection {
 public:
  ClientConnection(asio::any_io_executor executor, std::size_t max_header_bytes);

  asio::awaitable<Status> connect(Url base, std::string pinned_address, Millis timeout,
                                  std::shared_ptr<TlsContext> tls);

  // Sends header and body. A failure is no verdict yet: the peer may have answered early.
  asio::awaitable<IoFault> write(std::string_view header, std::string_view body);
  asio::awaitable<IoFault> write_file(FileRange range);
  // The header of the final answer (100 Continue is skipped).
  asio::awaitable<Result<ClientResponse>> read_header(Method method);
  // The next piece of the body; empty at its end.
  asio::awaitable<Result<std::string_view>> read_body();

  [[nodiscard]] bool reusable() const;
  [[nodiscard]] bool is_quiet() { return stream_->is_quiet(); }
  [[nodiscard]] bool got_bytes() const { return got_bytes_; }
  void expire() { stream_->expire(); }
  void close() { stream_->close(); }

  SteadyTime idle_since{};

 private:
  using Parser = boost::beast::http::response_parser<boost::beast::http::buffer_body>;
  asio::awaitable<Status> connect_to(std::string address, const Url& base);
  asio::awaitable<IoFault> fill();
  bool parse_body_piece(std::size_t& done, bool& broken);

  asio::any_io_executor executor_;
  std::unique_ptr<Stream> stream_;
  std::size_t max_header_bytes_;
  std::optional<Parser> parser_;
  std::string input_;
  std::size_t parsed_ = 0;
  std::string piece_;
  bool got_bytes_ = false;  // of the answer to the current request
  bool clean_ = false;      // the last exchange was complete
};

Error unavailable(const Url& base, const std::string& why);

}  // namespace ratchet::net
