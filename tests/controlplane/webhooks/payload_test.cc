#include "controlplane/webhooks/payload.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace ratchet::control {
namespace {

using nlohmann::json;

EventRecord succeeded() {
  EventRecord event;
  event.id = 17;
  event.event_id = "evt_a_17";
  event.row = {.job_id = JobId("job-1"),
               .seq = 9,
               .tenant = "default",
               .type = "job.succeeded",
               .attempt_no = 2,
               .epoch = 3,
               .step = 400,
               .cause = "completed",
               .data_json = R"({"artifact_id":"art-1","steps_recomputed":20})",
               .time = UnixMillis(1763722800123)};
  return event;
}

TEST(WebhookPayload, StandardBodyIsGolden) {
  const auto body = webhook_body(succeeded(), "standard");
  ASSERT_TRUE(body && *body);
  EXPECT_EQ((*body)->content_type, "application/json");
  EXPECT_EQ((*body)->text,
            R"({"data":{"artifact_id":"art-1","attempt_no":2,"cause":"completed","epoch":3,)"
            R"("job_id":"job-1","job_seq":9,"occurred_at":"2025-11-21T11:00:00.123Z","step":400,)"
            R"("steps_recomputed":20},"timestamp":"2025-11-21T11:00:00.123Z",)"
            R"("type":"job.succeeded"})");
}

TEST(WebhookPayload, CloudEventsHaveTheirAttributes) {
  const auto body = webhook_body(succeeded(), "cloudevents");
  ASSERT_TRUE(body && *body);
  EXPECT_EQ((*body)->content_type, "application/cloudevents+json");
  const json out = json::parse((*body)->text);
  for (const char* key : {"id", "source", "specversion", "type"}) EXPECT_TRUE(out.contains(key));
  EXPECT_EQ(out["specversion"], "1.0");
  EXPECT_EQ(out["subject"], "job-1");
  EXPECT_EQ(out["data"]["step"], 400);
}

TEST(WebhookPayload, OpenAiKnowsOnlyItsOwnEvents) {
  EventRecord event = succeeded();
  const json out = json::parse(webhook_body(event, "openai").value()->text);
  EXPECT_EQ(out, json::parse(R"({"id":"evt_a_17","object":"event","created_at":1763722800,
      "type":"fine_tuning.job.succeeded","data":{"id":"job-1"}})"));
  event.row.type = "job.recovering";
  EXPECT_FALSE(webhook_body(event, "openai").value());
}

TEST(WebhookPayload, BodiesFitTheStandardsBound) {
  EventRecord event = succeeded();
  event.row.data_json = json({{"small", 1}, {"large", std::string(30'000, 'x')}}).dump();
  const std::string text = webhook_body(event, "standard").value()->text;
  EXPECT_LT(text.size(), kMaxWebhookBody);
  const json data = json::parse(text)["data"];
  EXPECT_EQ(data["small"], 1);
  EXPECT_EQ(data["truncated"], true);
  EXPECT_FALSE(data.contains("large"));
}

TEST(WebhookPayload, FurtherFieldsReplaceNothing) {
  EventRecord event = succeeded();
  event.row.data_json = R"({"step":1,"job_id":"other"})";
  const json data = json::parse(webhook_body(event, "standard").value()->text)["data"];
  EXPECT_EQ(data["step"], 400);
  EXPECT_EQ(data["job_id"], "job-1");
  event.row.data_json = "no json";
  event.row.job_id = JobId();
  event.row.cause.clear();
  const json bare = json::parse(webhook_body(event, "standard").value()->text)["data"];
  EXPECT_TRUE(bare["job_id"].is_null());
  EXPECT_TRUE(bare["cause"].is_null());
}

TEST(WebhookPayload, TimesAreRfc3339) {
  EXPECT_EQ(rfc3339(UnixMillis(0)), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(rfc3339(UnixMillis(-1)), "1969-12-31T23:59:59.999Z");
  EXPECT_EQ(rfc3339(UnixMillis(951782400005)), "2000-02-29T00:00:00.005Z");
}

TEST(WebhookPayload, PatternsOfEventTypes) {
  for (const char* good : {"*", "job.failed", "job.*", "node.reclaim_notice", "a"}) {
    EXPECT_TRUE(is_event_pattern(good)) << good;
  }
  for (const char* bad :
       {"", ".", "job.", ".job", "job..x", "*.job", "job.*.x", "job failed", "j*"}) {
    EXPECT_FALSE(is_event_pattern(bad)) << bad;
  }
}

}  // namespace
}  // namespace ratchet::control
