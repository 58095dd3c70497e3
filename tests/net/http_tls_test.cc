#include <gtest/gtest.h>

#include "tests/net/http_testing.h"
#include "tests/support/certificate.h"
#include "tests/support/files.h"

namespace ratchet::net {
namespace {

using ratchet::testing::TempFolder;
using ratchet::testing::write_certificate;
using testing::BareSocket;
using testing::make_client;
using testing::ServerThread;

asio::awaitable<void> echo_tls(Exchange& exchange) {
  const auto body = co_await exchange.read_body(16 * 1024 * 1024);
  Response response;
  response.status = body ? 200 : 400;
  if (body) response.body = *body;
  response.headers.set("X-Tls", exchange.request().tls ? "yes" : "no");
  co_await exchange.send(std::move(response));
}

class HttpTls : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(write_certificate(folder_.path().string(), "server", {"localhost"}));
    ASSERT_TRUE(write_certificate(folder_.path().string(), "other", {"localhost"}));
  }
  ServerOptions options() {
    ServerOptions out;
    out.tls = TlsServerFiles{folder_.file("server.pem"), folder_.file("server.key")};
    return out;
  }
  Result<ClientResponse> post(const std::string& url, const std::string& ca, std::string body,
                              const std::string& pinned = "") {
    asio::io_context io;
    ClientOptions client_options;
    client_options.tls.ca_file = ca;
    client_options.pinned_address = pinned;
    const auto client = make_client(io, url, client_options);
    ClientRequest request;
    request.method = Method::kPost;
    request.target = "/";
    request.body = std::move(body);
    Result<ClientResponse> answer = run_blocking(io, client->send(request));
    for (int i = 0; i < 3 && answer; ++i) answer = run_blocking(io, client->send(request));
    return answer;
  }
  TempFolder folder_;
};

TEST_F(HttpTls, BytesOfAnySizeCrossAndConnectionsAreKept) {
  ServerThread server(options(), echo_tls);
  for (const std::size_t size : {0U, 100U, 17'000U, 5'000'000U}) {
    ClientOptions client;
    const std::string body(size, 'x');
    asio::io_context io;
    client.tls.ca_file = folder_.file("server.pem");
    client.max_response_bytes = 16 * 1024 * 1024;
    const auto https = make_client(io, server.url(), client);
    const std::uint64_t before = server.stats().accepted;
    for (int i = 0; i < 3; ++i) {
      ClientRequest request;
      request.method = Method::kPost;
      request.target = "/";
      request.body = body;
      const auto answer = run_blocking(io, https->send(request));
      ASSERT_TRUE(answer) << answer.error().message;
      EXPECT_TRUE(answer->body == body);
      EXPECT_EQ(answer->headers.get("X-Tls"), "yes");
    }
    EXPECT_EQ(server.stats().accepted, before + 1);
  }
}

TEST_F(HttpTls, StrangersAreNotTrusted) {
  ServerThread server(options(), echo_tls);
  const std::string own = folder_.file("server.pem");
  const std::string port = std::to_string(server.port());
  EXPECT_TRUE(post(server.url(), own, "x"));
  EXPECT_TRUE(post("https://localhost:" + port, own, "x"));
  for (const auto& [url, ca, pinned] :
       {std::tuple{server.url(), folder_.file("other.pem"), std::string()},
        std::tuple{server.url(), std::string(), std::string()},
        std::tuple{"https://wrong.invalid:" + port, own, std::string("127.0.0.1")},
        std::tuple{"https://127.0.0.2:" + port, own, std::string("127.0.0.1")}}) {
    const auto answer = post(url, ca, "x", pinned);
    ASSERT_FALSE(answer) << url;
    EXPECT_EQ(answer.error().code, Code::kFailedPrecondition) << answer.error().message;
    EXPECT_NE(answer.error().message.find("certificate"), std::string::npos);
  }
}

TEST_F(HttpTls, PlaintextToATlsPortEnds) {
  ServerOptions quick = options();
  quick.header_timeout = Millis(300);
  ServerThread server(quick, echo_tls);
  BareSocket plain(server.port());
  plain.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(plain.hear().find("TIMEOUT"), std::string::npos);
  BareSocket silent(server.port());
  EXPECT_EQ(silent.hear(), "");
  EXPECT_TRUE(post(server.url(), folder_.file("server.pem"), "x"));
}

TEST_F(HttpTls, TlsToAPlaintextPortIsNamed) {
  ServerThread server({}, echo_tls);
  const auto answer =
      post("https://127.0.0.1:" + std::to_string(server.port()), folder_.file("server.pem"), "x");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kUnavailable);
  EXPECT_NE(answer.error().message.find("TLS"), std::string::npos) << answer.error().message;
}

TEST_F(HttpTls, UnusableFilesAreNamed) {
  asio::io_context io;
  ratchet::testing::write_file(folder_.file("empty.pem"), "");
  for (const auto& [certificate, key] : {std::pair{"none.pem", "server.key"},
                                         {"server.pem", "none.key"},
                                         {"server.pem", "other.key"},
                                         {"empty.pem", "server.key"}}) {
    ServerOptions broken;
    broken.tls = TlsServerFiles{folder_.file(certificate), folder_.file(key)};
    const auto server = HttpServer::listen(io.get_executor(), broken, echo_tls);
    ASSERT_FALSE(server) << certificate << " " << key;
    EXPECT_EQ(server.error().code, Code::kInvalidArgument);
  }
  ClientOptions client;
  client.tls.ca_file = folder_.file("none.pem");
  EXPECT_FALSE(HttpClient::create(io.get_executor(), parse_url("https://h").value(), client));
}

}  // namespace
}  // namespace ratchet::net
