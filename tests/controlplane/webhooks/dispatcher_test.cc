// The dispatcher against real receivers on loopback, with a store in memory.

#include "controlplane/webhooks/dispatcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <nlohmann/json.hpp>

#include "controlplane/webhooks/endpoint_pace.h"
#include "controlplane/webhooks/signing.h"
#include "proto/net/http_server.h"
#include "proto/net/run.h"
#include "tests/controlplane/webhooks/memory_source.h"

namespace ratchet::control {
namespace {

using nlohmann::json;
using testing::MemorySource;
using testing::now;

struct Received {
  std::string path;
  std::string id;
  std::string timestamp;
  std::string signature;
  std::string body;
};

// A receiver: answers with the next of `statuses` (the last one for ever), after `delay`.
struct Receiver {
  std::vector<int> statuses{204};
  Millis delay{0};
  net::Headers headers;
  std::string answer;
  std::vector<Received> received;
  std::unique_ptr<net::HttpServer> server;
};

asio::awaitable<void> receive(Receiver& receiver, net::Exchange& exchange) {
  const auto body = co_await exchange.read_body(64 * 1024);
  const net::Headers& headers = exchange.request().headers;
  receiver.received.push_back({exchange.request().raw_path, std::string(headers.get("webhook-id")),
                               std::string(headers.get("webhook-timestamp")),
                               std::string(headers.get("webhook-signature")),
                               body ? *body : std::string()});
  const std::size_t index = std::min(receiver.received.size(), receiver.statuses.size()) - 1;
  net::Response response;
  response.status = receiver.statuses[index];
  response.headers = receiver.headers;
  response.body = receiver.answer;
  if (receiver.delay.count() > 0) {
    asio::steady_timer timer(co_await asio::this_coro::executor, receiver.delay);
    co_await timer.async_wait(asio::use_awaitable);
  }
  co_await exchange.send(std::move(response));
}

class Dispatching : public ::testing::Test {
 protected:
  void listen(Receiver& receiver) {
    receiver.server = net::HttpServer::listen(io_.get_executor(), {}, [&](net::Exchange& exchange) {
                        return receive(receiver, exchange);
                      }).value();
  }
  DispatcherOptions options() {
    DispatcherOptions out;
    out.addresses.allowed.push_back(parse_network("127.0.0.0/8").value());
    out.policy.schedule.assign(10, Millis(20));
    out.poll = Millis(10);
    out.timeout = Millis(5000);
    return out;
  }
  // Runs until `done`, at most 20 s.
  template <class Done>
  void run_until(WebhookDispatcher& dispatcher, Done done) {
    asio::co_spawn(io_, dispatcher.run(), asio::detached);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!done() && std::chrono::steady_clock::now() < deadline) {
      io_.run_one_for(std::chrono::milliseconds(50));
    }
    EXPECT_TRUE(done());
    net::run_blocking(io_, dispatcher.stop(Millis(5000)));
  }
  bool all_over(const MemorySource& source) {
    return source.count(DeliveryState::kDelivered) + source.count(DeliveryState::kDead) ==
           source.rows.size();
  }

  asio::io_context io_;
};

TEST_F(Dispatching, EventsArriveSignedAndInOrderOfTheirJob) {
  Receiver receiver;
  listen(receiver);
  MemorySource source;
  source.add_endpoint("w", receiver.server->url() + "/hook/in?x=1");
  for (std::int64_t seq = 1; seq <= 30; ++seq) {
    source.add_event("w", "job-a", seq);
    source.add_event("w", "job-b", seq);
  }
  WebhookDispatcher dispatcher(io_.get_executor(), source, options());
  run_until(dispatcher, [&] { return all_over(source); });
  EXPECT_EQ(source.count(DeliveryState::kDelivered), 60U);
  ASSERT_EQ(receiver.received.size(), 60U);
  std::map<std::string, std::int64_t> last;
  for (const Received& message : receiver.received) {
    EXPECT_EQ(message.path, "/hook/in");
    const json body = json::parse(message.body);
    const std::string job = body["data"]["job_id"];
    EXPECT_EQ(body["data"]["job_seq"], last[job] + 1);
    last[job] = body["data"]["job_seq"];
    EXPECT_TRUE(verify_webhook(message.id, message.timestamp, message.signature, message.body,
                               source.targets["w"].secrets[0],
                               std::chrono::duration_cast<std::chrono::seconds>(now())));
  }
  EXPECT_EQ(receiver.server->stats().malformed, 0U);
}

TEST_F(Dispatching, BothSecretsSignDuringARotation) {
  Receiver receiver;
  listen(receiver);
  MemorySource source;
  source.add_endpoint("w", receiver.server->url());
  source.targets["w"].secrets.push_back(make_webhook_secret().value());
  source.add_event("w", "j", 1);
  WebhookDispatcher dispatcher(io_.get_executor(), source, options());
  run_until(dispatcher, [&] { return all_over(source); });
  ASSERT_EQ(receiver.received.size(), 1U);
  const Received& message = receiver.received[0];
  for (const std::string& secret : source.targets["w"].secrets) {
    EXPECT_TRUE(verify_webhook(message.id, message.timestamp, message.signature, message.body,
                               secret, std::chrono::duration_cast<std::chrono::seconds>(now())));
  }
}

TEST_F(Dispatching, FailuresAreTriedAgainWithTheSameId) {
  Receiver receiver;
  receiver.statuses = {500, 302, 404, 200};
  receiver.headers.set("Location", "/elsewhere");
  listen(receiver);
  MemorySource source;
  source.add_endpoint("w", receiver.server->url());
  source.add_event("w", "j", 1);
  source.add_event("w", "j", 2);
  std::vector<int> told;
  DispatcherOptions with_log = options();
  with_log.tried = [&](const DeliveryRow& row) { told.push_back(row.last_status); };
  WebhookDispatcher dispatcher(io_.get_executor(), source, with_log);
  run_until(dispatcher, [&] { return all_over(source); });
  ASSERT_EQ(receiver.received.size(), 5U);
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(receiver.received[static_cast<std::size_t>(i)].id, "evt_m_1");
  EXPECT_EQ(receiver.received[4].id, "evt_m_2") << "the second waits for the first";
  EXPECT_EQ(told, (std::vector<int>{500, 302, 404, 200, 200}));
  EXPECT_EQ(source.rows[1].delivery.tries, 4);
}

TEST_F(Dispatching, GoneDisablesTheEndpoint) {
  Receiver receiver;
  receiver.statuses = {410};
  listen(receiver);
  MemorySource source;
  source.add_endpoint("w", receiver.server->url());
  source.add_event("w", "a", 1);
  WebhookDispatcher dispatcher(io_.get_executor(), source, options());
  run_until(dispatcher, [&] { return all_over(source); });
  EXPECT_FALSE(source.targets["w"].row.enabled);
  EXPECT_NE(source.targets["w"].row.disabled_reason.find("410"), std::string::npos);
  EXPECT_EQ(source.count(DeliveryState::kDead), 1U);
}

// One endpoint hangs; the others get theirs meanwhile.
TEST_F(Dispatching, ASlowEndpointDelaysNobodyElse) {
  Receiver slow;
  slow.delay = Millis(60'000);
  listen(slow);
  Receiver quick;
  listen(quick);
  MemorySource source;
  source.add_endpoint("slow", slow.server->url());
  source.add_endpoint("quick", quick.server->url());
  for (int i = 0; i < 100; ++i) source.add_event("slow", "s" + std::to_string(i), 1);
  for (int i = 0; i < 100; ++i) source.add_event("quick", "q" + std::to_string(i), 1);
  WebhookDispatcher dispatcher(io_.get_executor(), source, options());
  asio::co_spawn(io_, dispatcher.run(), asio::detached);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(15);
  while (quick.received.size() < 100 && std::chrono::steady_clock::now() < deadline) {
    io_.run_one_for(std::chrono::milliseconds(50));
  }
  EXPECT_EQ(quick.received.size(), 100U);
  EXPECT_LE(slow.received.size(), EndpointPace::kMost);
  net::run_blocking(io_, dispatcher.stop(Millis(10)));
}

TEST_F(Dispatching, SilentReceiversTimeOut) {
  Receiver slow;
  slow.delay = Millis(60'000);
  listen(slow);
  MemorySource source;
  source.add_endpoint("w", slow.server->url());
  source.add_event("w", "a", 1);
  DispatcherOptions impatient = options();
  impatient.timeout = Millis(100);
  WebhookDispatcher dispatcher(io_.get_executor(), source, impatient);
  run_until(dispatcher, [&] { return source.rows[1].delivery.tries >= 2; });
  EXPECT_GE(slow.received.size(), 1U);
  EXPECT_NE(source.rows[1].delivery.last_error, "");
}

TEST_F(Dispatching, InnerAddressesAreNeverReached) {
  Receiver receiver;
  listen(receiver);
  MemorySource source;
  source.add_endpoint("w", receiver.server->url());
  source.add_endpoint("n", "http://localhost:" + std::to_string(receiver.server->port()));
  source.add_event("w", "a", 1);
  source.add_event("n", "a", 1);
  DispatcherOptions strict = options();
  strict.addresses = {};
  strict.addresses.allow_http = true;
  strict.policy.schedule.assign(3, Millis(5));
  WebhookDispatcher dispatcher(io_.get_executor(), source, strict);
  run_until(dispatcher, [&] { return all_over(source); });
  EXPECT_EQ(source.count(DeliveryState::kDead), 2U);
  EXPECT_EQ(receiver.received.size(), 0U);
  EXPECT_EQ(receiver.server->stats().accepted, 0U);
  EXPECT_NE(source.rows[1].delivery.last_error.find("loopback"), std::string::npos);
}

// What was sent but could not be recorded is sent again after its lease: at least once.
TEST_F(Dispatching, LostRecordsLeadToAnotherSend) {
  Receiver receiver;
  listen(receiver);
  MemorySource source;
  source.add_endpoint("w", receiver.server->url());
  source.add_event("w", "a", 1);
  DispatcherOptions short_lease = options();
  short_lease.policy.lease = Millis(50);
  bool lost = false;
  short_lease.tried = [&](const DeliveryRow&) {
    if (!lost) source.fail_records = 1;
    lost = true;
  };
  WebhookDispatcher dispatcher(io_.get_executor(), source, short_lease);
  run_until(dispatcher, [&] { return all_over(source); });
  ASSERT_EQ(receiver.received.size(), 2U);
  EXPECT_EQ(receiver.received[0].id, receiver.received[1].id);
}

TEST_F(Dispatching, LargeAnswersAreNotReadToTheirEnd) {
  Receiver receiver;
  receiver.statuses = {200};
  receiver.answer = std::string(3'000'000, 'x');
  listen(receiver);
  MemorySource source;
  source.add_endpoint("w", receiver.server->url());
  source.add_event("w", "a", 1);
  WebhookDispatcher dispatcher(io_.get_executor(), source, options());
  run_until(dispatcher, [&] { return all_over(source); });
  EXPECT_EQ(source.count(DeliveryState::kDelivered), 1U);
}

}  // namespace
}  // namespace ratchet::control
