#include "proto/sync_message.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/proto/random_sync.h"

namespace ratchet {
namespace {

using nlohmann::json;
using testing::RandomSync;

constexpr int kRounds = 300;

template <class T, class Decode>
void expect_round_trip(const T& message, Decode decode) {
  const std::string text = encode(message);
  const auto decoded = decode(text);
  ASSERT_TRUE(decoded) << decoded.error().message << "\n" << text;
  EXPECT_TRUE(*decoded == message) << text;
  EXPECT_EQ(encode(*decoded), text);
}

TEST(SyncMessage, FreshRandomMessagesRoundTrip) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  RandomSync random(seed);
  for (int i = 0; i < kRounds && !::testing::Test::HasFailure(); ++i) {
    expect_round_trip(random.hello_request(), decode_hello_request);
    expect_round_trip(random.hello_response(), decode_hello_response);
    expect_round_trip(random.heartbeat_request(), decode_heartbeat_request);
    expect_round_trip(random.heartbeat_response(), decode_heartbeat_response);
    expect_round_trip(random.sync_request(), decode_sync_request);
    expect_round_trip(random.sync_response(), decode_sync_response);
    expect_round_trip(random.notice_request(), decode_notice_request);
    expect_round_trip(random.desired(), decode_desired_attempt);
    expect_round_trip(random.inputs(), decode_job_inputs);
    expect_round_trip(random.report(), decode_attempt_report);
  }
}

// Adds a key that no build knows to every object of a message.
void add_unknown_keys(json& value) {
  for (json& child : value) {
    if (child.is_structured()) add_unknown_keys(child);
  }
  if (value.is_object() && !value.contains("flag")) value["key_of_a_newer_peer"] = {{"x", 1}};
}

TEST(SyncMessage, UnknownFieldsChangeNothing) {
  RandomSync random(std::random_device{}());
  for (int i = 0; i < 50; ++i) {
    SyncRequest request = random.sync_request();
    for (AttemptReport& report : request.attempts) {
      if (report.exit) report.exit->record.evidence.clear();
    }
    json tree = json::parse(encode(request));
    add_unknown_keys(tree);
    for (json& report : tree["attempts"]) {
      if (report.contains("exit")) report["exit"]["record"]["evidence"] = json::object();
    }
    const auto decoded = decode_sync_request(tree.dump());
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_TRUE(*decoded == request);
  }
}

TEST(SyncMessage, UnknownWishesMeanGoOn) {
  RandomSync random(7);
  json tree = json::parse(encode(random.desired()));
  tree["want"] = "teleport";
  EXPECT_EQ(decode_desired_attempt(tree.dump()).value().want, Want::kRun);
  json response = json::parse(encode(random.sync_response()));
  response["node_want"] = "dance";
  EXPECT_EQ(decode_sync_response(response.dump()).value().node_want, NodeWant::kKeep);
}

// A heartbeat is what the wire carries most: its form is fixed.
TEST(SyncMessage, HeartbeatsAreGolden) {
  EXPECT_EQ(encode(HeartbeatRequest{"node-1", "inc-1", 17}),
            R"({"incarnation":"inc-1","node_id":"node-1","schema":"sync/1","seq":17})");
  EXPECT_EQ(encode(HeartbeatResponse{"boot-1", 3, Millis(15000), Millis(300000)}),
            R"({"authority_ttl_ms":300000,"boot_id":"boot-1","contact_ttl_ms":15000,)"
            R"("desired_rev":3,"schema":"sync/1"})");
}

TEST(SyncMessage, FaultyValuesAreRefusedByName) {
  RandomSync random(11);
  SyncRequest request = random.sync_request();
  while (request.attempts.empty() || request.lines.empty()) request = random.sync_request();
  struct Case {
    const char* pointer;
    json value;
    const char* named;
  };
  for (const Case& c :
       {Case{"/node_id", "", "$.node_id"}, Case{"/node_id", "../etc", "$.node_id"},
        Case{"/seq", -1, "$.seq"}, Case{"/seq", 1.5, "$.seq"}, Case{"/wait_ms", 9e18, "$.wait_ms"},
        Case{"/wait_ms", kMaxSyncMillis.count() + 1, "$.wait_ms"},
        Case{"/facts", "none", "$.facts"}, Case{"/facts/slots", 65, "$.facts.slots"},
        Case{"/facts/price", "cheap", "$.facts.price"},
        Case{"/facts/usd_per_hour", -0.5, "$.facts.usd_per_hour"},
        Case{"/facts/gpus", json::array({1}), "$.facts.gpus[0]"},
        Case{"/attempts/0/state", "resting", "$.attempts[0].state"},
        Case{"/attempts/0/attempt_no", 0, "$.attempts[0].attempt_no"},
        Case{"/attempts/0/epoch", nullptr, "$.attempts[0].epoch"},
        Case{"/attempts/0/sealed", json::array({json::object()}), "$.attempts[0].sealed[0].step"},
        Case{"/lines/0/line", std::string(300'000, 'x'), "$.lines[0].line"},
        Case{"/schema", 1, "$.schema"}}) {
    json tree = json::parse(encode(request));
    tree[json::json_pointer(c.pointer)] = c.value;
    const auto decoded = decode_sync_request(tree.dump());
    ASSERT_FALSE(decoded) << c.pointer;
    EXPECT_NE(decoded.error().message.find(c.named), std::string::npos)
        << c.pointer << ": " << decoded.error().message;
  }
}

TEST(SyncMessage, EndAndExitBelongTogether) {
  RandomSync random(3);
  AttemptReport report = random.report();
  report.state = AttemptState::kRunning;
  report.exit = AttemptExit{};
  EXPECT_FALSE(decode_attempt_report(encode(report)));
  report.state = AttemptState::kEnded;
  EXPECT_TRUE(decode_attempt_report(encode(report)));
  report.exit.reset();
  EXPECT_FALSE(decode_attempt_report(encode(report)));
}

TEST(SyncMessage, InputsComeFromOnePlace) {
  EXPECT_TRUE(decode_job_inputs(
      R"({"base_model":{"artifact_id":"a1"},"train":{"node_path":"/data/t.jsonl"}})"));
  for (const char* text :
       {R"({"base_model":{"artifact_id":"a1"}})", R"({"base_model":{},"train":{}})",
        R"({"base_model":{"artifact_id":"a","node_path":"/b"},"train":{"node_path":"/t"}})",
        R"({"schema":"sync/2","base_model":{"artifact_id":"a"},"train":{"node_path":"/t"}})"}) {
    EXPECT_FALSE(decode_job_inputs(text)) << text;
  }
}

TEST(SyncMessage, OtherVersionsAreNamed) {
  json tree = json::parse(encode(HeartbeatRequest{"n", "i", 1}));
  tree["schema"] = "sync/2";
  const auto decoded = decode_heartbeat_request(tree.dump());
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code, Code::kUnsupported);
  EXPECT_NE(decoded.error().message.find("sync/2"), std::string::npos);
}

TEST(SyncMessage, BoundsHold) {
  SyncResponse response = RandomSync(5).sync_response();
  response.desired.assign(kMaxNodeAttempts + 1, RandomSync(6).desired());
  EXPECT_FALSE(decode_sync_response(encode(response)));
  EXPECT_FALSE(decode_sync_request(std::string(kMaxSyncBytes + 1, ' ')));
  EXPECT_FALSE(decode_sync_request(std::string(1000, '[')));
  EXPECT_FALSE(decode_hello_request(R"({"schema":"sync/1","schema":"sync/1"})"));
}

// Whatever bytes come, a decoder returns; what it accepts, it also encodes.
TEST(SyncMessage, MutatedBytesNeverBreakADecoder) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  RandomSync random(seed);
  for (int i = 0; i < 2000; ++i) {
    std::string text = encode(random.sync_request());
    for (std::size_t changes = 1 + random.below(4); changes > 0; --changes) {
      const std::size_t at = random.below(text.size());
      if (random.coin()) {
        text[at] = static_cast<char>(random.below(256));
      } else {
        text.erase(at, 1 + random.below(8));
        if (text.empty()) text = "{";
      }
    }
    if (const auto decoded = decode_sync_request(text)) {
      EXPECT_TRUE(decode_sync_request(encode(*decoded)));
    }
    EXPECT_FALSE(decode_sync_response(text));
  }
}

}  // namespace
}  // namespace ratchet
