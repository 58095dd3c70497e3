// Client and server together: what goes in comes out.

#include <fcntl.h>
#include <gtest/gtest.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <random>

#include "tests/net/http_testing.h"
#include "tests/support/files.h"

namespace ratchet::net {
namespace {

using testing::make_client;
using testing::ServerThread;

std::string random_bytes(std::size_t size) {
  std::mt19937_64 random(std::random_device{}());
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

// Answers with what it was asked.
asio::awaitable<void> echo(Exchange& exchange) {
  const Request& request = exchange.request();
  const auto body = co_await exchange.read_body(8 * 1024 * 1024);
  Response response;
  if (!body) {
    response.status = body.error().code == Code::kInvalidArgument ? 413 : 400;
    co_await exchange.send(std::move(response));
    co_return;
  }
  response.status = 201;
  response.headers.set("X-Method", method_name(request.method));
  response.headers.set("X-Path", request.path);
  response.headers.set("X-Query", format_query(request.query));
  response.headers.set("X-Token", bearer_token(request.headers));
  response.headers.set("X-Remote", request.remote_address);
  response.body = *body;
  co_await exchange.send(std::move(response));
}

Result<ClientResponse> ask(asio::io_context& io, HttpClient& client, ClientRequest request) {
  return run_blocking(io, client.send(std::move(request)));
}

TEST(Http, RequestsArriveWholeAndAnswersToo) {
  ServerThread server({}, echo);
  asio::io_context io;
  ClientOptions options;
  options.bearer_token = "secret";
  const auto client = make_client(io, server.url() + "/base", options);
  for (const std::size_t size : {0U, 1U, 5000U, 3000000U}) {
    ClientRequest request;
    request.method = Method::kPost;
    request.target = "/v1/a%20b?x=1&y=%26";
    request.body = random_bytes(size);
    const std::string sent = std::get<std::string>(request.body);
    const auto answer = ask(io, *client, request);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->status, 201);
    EXPECT_EQ(answer->headers.get("x-method"), "POST");
    EXPECT_EQ(answer->headers.get("x-path"), "/base/v1/a b");
    EXPECT_EQ(answer->headers.get("x-query"), "x=1&y=%26");
    EXPECT_EQ(answer->headers.get("x-token"), "secret");
    EXPECT_EQ(answer->headers.get("x-remote"), "127.0.0.1");
    EXPECT_TRUE(answer->body == sent) << size;
  }
  const ServerStats stats = server.stats();
  EXPECT_EQ(stats.requests, 4U);
  EXPECT_EQ(stats.accepted, 1U) << "the connection is kept";
}

TEST(Http, EveryMethodGoesThrough) {
  ServerThread server({}, echo);
  asio::io_context io;
  const auto client = make_client(io, server.url());
  for (const Method method : {Method::kGet, Method::kHead, Method::kPost, Method::kPut,
                              Method::kPatch, Method::kDelete, Method::kOptions}) {
    ClientRequest request;
    request.method = method;
    request.target = "/";
    const auto answer = ask(io, *client, request);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->headers.get("X-Method"), method_name(method));
    EXPECT_EQ(answer->body, "");
  }
}

asio::awaitable<void> silent_or_throwing(Exchange& exchange) {
  if (exchange.request().path == "/throw") throw std::runtime_error("a bug");
  co_return;
}

TEST(Http, HandlersThatFailAreAnsweredWith500) {
  ServerThread server({}, silent_or_throwing);
  asio::io_context io;
  const auto client = make_client(io, server.url());
  for (const char* target : {"/throw", "/silent"}) {
    ClientRequest request;
    request.target = target;
    const auto answer = ask(io, *client, request);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->status, 500) << target;
  }
  EXPECT_EQ(server.stats().handler_failures, 1U);
}

asio::awaitable<void> refuse_large(Exchange& exchange) {
  const auto body = co_await exchange.read_body(1000);
  Response response;
  response.status = body ? 200 : body.error().code == Code::kInvalidArgument ? 413 : 400;
  co_await exchange.send(std::move(response));
}

TEST(Http, BodiesAreBoundedByTheRoute) {
  ServerThread server({}, refuse_large);
  asio::io_context io;
  const auto client = make_client(io, server.url());
  for (const auto& [size, status] : {std::pair{1000, 200}, {1001, 413}, {60'000, 413}}) {
    ClientRequest request;
    request.method = Method::kPost;
    request.target = "/";
    request.body = std::string(static_cast<std::size_t>(size), 'x');
    const auto answer = ask(io, *client, request);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->status, status) << size;
  }
  EXPECT_EQ(server.stats().accepted, 1U) << "small bodies are skipped, the connection is kept";
  ClientRequest request;
  request.method = Method::kPost;
  request.target = "/";
  request.body = std::string(20'000'000, 'x');
  const auto answer = ask(io, *client, request);
  // The server answers early and closes: the answer arrives unless a reset overtakes it.
  if (answer) {
    EXPECT_EQ(answer->status, 413);
  }
}

struct ServedFile {
  std::string path;
  std::uint64_t size = 0;
};

asio::awaitable<void> serve_file(Exchange& exchange, const ServedFile& file) {
  const int fd = ::open(file.path.c_str(), O_RDONLY | O_CLOEXEC);
  const RangeAnswer range = parse_range(exchange.request().headers.get("Range"), file.size);
  Response response;
  if (range.kind == RangeAnswer::Kind::kUnsatisfiable) {
    response.status = 416;
    co_await exchange.send(std::move(response));
  } else {
    if (range.kind == RangeAnswer::Kind::kPart) {
      response.status = 206;
      response.headers.set("Content-Range", content_range(range.range, file.size));
    }
    const FileRange part{fd, range.range.offset, range.range.length};
    co_await exchange.send_file(std::move(response), part);
  }
  ::close(fd);
}

TEST(Http, FilesGoOutByRangeAndComeInByPieces) {
  ratchet::testing::TempFolder folder;
  const std::string content = random_bytes(1'500'000);
  ratchet::testing::write_file(folder.file("f"), content);
  const ServedFile file{folder.file("f"), content.size()};
  ServerThread server({}, [&](Exchange& exchange) { return serve_file(exchange, file); });
  asio::io_context io;
  const auto client = make_client(io, server.url());
  struct Case {
    const char* range;
    int status;
    std::string expected;
  };
  for (const Case& c :
       {Case{"", 200, content}, Case{"bytes=0-9", 206, content.substr(0, 10)},
        Case{"bytes=1000000-", 206, content.substr(1'000'000)}, Case{"bytes=9000000-", 416, ""}}) {
    std::string got;
    ClientRequest request;
    request.target = "/f";
    if (*c.range) request.headers.set("Range", c.range);
    const auto answer =
        run_blocking(io, client->download(request, [&](std::string_view piece) -> Status {
          got += piece;
          return ok();
        }));
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->status, c.status) << c.range;
    EXPECT_TRUE(got == c.expected) << c.range;
  }
  ClientRequest head;
  head.method = Method::kHead;
  head.target = "/f";
  const auto answer = ask(io, *client, head);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->headers.get("Content-Length"), "1500000");
  EXPECT_EQ(server.stats().accepted, 1U);
}

asio::awaitable<void> take_in_pieces(Exchange& exchange) {
  std::string all;
  std::vector<char> buffer(777);
  while (true) {
    const auto piece = co_await exchange.read_some(buffer);
    if (!piece || *piece == 0) break;
    all.append(buffer.data(), *piece);
  }
  Response response;
  response.body = std::move(all);
  co_await exchange.send(std::move(response));
}

TEST(Http, UploadsStreamFromARangeOfAFile) {
  ratchet::testing::TempFolder folder;
  const std::string content = random_bytes(700'000);
  ratchet::testing::write_file(folder.file("f"), content);
  ServerThread server({}, take_in_pieces);
  asio::io_context io;
  const auto client = make_client(io, server.url());
  const int fd = ::open((folder.file("f")).c_str(), O_RDONLY | O_CLOEXEC);
  ClientRequest request;
  request.method = Method::kPut;
  request.target = "/up";
  request.body = FileRange{fd, 1000, 600'000};
  const auto answer = ask(io, *client, request);
  ::close(fd);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_TRUE(answer->body == content.substr(1000, 600'000));
}

asio::awaitable<void> count_events(Exchange& exchange) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  Response response;
  response.headers.set("Content-Type", "text/event-stream");
  co_await exchange.begin_stream(std::move(response));
  for (int i = 1; i <= 5; ++i) {
    std::string text = format_sse({"job", std::to_string(i), "event " + std::to_string(i)});
    co_await exchange.write(std::move(text));
    timer.expires_after(Millis(5));
    co_await timer.async_wait(asio::use_awaitable);
  }
  co_await exchange.end_stream();
}

TEST(Http, EventStreamsArriveEventByEvent) {
  ServerThread server({}, count_events);
  asio::io_context io;
  const auto client = make_client(io, server.url());
  for (int round = 0; round < 2; ++round) {
    std::vector<SseEvent> events;
    ClientRequest request;
    request.target = "/events";
    const auto answer =
        run_blocking(io, client->stream(request, Millis(5000), [&](const SseEvent& event) {
          events.push_back(event);
          return ok();
        }));
    ASSERT_TRUE(answer) << answer.error().message;
    ASSERT_EQ(events.size(), 5U);
    EXPECT_EQ(events[4], (SseEvent{"job", "5", "event 5"}));
  }
  EXPECT_EQ(server.stats().accepted, 1U) << "a stream that ended leaves its connection usable";
}

asio::awaitable<void> stop_server(HttpServer& server) { co_await server.stop(Millis(200)); }

asio::awaitable<void> wait_for_end(Exchange& exchange) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  while (!exchange.should_end()) {
    timer.expires_after(Millis(5));
    co_await timer.async_wait(asio::use_awaitable);
  }
  Response response;
  response.body = "ended";
  co_await exchange.send(std::move(response));
}

TEST(Http, StoppingLetsLongPollsAnswer) {
  asio::io_context io;
  auto server = HttpServer::listen(io.get_executor(), {}, wait_for_end).value();
  const auto client = make_client(io, server->url());
  std::optional<Result<ClientResponse>> answer;
  ClientRequest request;
  request.target = "/poll";
  asio::co_spawn(io, client->send(request),
                 [&](std::exception_ptr, Result<ClientResponse> result) { answer = result; });
  while (server->stats().requests == 0) io.run_one();
  run_blocking(io, stop_server(*server));
  while (!answer) io.run_one();
  ASSERT_TRUE(*answer) << answer->error().message;
  EXPECT_EQ((*answer)->body, "ended");
  EXPECT_EQ(server->stats().connections, 0U);
}

TEST(Http, StoppingWithIdleConnectionsIsQuick) {
  asio::io_context io;
  auto server = HttpServer::listen(io.get_executor(), {}, echo).value();
  const auto client = make_client(io, server->url());
  ClientRequest request;
  request.target = "/";
  ASSERT_TRUE(ask(io, *client, request));
  EXPECT_EQ(server->stats().connections, 1U);
  run_blocking(io, stop_server(*server));
  EXPECT_EQ(server->stats().connections, 0U);
  EXPECT_FALSE(ask(io, *client, request)) << "nobody listens any more";
}

TEST(Http, PlaintextBeyondLoopbackIsRefused) {
  asio::io_context io;
  for (const char* address : {"0.0.0.0", "::", "192.0.2.1"}) {
    ServerOptions options;
    options.address = address;
    const auto server = HttpServer::listen(io.get_executor(), options, echo);
    ASSERT_FALSE(server) << address;
    EXPECT_EQ(server.error().code, Code::kFailedPrecondition);
  }
  ServerOptions options;
  options.address = "0.0.0.0";
  options.allow_plaintext = true;
  EXPECT_TRUE(HttpServer::listen(io.get_executor(), options, echo));
}

TEST(Http, ATakenAddressIsNamed) {
  asio::io_context io;
  const auto first = HttpServer::listen(io.get_executor(), {}, echo).value();
  ServerOptions options;
  options.port = first->port();
  const auto second = HttpServer::listen(io.get_executor(), options, echo);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find(std::to_string(first->port())), std::string::npos);
}

}  // namespace
}  // namespace ratchet::net
