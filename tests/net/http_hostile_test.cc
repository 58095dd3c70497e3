// What peers should not do: the server answers or closes, in bounded time, and goes on serving.

#include <gtest/gtest.h>

#include <random>

#include "tests/net/http_testing.h"

namespace ratchet::net {
namespace {

using testing::BareSocket;
using testing::make_client;
using testing::ServerThread;

asio::awaitable<void> answer_length(Exchange& exchange) {
  const auto body = co_await exchange.read_body(1024);
  Response response;
  if (body) {
    response.body = "length " + std::to_string(body->size());
  } else {
    response.status = body.error().code == Code::kInvalidArgument ? 413
                      : body.error().code == Code::kUnavailable   ? 408
                                                                  : 400;
  }
  co_await exchange.send(std::move(response));
}

ServerOptions quick() {
  ServerOptions options;
  options.header_timeout = Millis(300);
  options.body_timeout = Millis(300);
  options.idle_timeout = Millis(300);
  options.write_timeout = Millis(300);
  return options;
}

void expect_alive(const ServerThread& server) {
  asio::io_context io;
  const auto client = make_client(io, server.url());
  ClientRequest request;
  request.method = Method::kPost;
  request.target = "/";
  request.body = std::string("1234");
  const auto answer = run_blocking(io, client->send(request));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, "length 4");
}

int status_of(const std::string& answer) {
  if (!answer.starts_with("HTTP/1.1 ")) return 0;
  return std::stoi(answer.substr(9, 3));
}

TEST(HttpHostile, MalformedRequestsAreRefused) {
  ServerThread server(quick(), answer_length);
  struct Case {
    std::string sent;
    int status;
  };
  const std::string many = [] {
    std::string out;
    for (int i = 0; i < 200; ++i) out += "X-" + std::to_string(i) + ": 1\r\n";
    return out;
  }();
  for (const Case& c :
       {Case{"\x16\x03\x01\x02\x01\x01\xFC\x03\x03", 400},
        Case{"GET\r\n\r\n", 400},
        Case{"GET / HTTP/9.9\r\n\r\n", 505},
        Case{"GET / HTTP/1.1\r\n\r\n", 400},
        Case{"G@T / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        Case{"BREW / HTTP/1.1\r\nHost: h\r\n\r\n", 501},
        Case{"GET http://evil/ HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        Case{"GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        Case{"GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        Case{"GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        Case{"GET /?a=%1 HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        Case{"GET /" + std::string(5000, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n", 414},
        Case{"GET / HTTP/1.1\r\nHost: h\r\n" + many + "\r\n", 431},
        Case{"GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n", 431},
        Case{"GET / HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\n", 400},
        Case{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400},
        Case{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1x\r\n\r\n", 400},
        Case{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
        Case{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
        Case{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: "
             "chunked\r\n\r\n0\r\n\r\n",
             400},
        Case{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000000000000000\r\n\r\n", 413},
        Case{"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
        Case{
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
            400},
        Case{"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
             "chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n",
             400}}) {
    BareSocket socket(server.port());
    socket.say(c.sent);
    const std::string answer = socket.hear();
    EXPECT_EQ(status_of(answer), c.status) << c.sent.substr(0, 120) << "\n-> " << answer;
    EXPECT_TRUE(answer.find("TIMEOUT") == std::string::npos) << c.sent.substr(0, 120);
  }
  expect_alive(server);
}

TEST(HttpHostile, SlowPeersAreNotWaitedFor) {
  ServerThread server(quick(), answer_length);
  BareSocket nothing(server.port());
  EXPECT_EQ(nothing.hear(), "");
  BareSocket half(server.port());
  half.say("GET / HTTP/1.1\r\nHo");
  EXPECT_EQ(status_of(half.hear()), 408);
  BareSocket dripping(server.port());
  for (int i = 0; i < 10; ++i) {  // each piece is in time, the whole is not
    if (!dripping.say(i == 0 ? "GET / HTTP/1.1\r\n" : "X: y\r\n")) break;
    std::this_thread::sleep_for(Millis(60));
  }
  EXPECT_EQ(status_of(dripping.hear()), 408);
  BareSocket body(server.port());
  body.say("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_EQ(status_of(body.hear()), 408);
  EXPECT_GE(server.stats().timed_out, 4U);
  expect_alive(server);
}

TEST(HttpHostile, HalfRequestsThatEndAreForgotten) {
  ServerThread server({}, answer_length);
  for (const char* sent : {"", "G", "GET / HTTP/1.1\r\n",
                           "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc"}) {
    BareSocket socket(server.port());
    socket.say(sent);
    socket.finish();
    const std::string answer = socket.hear();
    EXPECT_TRUE(answer.find("TIMEOUT") == std::string::npos) << sent;
  }
  expect_alive(server);
}

TEST(HttpHostile, PipelinedRequestsAreAnsweredInOrder) {
  ServerThread server({}, answer_length);
  BareSocket socket(server.port());
  std::string sent;
  for (int i = 0; i < 50; ++i) {
    const std::string body(static_cast<std::size_t>(i), 'x');
    sent +=
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(i) + "\r\n\r\n" + body;
  }
  sent +=
      "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
      "5;ext=1\r\nabcde\r\n4\r\nabcd\r\n0\r\nTrailer: x\r\n\r\n";
  socket.say(sent);
  const std::string answer = socket.hear();
  std::size_t at = 0;
  for (int i = 0; i < 50; ++i) {
    at = answer.find("\r\n\r\nlength " + std::to_string(i), at);
    ASSERT_NE(at, std::string::npos) << i;
  }
  EXPECT_NE(answer.find("length 9", at), std::string::npos) << "the chunked one";
}

TEST(HttpHostile, ContinueIsSaidOnlyWhenTheBodyIsWanted) {
  ServerThread server({}, answer_length);
  BareSocket wanted(server.port());
  wanted.say("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  EXPECT_EQ(wanted.hear_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  wanted.say("abc");
  EXPECT_EQ(status_of(wanted.hear_until("length 3")), 200);
  BareSocket unwanted(server.port());
  unwanted.say(
      "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 9999\r\n\r\n");
  EXPECT_EQ(status_of(unwanted.hear_until("\r\n\r\n")), 413);
}

TEST(HttpHostile, OldClientsGetTheirConnectionClosed) {
  ServerThread server({}, answer_length);
  BareSocket socket(server.port());
  socket.say("GET / HTTP/1.0\r\n\r\n");
  const std::string answer = socket.hear();
  EXPECT_EQ(status_of(answer), 200);
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
}

asio::awaitable<void> answer_without_end(Exchange& exchange) {
  Response response;
  co_await exchange.begin_stream(std::move(response));
  while (true) {
    std::string piece(64 * 1024, 'x');
    const Status sent = co_await exchange.write(std::move(piece));
    if (!sent) co_return;
  }
}

TEST(HttpHostile, PeersThatDoNotReadAreDropped) {
  ServerThread server(quick(), answer_without_end);
  BareSocket socket(server.port());
  socket.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  for (int i = 0; i < 200 && server.stats().timed_out == 0; ++i) {
    std::this_thread::sleep_for(Millis(50));
  }
  EXPECT_EQ(server.stats().timed_out, 1U);
  for (int i = 0; i < 100 && server.stats().connections > 0; ++i) {
    std::this_thread::sleep_for(Millis(20));
  }
  EXPECT_EQ(server.stats().connections, 0U);
}

TEST(HttpHostile, ConnectionsAreLimited) {
  ServerOptions options;
  options.max_connections = 3;
  ServerThread server(options, answer_length);
  {
    BareSocket a(server.port());
    BareSocket b(server.port());
    BareSocket c(server.port());
    for (BareSocket* socket : {&a, &b, &c}) {
      socket->say("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
      EXPECT_EQ(status_of(socket->hear_until("length 0")), 200);
    }
    BareSocket refused(server.port());
    EXPECT_EQ(refused.hear(), "");
    EXPECT_EQ(server.stats().refused, 1U);
  }
  for (int i = 0; i < 100 && server.stats().connections > 0; ++i) {
    std::this_thread::sleep_for(Millis(20));
  }
  expect_alive(server);
}

TEST(HttpHostile, RandomBytesNeverStopTheServer) {
  ServerThread server(quick(), answer_length);
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const std::string good =
      "POST /a?b=c HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde"
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3\r\nabc\r\n0\r\n\r\n";
  for (int round = 0; round < 300; ++round) {
    std::string sent = good;
    for (std::uint64_t changes = 1 + random() % 6; changes > 0; --changes) {
      sent[random() % sent.size()] = static_cast<char>(random());
    }
    BareSocket socket(server.port());
    socket.say(sent);
    socket.finish();
    EXPECT_TRUE(socket.hear().find("TIMEOUT") == std::string::npos) << round;
  }
  expect_alive(server);
}

}  // namespace
}  // namespace ratchet::net
