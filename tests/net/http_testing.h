#pragma once

// A server on a thread of its own, and a bare socket that says to it whatever a test wants.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <future>
#include <string>
#include <string_view>
#include <thread>

#include "proto/net/http_client.h"
#include "proto/net/http_server.h"
#include "proto/net/run.h"

namespace ratchet::net::testing {

class ServerThread {
 public:
  ServerThread(ServerOptions options, Handler handler) {
    auto server = HttpServer::listen(io_.get_executor(), std::move(options), std::move(handler));
    if (!server) {
      ADD_FAILURE() << server.error().message;
      return;
    }
    server_ = *std::move(server);
    thread_ = std::thread([this] { io_.run(); });
  }
  ~ServerThread() {
    asio::post(io_, [this] {
      server_.reset();
      guard_.reset();
    });
    if (thread_.joinable()) thread_.join();
  }
  ServerThread(const ServerThread&) = delete;
  ServerThread& operator=(const ServerThread&) = delete;

  [[nodiscard]] std::uint16_t port() const { return server_->port(); }
  [[nodiscard]] std::string url() const { return server_->url(); }
  ServerStats stats() {
    std::promise<ServerStats> promise;
    auto answer = promise.get_future();
    asio::post(io_, [&] { promise.set_value(server_->stats()); });
    return answer.get();
  }
  // From the server's thread; for stop().
  HttpServer& server() { return *server_; }
  asio::io_context& io() { return io_; }

 private:
  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> guard_{io_.get_executor()};
  std::unique_ptr<HttpServer> server_;
  std::thread thread_;
};

class BareSocket {
 public:
  explicit BareSocket(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    const timeval limit{10, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  ~BareSocket() { ::close(fd_); }
  BareSocket(const BareSocket&) = delete;
  BareSocket& operator=(const BareSocket&) = delete;

  bool say(std::string_view text) {
    while (!text.empty()) {
      const ssize_t count = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
  }
  void finish() { ::shutdown(fd_, SHUT_WR); }
  // All until the server closes; ends with "TIMEOUT" when it does not within 10 s.
  std::string hear() {
    std::string out;
    char buffer[4096];
    while (true) {
      const ssize_t count = ::recv(fd_, buffer, sizeof buffer, 0);
      if (count > 0) {
        out.append(buffer, static_cast<std::size_t>(count));
      } else {
        return count < 0 && errno == EAGAIN ? out + "TIMEOUT" : out;
      }
    }
  }
  // Until `ending` was heard.
  std::string hear_until(std::string_view ending) {
    std::string out;
    char c = 0;
    while (out.find(ending) == std::string::npos && ::recv(fd_, &c, 1, 0) == 1) out += c;
    return out;
  }

 private:
  int fd_;
};

inline std::unique_ptr<HttpClient> make_client(asio::io_context& io, const std::string& url,
                                               ClientOptions options = {}) {
  auto client = HttpClient::create(io.get_executor(), parse_url(url).value(), std::move(options));
  EXPECT_TRUE(client) << (client ? "" : client.error().message);
  return client ? *std::move(client) : nullptr;
}

}  // namespace ratchet::net::testing
