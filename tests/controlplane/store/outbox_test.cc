#include "controlplane/store/batch_writer.h"
#include "tests/controlplane/store/store_testing.h"

namespace ratchet::control {
namespace {

class Outbox : public StoreTest {
 protected:
  std::vector<std::string> due_types(UnixMillis now = UnixMillis(1'000'000)) {
    std::vector<std::string> types;
    const auto due = store_->webhooks().due(now, 100);
    EXPECT_TRUE(due);
    for (const DueDelivery& one : *due) types.push_back(one.event.row.type);
    return types;
  }
  DeliveryRow first_due() {
    return store_->webhooks().due(UnixMillis(1'000'000), 100)->front().delivery;
  }
  void end(DeliveryRow row, DeliveryState state) {
    row.state = state;
    row.ended_at = UnixMillis(5000);
    must_write(UpdateDelivery{row});
  }
};

TEST_F(Outbox, TypesAreMatchedByNameGroupAndStar) {
  EXPECT_TRUE(wants_event({}, "job.failed"));
  EXPECT_TRUE(wants_event({"*"}, "node.lost"));
  EXPECT_TRUE(wants_event({"job.*"}, "job.failed"));
  EXPECT_TRUE(wants_event({"node.lost", "job.failed"}, "job.failed"));
  EXPECT_FALSE(wants_event({"job.*"}, "jobs.failed"));
  EXPECT_FALSE(wants_event({"job.failed"}, "job.failed.twice"));
  EXPECT_FALSE(wants_event({}, "checkpoint.committed"));
  EXPECT_FALSE(wants_event({"*"}, "checkpoint.committed"));
  EXPECT_TRUE(wants_event({"checkpoint.*"}, "checkpoint.committed"));
}

TEST_F(Outbox, DeliveriesAreMadeWithTheirEventOrNotAtAll) {
  open();
  must_write(TenantRow{"other", "Other", UnixMillis(1)});
  WebhookRow foreign = webhook_row("foreign");
  foreign.tenant = "other";
  must_write(foreign);
  must_write(webhook_row("all"));
  must_write(webhook_row("some", {"job.failed"}));
  WebhookRow off = webhook_row("off");
  off.enabled = false;
  must_write(off);
  JobRow job = job_row("a");
  const auto done = commit(job_batch(job, "job.created"));
  ASSERT_TRUE(done);
  EXPECT_EQ(done->deliveries, 1);
  JobRow refused = job;
  Batch broken = job_batch(refused, "job.failed");
  broken.writes.emplace_back(DeleteWebhook{"nobody"});
  EXPECT_EQ(commit(std::move(broken)).error().code, Code::kNotFound);
  EXPECT_EQ(*store_->webhooks().backlog(), 1);
  const auto due = store_->webhooks().due(UnixMillis(1'000'000), 10);
  ASSERT_EQ(due->size(), 1U);
  EXPECT_EQ(due->front().delivery.webhook_id, "all");
  EXPECT_EQ(due->front().event, done->events.front());
  EXPECT_EQ(due->front().delivery.event_id, done->events.front().event_id);
  EXPECT_EQ(due->front().event.event_id.find('.'), std::string::npos);
}

TEST_F(Outbox, OneJobsEventsAreDueOneAfterTheOther) {
  open();
  must_write(webhook_row("wh"));
  JobRow job = job_row("a");
  JobRow other = job_row("b");
  must(job_batch(job, "job.created"));
  must(job_batch(job, "job.started"));
  must(job_batch(job, "job.failed"));
  must(job_batch(other, "job.queued"));
  EXPECT_EQ(due_types(), (std::vector<std::string>{"job.created", "job.queued"}));

  DeliveryRow row = first_due();
  row.state = DeliveryState::kWaiting;
  row.tries = 1;
  row.last_status = 500;
  row.next_at = UnixMillis(90'000);
  must_write(UpdateDelivery{row});
  EXPECT_EQ(due_types(UnixMillis(80'000)), (std::vector<std::string>{"job.queued"}));
  EXPECT_EQ(**store_->webhooks().next_due(), UnixMillis(1001));
  end(row, DeliveryState::kDelivered);
  EXPECT_EQ(due_types(), (std::vector<std::string>{"job.queued", "job.started"}));
  row.state = DeliveryState::kWaiting;
  EXPECT_EQ(write(UpdateDelivery{row}).error().code, Code::kFailedPrecondition);
  while (!due_types().empty()) end(first_due(), DeliveryState::kDead);
  EXPECT_EQ(*store_->webhooks().backlog(), 0);
  EXPECT_FALSE(store_->webhooks().next_due()->has_value());
  EXPECT_EQ(store_->webhooks().deliveries({.tenant = "default"})->items.size(), 4U);
}

TEST_F(Outbox, WhatWasBeingSentIsDueAgainAfterAStart) {
  open();
  must_write(webhook_row("wh"));
  JobRow job = job_row("a");
  must(job_batch(job, "job.created"));
  DeliveryRow row = first_due();
  row.state = DeliveryState::kSending;
  row.next_at = UnixMillis(1'000'000'000);
  must_write(UpdateDelivery{row});
  EXPECT_TRUE(due_types().empty());
  close();
  open();
  EXPECT_EQ(due_types(), std::vector<std::string>{"job.created"});
}

TEST_F(Outbox, ADisabledEndpointWaitsAndADeletedOneTakesItsDeliveriesAlong) {
  open();
  WebhookRow row = webhook_row("wh");
  must_write(row);
  JobRow job = job_row("a");
  must(job_batch(job, "job.created"));
  row.enabled = false;
  row.secrets.clear();
  must_write(row);
  EXPECT_TRUE(due_types().empty());
  EXPECT_FALSE(store_->webhooks().next_due()->has_value());
  EXPECT_EQ(store_->webhooks().secrets("wh")->size(), 1U);  // an update without secrets keeps them
  must(job_batch(job, "job.started"));
  row.enabled = true;
  must_write(row);
  EXPECT_EQ(due_types(), std::vector<std::string>{"job.created"});
  must_write(DeleteWebhook{"wh"});
  EXPECT_EQ(*store_->webhooks().backlog(), 0);
  EXPECT_EQ(store_->webhooks().webhook("wh", "").error().code, Code::kNotFound);
  must(job_batch(job, "job.failed"));
}

TEST_F(Outbox, TestsAndReplaysMakeDeliveriesOfTheirOwn) {
  open();
  must_write(webhook_row("wh", {"job.failed"}));
  JobRow job = job_row("a");
  must(job_batch(job, "job.created"));
  const auto failed = commit(job_batch(job, "job.failed"));
  const std::int64_t event = failed->events.front().id;
  EventRow test;
  test.tenant = "default";
  test.type = "webhook.test";
  test.data_json = "{}";
  const auto tested = write(TestEvent{"wh", test});
  ASSERT_TRUE(tested) << tested.error().message;
  EXPECT_EQ(tested->events.size(), 1U);
  EXPECT_EQ(*store_->webhooks().backlog(), 2);
  must_write(ReplayEvents{.webhook_id = "wh", .event = event, .now = UnixMillis(7)});
  must_write(ReplayEvents{
      .webhook_id = "wh", .from = UnixMillis(0), .to = UnixMillis(99'999), .now = UnixMillis(8)});
  const auto log = store_->webhooks().deliveries({.webhook_id = "wh"});
  ASSERT_EQ(log->items.size(), 4U);  // newest first: the range has one that matches
  EXPECT_TRUE(log->items[0].replay);
  EXPECT_TRUE(log->items[1].replay);
  EXPECT_EQ(log->items[0].event, event);
  EXPECT_EQ(log->items[0].event_id, log->items[3].event_id);
  EXPECT_EQ(write(ReplayEvents{.webhook_id = "wh", .event = 999}).error().code, Code::kNotFound);
  EXPECT_EQ(write(TestEvent{"nobody", test}).error().code, Code::kNotFound);
}

TEST_F(Outbox, OldThingsGoAndWhatIsNeededStays) {
  open();
  must_write(webhook_row("wh"));
  JobRow live = job_row("live");
  JobRow over = job_row("over");
  must(job_batch(live, "job.created"));
  for (int i = 0; i < 30; ++i) {
    Batch batch = job_batch(over, "job.started");
    batch.lines.push_back({over.id, 1, 1, static_cast<std::uint64_t>(i + 1), "line"});
    must(std::move(batch));
  }
  over.phase = JobPhase::kFailed;
  over.ended_at = UnixMillis(100);
  must(job_batch(over, "job.failed"));
  RetentionRequest request{.events_before = UnixMillis(50'000),
                           .deliveries_before = UnixMillis(50'000),
                           .errors_before = UnixMillis(50'000),
                           .idempotency_before = UnixMillis(50'000),
                           .portion = 7};
  while (store_->retain(request)->more) {
  }
  // Its deliveries are open, so the events stay; the lines are gone, their cursor is not.
  EXPECT_EQ(store_->events().job_events(over.id, 0, 100)->size(), 31U);
  EXPECT_TRUE(store_->events().lines(over.id, 1, 0, 100)->empty());
  EXPECT_EQ(*store_->events().line_cursor(over.id, 1), 30U);
  while (!due_types().empty()) end(first_due(), DeliveryState::kDelivered);
  while (store_->retain(request)->more) {
  }
  EXPECT_TRUE(store_->events().job_events(over.id, 0, 100)->empty());
  EXPECT_EQ(store_->events().job_events(live.id, 0, 100)->size(), 1U);
  EXPECT_TRUE(store_->jobs().job(over.id, "default"));
  over.stage = "late";
  must(job_batch(over, "job.failed"));  // numbers go on after pruning
}

}  // namespace
}  // namespace ratchet::control
