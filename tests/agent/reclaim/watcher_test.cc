// Watchers against a local imitation of each metadata service, which replays answers as the clouds
// document them, refuses tokens, hangs and talks nonsense.

#include "agent/reclaim/watcher.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proto/net/http_server.h"
#include "proto/net/run.h"

namespace ratchet::agent {
namespace {

using net::Exchange;
using net::Method;
using net::Response;
namespace asio = boost::asio;

constexpr const char* kAction = R"({"action":"terminate","time":"2017-09-18T08:22:00Z"})";
constexpr const char* kPreempt = R"({"DocumentIncarnation":2,"Events":[{"EventId":"A1",
  "EventType":"Preempt","Resources":["vm0"],"EventStatus":"Scheduled",
  "NotBefore":"Sat, 11 Apr 2026 22:26:58 GMT"}]})";
constexpr const char* kNoEvents = R"({"DocumentIncarnation":1,"Events":[]})";

class WatcherTest : public ::testing::Test {
 protected:
  WatcherTest() {
    auto server = net::HttpServer::listen(io_.get_executor(), {},
                                          [this](Exchange& exchange) { return serve(exchange); });
    if (!server) std::abort();
    server_ = *std::move(server);
    settings_.aws_url = settings_.gcp_url = settings_.azure_url = server_->url();
    settings_.poll = Millis(10);
    settings_.slow_poll = Millis(20);
    settings_.answer_limit = Millis(150);
    settings_.hang_limit = Millis(1000);
    settings_.first_limit = Millis(400);
    settings_.longest_wait = Millis(40);
  }

  void watch(Cloud cloud) {
    WatcherHooks hooks;
    hooks.on_notice = [this](ReclaimNotice notice) { notices_.push_back(std::move(notice)); };
    hooks.is_saved = [this] { return saved_; };
    hooks.log = [this](const std::string& message) { log_.push_back(message); };
    auto made = ReclaimWatcher::create(io_.get_executor(), cloud, settings_, hooks);
    ASSERT_TRUE(made);
    watcher_ = *std::move(made);
    watcher_->start();
  }

  // Runs the loop until the predicate holds, at most 10 s.
  bool until(const std::function<bool()>& predicate) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!predicate() && std::chrono::steady_clock::now() < end) {
      io_.run_one_for(std::chrono::milliseconds(20));
    }
    return predicate();
  }
  void run_for(Millis time) {
    const auto end = std::chrono::steady_clock::now() + time;
    until([&] { return std::chrono::steady_clock::now() >= end; });
  }

  void TearDown() override {
    if (watcher_) watcher_->stop();
    net::run_blocking(io_, server_->stop(Millis(100)));
    io_.restart();
    io_.run_for(std::chrono::milliseconds(200));
  }

  asio::awaitable<void> serve(Exchange& exchange) {
    const net::Request& request = exchange.request();
    ++asked_;
    Response response;
    if (hang_) {
      asio::steady_timer timer(co_await asio::this_coro::executor, std::chrono::seconds(2));
      while (hang_ && !exchange.should_end() && !watcher_gone()) {
        timer.expires_after(std::chrono::milliseconds(10));
        co_await timer.async_wait(asio::use_awaitable);
      }
      co_return;
    }
    if (!garbage_.empty()) {
      response.body = garbage_;
    } else if (request.path.rfind("/latest", 0) == 0) {
      response = aws(request);
    } else if (request.path.rfind("/computeMetadata", 0) == 0) {
      response = gcp(request);
      const bool waits = request.parameter("wait_for_change").has_value();
      const std::string before = etag_;
      const bool known = request.parameter("last_etag") == std::string_view(before);
      while (waits && known && etag_ == before && !exchange.should_end() && !watcher_gone()) {
        asio::steady_timer timer(co_await asio::this_coro::executor, std::chrono::milliseconds(5));
        co_await timer.async_wait(asio::use_awaitable);
        if (++hanging_rounds_ > 2000) break;
      }
      response = gcp(request);
    } else {
      const auto body = co_await exchange.read_body(4096);
      response = azure(request, body ? *body : "");
    }
    co_await exchange.send(std::move(response));
  }

  [[nodiscard]] bool watcher_gone() const { return watcher_ == nullptr; }

  Response aws(const net::Request& request) {
    Response response;
    if (request.path == "/latest/api/token") {
      const bool right = request.method == Method::kPut &&
                         request.headers.has("X-aws-ec2-metadata-token-ttl-seconds");
      response.status = right ? 200 : 400;
      response.body = right ? token_ : "";
      tokens_given_ += right ? 1 : 0;
      return response;
    }
    if (request.headers.get("X-aws-ec2-metadata-token") != token_) {
      response.status = 401;
      return response;
    }
    const bool action = request.path == "/latest/meta-data/spot/instance-action";
    const bool rebalance = request.path == "/latest/meta-data/events/recommendations/rebalance";
    response.body = action ? action_ : rebalance ? rebalance_ : maintenance_;
    if (response.body.empty()) response.status = 404;
    return response;
  }

  Response gcp(const net::Request& request) {
    Response response;
    if (request.headers.get("Metadata-Flavor") != "Google") {
      response.status = 403;
      return response;
    }
    response.headers.set("Metadata-Flavor", "Google");
    response.headers.set("ETag", etag_);
    response.body = preempted_;
    return response;
  }

  Response azure(const net::Request& request, const std::string& body) {
    Response response;
    if (request.headers.get("Metadata") != "true") {
      response.status = 400;
    } else if (request.path == "/metadata/instance/compute/name") {
      response.body = "vm0";
    } else if (request.method == Method::kPost) {
      acknowledged_.push_back(body);
    } else {
      response.body = events_;
    }
    return response;
  }

  asio::io_context io_;
  std::unique_ptr<net::HttpServer> server_;
  WatcherSettings settings_;
  std::unique_ptr<ReclaimWatcher> watcher_;
  std::vector<ReclaimNotice> notices_;
  std::vector<std::string> log_;
  bool saved_ = false;

  std::string token_ = "token-1";
  int tokens_given_ = 0;
  int asked_ = 0;
  int hanging_rounds_ = 0;
  std::string action_;
  std::string rebalance_;
  std::string maintenance_;
  std::string preempted_ = "FALSE";
  std::string etag_ = "e1";
  std::string events_ = kNoEvents;
  std::vector<std::string> acknowledged_;
  std::string garbage_;
  bool hang_ = false;
};

TEST_F(WatcherTest, AwsActionIsToldOnce) {
  watch(Cloud::kAws);
  ASSERT_TRUE(until([&] { return asked_ > 6; }));
  EXPECT_TRUE(notices_.empty());
  action_ = kAction;
  ASSERT_TRUE(until([&] { return !notices_.empty(); }));
  run_for(Millis(100));
  ASSERT_EQ(notices_.size(), 1U);
  EXPECT_EQ(notices_[0].action, "terminate");
  EXPECT_EQ(tokens_given_, 1);
}

TEST_F(WatcherTest, AwsTokenIsRenewedWhenItIsRefused) {
  watch(Cloud::kAws);
  ASSERT_TRUE(until([&] { return asked_ > 4; }));
  token_ = "token-2";
  action_ = kAction;
  ASSERT_TRUE(until([&] { return !notices_.empty(); }));
  EXPECT_GE(tokens_given_, 2);
}

TEST_F(WatcherTest, AwsAdviceAndMaintenanceAreTold) {
  rebalance_ = R"({"noticeTime":"2020-10-27T08:22:00Z"})";
  maintenance_ = R"([{"NotBefore":"21 Jan 2019 09:00:43 GMT","Code":"system-reboot",
                      "EventId":"i-1","State":"active"}])";
  watch(Cloud::kAws);
  ASSERT_TRUE(until([&] { return notices_.size() == 2; }));
  EXPECT_EQ(notices_[0].kind, NoticeKind::kRebalance);
  EXPECT_EQ(notices_[1].kind, NoticeKind::kMaintenance);
}

TEST_F(WatcherTest, GcpPreemptionEndsTheHangingGet) {
  watch(Cloud::kGcp);
  run_for(Millis(100));
  EXPECT_TRUE(notices_.empty());
  EXPECT_LE(asked_, 3);
  preempted_ = "TRUE";
  etag_ = "e2";
  ASSERT_TRUE(until([&] { return !notices_.empty(); }));
  EXPECT_EQ(notices_[0].source, "gcp");
  EXPECT_EQ(notices_[0].lead, Millis(30000));
}

TEST_F(WatcherTest, AzureIsAcknowledgedOnlyWhenEverythingIsSaved) {
  watch(Cloud::kAzure);
  ASSERT_TRUE(until([&] { return asked_ > 4; }));
  events_ = kPreempt;
  ASSERT_TRUE(until([&] { return !notices_.empty(); }));
  run_for(Millis(100));
  EXPECT_TRUE(acknowledged_.empty());
  saved_ = true;
  ASSERT_TRUE(until([&] { return !acknowledged_.empty(); }));
  run_for(Millis(100));
  ASSERT_EQ(acknowledged_.size(), 1U);
  EXPECT_NE(acknowledged_[0].find("A1"), std::string::npos);
  EXPECT_EQ(notices_.size(), 1U);
}

TEST_F(WatcherTest, HungConnectionsAreGivenUpAndTriedAgain) {
  for (const Cloud cloud : {Cloud::kAws, Cloud::kGcp, Cloud::kAzure}) {
    notices_.clear();
    log_.clear();
    hang_ = true;
    action_ = kAction;
    preempted_ = "TRUE";
    events_ = kPreempt;
    watch(cloud);
    ASSERT_TRUE(until([&] { return !log_.empty(); })) << to_word(cloud);
    hang_ = false;
    ASSERT_TRUE(until([&] { return !notices_.empty(); })) << to_word(cloud);
    watcher_->stop();
  }
}

TEST_F(WatcherTest, GarbageIsLoggedOnceAndNoNotice) {
  for (const Cloud cloud : {Cloud::kAws, Cloud::kGcp, Cloud::kAzure}) {
    log_.clear();
    garbage_ = "<html>\x01 not me</html>";
    watch(cloud);
    ASSERT_TRUE(until([&] { return !log_.empty(); })) << to_word(cloud);
    run_for(Millis(150));
    EXPECT_EQ(log_.size(), 1U) << to_word(cloud);
    EXPECT_TRUE(notices_.empty());
    watcher_->stop();
  }
}

TEST_F(WatcherTest, TheCloudIsFoundByWhatOnlyItUnderstands) {
  // This imitation understands all; the first that is asked is believed.
  EXPECT_EQ(net::run_blocking(io_, detect_cloud(settings_)), Cloud::kGcp);
  WatcherSettings nowhere = settings_;
  nowhere.gcp_url = nowhere.azure_url = "http://127.0.0.1:9";
  EXPECT_EQ(net::run_blocking(io_, detect_cloud(nowhere)), Cloud::kAws);
  nowhere.aws_url = "http://127.0.0.1:9";
  EXPECT_EQ(net::run_blocking(io_, detect_cloud(nowhere)), std::nullopt);
}

}  // namespace
}  // namespace ratchet::agent
