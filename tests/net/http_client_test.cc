// What servers should not do, and what a client promises when they do it.

#include <gtest/gtest.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "tests/net/http_testing.h"

namespace ratchet::net {
namespace {

using testing::make_client;
using testing::ServerThread;

// A server of bare bytes: accepts connections one after the other, reads a header, says its part.
class BareServer {
 public:
  explicit BareServer(std::vector<std::string> parts) : parts_(std::move(parts)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_, 8), 0);
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~BareServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  BareServer(const BareServer&) = delete;
  BareServer& operator=(const BareServer&) = delete;
  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  void run() {
    for (const std::string& part : parts_) {
      const int fd = ::accept(listener_, nullptr, nullptr);
      if (fd < 0) return;
      const timeval limit{5, 0};
      ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
      std::string header;
      char c = 0;
      while (header.find("\r\n\r\n") == std::string::npos && ::recv(fd, &c, 1, 0) == 1) header += c;
      ::send(fd, part.data(), part.size(), MSG_NOSIGNAL);
      if (part.empty()) {  // says nothing until the peer leaves
        while (::recv(fd, &c, 1, 0) == 1) {
        }
      }
      ::close(fd);
    }
  }
  std::vector<std::string> parts_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

Result<ClientResponse> get(const std::string& url, ClientOptions options = {}) {
  asio::io_context io;
  const auto client = make_client(io, url, std::move(options));
  ClientRequest request;
  request.target = "/";
  return run_blocking(io, client->send(request));
}

TEST(HttpClient, AnswersOfAllFramingsAreRead) {
  for (const auto& [sent, body] :
       {std::pair<std::string, std::string>{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
                                            "abc"},
        {"HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end"},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: "
         "chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
         "abc"},
        {"HTTP/1.1 204 No Content\r\n\r\n", ""}}) {
    BareServer server({sent});
    const auto answer = get(server.url());
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->body, body);
  }
}

TEST(HttpClient, BrokenAnswersAreErrors) {
  for (const auto& [sent, code] :
       {std::pair<std::string, Code>{"SSH-2.0-OpenSSH\r\n\r\n", Code::kCorrupt},
        {"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nabc", Code::kUnavailable},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Code::kCorrupt},
        {"HTTP/1.1 200 OK\r\nContent-Le", Code::kUnavailable},
        {"HTTP/1.1 200 OK\r\nX: " + std::string(100'000, 'x'), Code::kCorrupt},
        {"HTTP/1.1 200 OK\r\nContent-Length: 6000000\r\n\r\n" + std::string(6'000'000, 'x'),
         Code::kInvalidArgument}}) {
    BareServer server({sent});
    const auto answer = get(server.url());
    ASSERT_FALSE(answer) << sent.substr(0, 60);
    EXPECT_EQ(answer.error().code, code) << answer.error().message;
  }
}

TEST(HttpClient, SilenceEndsInTime) {
  BareServer server({""});
  ClientOptions options;
  options.total_timeout = Millis(200);
  const auto answer = get(server.url(), options);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kUnavailable);
  EXPECT_NE(answer.error().message.find("too long"), std::string::npos) << answer.error().message;
}

TEST(HttpClient, NobodyThereIsNamed) {
  std::string url;
  {
    BareServer server({});
    url = server.url();
  }
  const auto answer = get(url);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kUnavailable);
  EXPECT_NE(answer.error().message.find(url), std::string::npos) << answer.error().message;
}

TEST(HttpClient, CancelEndsARequest) {
  BareServer server({""});
  asio::io_context io;
  const auto client = make_client(io, server.url());
  CancelSource cancel;
  asio::steady_timer timer(io, Millis(100));
  timer.async_wait([&](const boost::system::error_code&) { cancel.cancel(); });
  ClientRequest request;
  request.target = "/";
  request.cancel = &cancel;
  const auto answer = run_blocking(io, client->send(request));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kUnavailable);
  const auto again = run_blocking(io, client->send(request));
  EXPECT_FALSE(again) << "it stays cancelled";
}

const std::string kKept = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

// The bare server closes after each answer although it announced to keep the connection.
TEST(HttpClient, AClosedKeptConnectionIsReplaced) {
  BareServer server({kKept, kKept, kKept});
  asio::io_context io;
  const auto client = make_client(io, server.url());
  for (int i = 0; i < 3; ++i) {
    ClientRequest request;
    request.target = "/";
    const auto answer = run_blocking(io, client->send(request));
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->body, "ok");
  }
}

TEST(HttpClient, TokensDoNotCrossANetworkInClear) {
  asio::io_context io;
  ClientOptions options;
  options.bearer_token = "secret";
  const auto client = make_client(io, "http://192.0.2.1:7070", options);
  ClientRequest request;
  request.target = "/";
  const auto answer = run_blocking(io, client->send(request));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kFailedPrecondition);
  EXPECT_EQ(answer.error().message.find("secret"), std::string::npos);
}

asio::awaitable<void> say_host(Exchange& exchange) {
  Response response;
  response.body = exchange.request().headers.get("Host");
  co_await exchange.send(std::move(response));
}

TEST(HttpClient, PinnedAddressesReplaceTheName) {
  ServerThread server({}, say_host);
  ClientOptions options;
  options.pinned_address = "127.0.0.1";
  const auto answer = get("http://name.invalid:" + std::to_string(server.port()), options);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, "name.invalid:" + std::to_string(server.port()));
}

TEST(HttpClient, SinksMayRefuse) {
  ServerThread server({}, say_host);
  asio::io_context io;
  const auto client = make_client(io, server.url());
  ClientRequest request;
  request.target = "/";
  const auto answer = run_blocking(io, client->download(request, [](std::string_view) -> Status {
    return Error{Code::kNoSpace, "The disk is full."};
  }));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kNoSpace);
}

TEST(HttpClient, HostsResolve) {
  asio::io_context io;
  EXPECT_EQ(run_blocking(io, resolve_host("127.0.0.1", Millis(1000))).value(),
            std::vector<std::string>{"127.0.0.1"});
  const auto local = run_blocking(io, resolve_host("localhost", Millis(5000)));
  ASSERT_TRUE(local) << local.error().message;
  EXPECT_FALSE(local->empty());
  EXPECT_FALSE(run_blocking(io, resolve_host("no-such-name.invalid", Millis(5000))));
}

asio::awaitable<Result<ClientResponse>> both(HttpClient& a, HttpClient& b) {
  ClientRequest request;
  request.target = "/";
  const auto first = co_await a.send(request);
  if (!first) co_return first.error();
  co_return co_await b.send(request);
}

TEST(HttpClient, ConcurrentRequestsUseTheirOwnConnections) {
  ServerThread server({}, say_host);
  asio::io_context io;
  const auto client = make_client(io, server.url());
  int done = 0;
  for (int i = 0; i < 20; ++i) {
    asio::co_spawn(io, both(*client, *client),
                   [&](std::exception_ptr, Result<ClientResponse> answer) {
                     EXPECT_TRUE(answer);
                     ++done;
                   });
  }
  io.run_for(std::chrono::seconds(10));
  EXPECT_EQ(done, 20);
  EXPECT_LE(server.stats().accepted, 40U);
}

}  // namespace
}  // namespace ratchet::net
