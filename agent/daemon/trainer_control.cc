#include "agent/daemon/trainer_control.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <memory>
#include <string>

#include "proto/socket_path.h"

namespace ratchet::agent {
namespace {

namespace asio = boost::asio;
using Socket = asio::local::stream_protocol::socket;
constexpr auto kNoThrow = asio::as_tuple(asio::use_awaitable);

}  // namespace

asio::awaitable<Result<ControlResponse>> ask_trainer(std::filesystem::path path,
                                                     ControlRequest request,
                                                     std::chrono::milliseconds timeout) {
  const auto executor = co_await asio::this_coro::executor;
  const auto name = SocketPath::open(path);
  if (!name) co_return name.error();
  const auto socket = std::make_shared<Socket>(executor);
  asio::steady_timer timer(executor);
  timer.expires_after(timeout);
  timer.async_wait([socket](const boost::system::error_code& error) {
    boost::system::error_code ignored;
    if (!error) socket->close(ignored);
  });
  const Error silent{Code::kUnavailable, "The trainer did not answer on '" + path.string() + "'."};
  const asio::local::stream_protocol::endpoint endpoint(name->name());
  auto [connect_error] = co_await socket->async_connect(endpoint, kNoThrow);
  if (connect_error) {
    co_return Error{Code::kNotFound, "No trainer listens on '" + path.string() + "'."};
  }
  const std::string line = encode_control_request(request) + "\n";
  auto [write_error, written] = co_await asio::async_write(*socket, asio::buffer(line), kNoThrow);
  if (write_error) co_return silent;
  std::string answer;
  auto [read_error, size] = co_await asio::async_read_until(
      *socket, asio::dynamic_buffer(answer, kMaxControlBytes), '\n', kNoThrow);
  if (read_error) co_return silent;
  co_return decode_control_response(std::string_view(answer).substr(0, size - 1));
}

}  // namespace ratchet::agent
