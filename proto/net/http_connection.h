#pragma once

// One connection of the HTTP server: its requests one after the other. Private to proto/net.

#include <boost/asio/any_io_executor.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "proto/net/http_server.h"
#include "proto/net/stream.h"

namespace ratchet::net {

using SteadyTime = std::chrono::steady_clock::time_point;
constexpr SteadyTime kNoDeadline = SteadyTime::max();

// What connections share with their server.
struct ServerState {
  ServerOptions options;
  Handler handler;
  std::shared_ptr<TlsContext> tls;
  ServerStats stats;
  bool stopping = false;
};

class Connection : public Exchange {
 public:
  Connection(asio::ip::tcp::socket socket, std::string remote_address,
             std::shared_ptr<ServerState> state);

  // From accept to close.
  asio::awaitable<void> serve();

  // Called by the server's sweep: ends what waits longer than it may.
  void sweep(SteadyTime now);
  [[nodiscard]] bool is_idle() const { return idle_; }
  void close() { stream_.close(); }
  void expire() { stream_.expire(); }

  [[nodiscard]] const Request& request() const override { return request_; }
  [[nodiscard]] std::optional<std::uint64_t> content_length() const override;
  asio::awaitable<Result<std::string>> read_body(std::size_t max_bytes) override;
  asio::awaitable<Result<std::size_t>> read_some(std::span<char> buffer) override;
  asio::awaitable<Status> send(Response response) override;
  asio::awaitable<Status> send_file(Response response, FileRange range) override;
  asio::awaitable<Status> begin_stream(Response response) override;
  asio::awaitable<Status> write(std::string piece) override;
  asio::awaitable<Status> end_stream() override;
  [[nodiscard]] bool answered() const override { return answered_; }
  [[nodiscard]] bool should_end() const override;

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::buffer_body>;
  enum class Next { kKeep, kClose };

  asio::awaitable<bool> wait_for_request();
  asio::awaitable<bool> read_header();
  int make_request();  // status of the refusal, 0 when it is fine
  asio::awaitable<void> refuse(int status);
  asio::awaitable<Next> answer_request();
  asio::awaitable<bool> drain_body();
  asio::awaitable<void> linger();
  asio::awaitable<IoFault> fill(SteadyTime deadline);
  asio::awaitable<Status> write_bytes(std::string_view bytes);
  std::string header_text(const Response& response, std::optional<std::uint64_t> length);
  bool parse_body_piece(std::span<char> buffer, std::size_t& done, bool& broken);
  void set_deadline(SteadyTime deadline);

  std::shared_ptr<ServerState> state_;
  mutable Stream stream_;
  std::string remote_address_;
  std::string input_;       // read and not yet parsed
  std::size_t parsed_ = 0;  // bytes of input_ that are done with
  SteadyTime deadline_ = kNoDeadline;
  bool idle_ = true;

  std::optional<Parser> parser_;
  Request request_;
  SteadyTime body_began_;
  std::uint64_t body_bytes_ = 0;
  bool continue_wanted_ = false;  // the peer waits for "100 Continue"
  bool answered_ = false;
  bool streaming_ = false;
  bool chunked_ = false;
  bool keep_alive_ = false;
  bool failed_ = false;  // nothing more can be sent or read
};

}  // namespace ratchet::net
