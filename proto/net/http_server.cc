#include "proto/net/http_server.h"

#include <fcntl.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <list>

#include "proto/net/http_connection.h"

namespace ratchet::net {

using asio::ip::tcp;
using std::chrono::steady_clock;

std::optional<std::string_view> Request::parameter(std::string_view name) const {
  const auto found = std::ranges::find(query, name, &std::pair<std::string, std::string>::first);
  if (found == query.end()) return std::nullopt;
  return found->second;
}

struct HttpServer::Impl : std::enable_shared_from_this<HttpServer::Impl> {
  Impl(asio::any_io_executor the_executor)
      : executor(std::move(the_executor)), acceptor(executor), sweep_timer(executor) {}

  asio::any_io_executor executor;
  tcp::acceptor acceptor;
  asio::steady_timer sweep_timer;
  std::shared_ptr<ServerState> state = std::make_shared<ServerState>();
  std::list<std::shared_ptr<Connection>> connections;
  std::uint16_t port = 0;

  Status bind();
  void close_all();
  static asio::awaitable<void> accept_loop(std::shared_ptr<Impl> self);
  static asio::awaitable<void> sweep_loop(std::shared_ptr<Impl> self);
  static asio::awaitable<void> session(std::shared_ptr<Impl> self, tcp::socket socket,
                                       std::string remote);
};

namespace {

Error listen_error(const ServerOptions& options, const std::string& why) {
  return {Code::kUnavailable, "Cannot listen on " + options.address + ":" +
                                  std::to_string(options.port) + ": " + why +
                                  ". Choose another address, or end the program that uses it."};
}

// How often deadlines are looked at: a quarter of the shortest one.
Millis sweep_interval(const ServerOptions& options) {
  const Millis shortest = std::min(
      {options.header_timeout, options.body_timeout, options.write_timeout, options.idle_timeout});
  return std::clamp(shortest / 4, Millis(5), Millis(250));
}

}  // namespace

Status HttpServer::Impl::bind() {
  const ServerOptions& options = state->options;
  boost::system::error_code fault;
  const auto address =
      asio::ip::make_address(options.address == "localhost" ? "127.0.0.1" : options.address, fault);
  if (fault) return listen_error(options, "the address is no numeric IPv4 or IPv6 address");
  if (!options.tls && !options.allow_plaintext && !address.is_loopback()) {
    return Error{Code::kFailedPrecondition,
                 "Listening on " + options.address +
                     " without TLS is refused: tokens would cross the network in clear. Give a "
                     "certificate and a key, or allow plaintext by name."};
  }
  const tcp::endpoint endpoint(address, options.port);
  acceptor.open(endpoint.protocol(), fault);
  if (!fault) ::fcntl(acceptor.native_handle(), F_SETFD, FD_CLOEXEC);
  if (!fault) acceptor.set_option(tcp::acceptor::reuse_address(true), fault);
  if (!fault) acceptor.bind(endpoint, fault);
  if (!fault) acceptor.listen(4096, fault);
  if (!fault) port = acceptor.local_endpoint(fault).port();
  if (fault) return listen_error(options, fault.message());
  return ok();
}

void HttpServer::Impl::close_all() {
  for (const auto& connection : connections) connection->close();
}

asio::awaitable<void> HttpServer::Impl::session(std::shared_ptr<Impl> self, tcp::socket socket,
                                                std::string remote) {
  // Being cancelled is reported by the streams; it must not surface as an exception besides.
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto connection =
      std::make_shared<Connection>(std::move(socket), std::move(remote), self->state);
  const auto place = self->connections.insert(self->connections.end(), connection);
  self->state->stats.connections = self->connections.size();
  try {
    co_await connection->serve();
  } catch (...) {
    ++self->state->stats.handler_failures;
  }
  connection->close();
  self->connections.erase(place);
  self->state->stats.connections = self->connections.size();
}

asio::awaitable<void> HttpServer::Impl::accept_loop(std::shared_ptr<Impl> self) {
  asio::steady_timer pause(self->executor);
  while (self->acceptor.is_open()) {
    auto [fault, socket] =
        co_await self->acceptor.async_accept(asio::as_tuple(asio::use_awaitable));
    if (!self->acceptor.is_open()) break;
    if (fault) {  // out of descriptors, as a rule: connections that end make room
      pause.expires_after(Millis(100));
      co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
      continue;
    }
    if (self->connections.size() >= self->state->options.max_connections) {
      ++self->state->stats.refused;
      continue;
    }
    ++self->state->stats.accepted;
    boost::system::error_code unknown;
    const auto peer = socket.remote_endpoint(unknown);
    std::string remote = unknown ? std::string() : peer.address().to_string();
    asio::co_spawn(self->executor, session(self, std::move(socket), std::move(remote)),
                   asio::detached);
  }
}

asio::awaitable<void> HttpServer::Impl::sweep_loop(std::shared_ptr<Impl> self) {
  const Millis interval = sweep_interval(self->state->options);
  while (self->acceptor.is_open() || !self->connections.empty()) {
    self->sweep_timer.expires_after(interval);
    co_await self->sweep_timer.async_wait(asio::as_tuple(asio::use_awaitable));
    const auto now = steady_clock::now();
    for (const auto& connection : self->connections) connection->sweep(now);
  }
}

HttpServer::HttpServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<HttpServer>> HttpServer::listen(asio::any_io_executor executor,
                                                       ServerOptions options, Handler handler) {
  const auto impl = std::make_shared<Impl>(std::move(executor));
  if (options.tls) {
    auto tls = TlsContext::server(*options.tls);
    if (!tls) return tls.error();
    impl->state->tls = *std::move(tls);
  }
  impl->state->options = std::move(options);
  impl->state->handler = std::move(handler);
  if (Status bound = impl->bind(); !bound) return bound.error();
  asio::co_spawn(impl->executor, Impl::accept_loop(impl), asio::detached);
  asio::co_spawn(impl->executor, Impl::sweep_loop(impl), asio::detached);
  return std::unique_ptr<HttpServer>(new HttpServer(impl));
}

HttpServer::~HttpServer() {
  impl_->state->stopping = true;
  boost::system::error_code ignored;
  impl_->acceptor.close(ignored);
  impl_->close_all();
  impl_->sweep_timer.cancel();
}

std::uint16_t HttpServer::port() const { return impl_->port; }

std::string HttpServer::url() const {
  Url url;
  url.https = impl_->state->tls != nullptr;
  url.host = impl_->state->options.address;
  url.port = port();
  return (url.https ? "https://" : "http://") + url.authority();
}

ServerStats HttpServer::stats() const { return impl_->state->stats; }

Status HttpServer::reload_tls() {
  const auto& state = impl_->state;
  if (!state->options.tls) return ok();
  auto tls = TlsContext::server(*state->options.tls);
  if (!tls) return tls.error();
  state->tls = *std::move(tls);
  return ok();
}

asio::awaitable<void> HttpServer::stop(Millis grace) {
  const std::shared_ptr<Impl> impl = impl_;
  impl->state->stopping = true;
  boost::system::error_code ignored;
  impl->acceptor.close(ignored);
  const auto deadline = steady_clock::now() + grace;
  asio::steady_timer pause(impl->executor);
  bool closed = false;
  while (!impl->connections.empty()) {
    for (const auto& connection : impl->connections) {
      if (connection->is_idle()) connection->expire();
    }
    if (!closed && steady_clock::now() >= deadline) {
      impl->close_all();
      closed = true;
    }
    // A handler that waits for something of its own ends in its own time, but not for ever.
    if (steady_clock::now() >= deadline + std::chrono::seconds(5)) break;
    pause.expires_after(Millis(5));
    co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  impl->sweep_timer.cancel();
}

}  // namespace ratchet::net
