// Restarts of either side, processes that come and go, intents, places, checkpoints kept.

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "controlplane/core/control_core.h"
#include "controlplane/core/recovery_stages.h"
#include "tests/controlplane/core/core_harness.h"

namespace ratchet::control {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

TEST(ControlCoreRestart, ARestartLosesNothingAndOffersNothingBeforeTheInventory) {
  CoreHarness world;
  start_job(world);
  world.submit("k", {}, 0);
  ASSERT_EQ(world.attempt("k", 1).node_id, "b");
  world.join("c", cpu_node());
  world.handle(PauseJob{JobId("k")});
  world.restart();
  EXPECT_TRUE(world.core->inventory_open(world.now()));
  world.submit("m");
  world.pass_beating(seconds(5), {"c"});
  EXPECT_EQ(world.job("m").phase, JobPhase::kQueued);
  EXPECT_EQ(world.desired("a", "j")->want, Want::kRun);
  for (const char* node : {"a", "b", "c"}) world.sync(node);
  EXPECT_FALSE(world.core->inventory_open(world.now()));
  EXPECT_NE(world.attempt("m", 1).node_id, "a");
  EXPECT_EQ(world.job("k").phase, JobPhase::kPaused);  // its node never took the offer
  EXPECT_EQ(world.job("j").epoch, 1);
  world.run_to("a", "j", 20);
  EXPECT_EQ(world.core->job(JobId("j"))->step, 20);
  EXPECT_EQ(world.interruptions.size(), 0u);
}

TEST(ControlCoreRestart, ARejectedFirstInputDoesNotLoseWhatTheStartDecided) {
  CoreHarness world({}, {local(1)});
  world.submit("j");
  world.handle(Tick{});
  ASSERT_EQ(world.intents.size(), 1u);
  world.restart();  // the provider is to be asked again: nobody knows whether it was
  const Outcome refused = world.handle(PauseJob{JobId("nobody")});
  ASSERT_TRUE(refused.rejection);
  EXPECT_TRUE(refused.commands.empty());
  const Outcome next = world.handle(Tick{});
  ASSERT_EQ(next.commands.size(), 1u);
  EXPECT_EQ(std::get<CreateNode>(next.commands[0]).intent_key, world.intents.begin()->first);
}

TEST(ControlCoreRestart, TheInventoryEndsByItself) {
  CoreHarness world;
  start_job(world);
  world.restart();
  world.submit("m");
  world.pass_beating(seconds(29), {"b"});
  EXPECT_EQ(world.job("m").phase, JobPhase::kQueued);
  world.sync("b");
  world.pass_beating(seconds(2), {"b"});
  EXPECT_EQ(world.attempt("m", 1).node_id, "b");
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);  // its node has its authority yet
}

TEST(ControlCoreRestart, LeasesShorterThanTheInventoryEndAfterIt) {
  CoreSettings settings;
  settings.authority_ttl = settings.inventory_window - settings.drift_floor - Millis{300};
  CoreHarness world(settings);
  start_job(world);
  world.restart();
  world.pass_beating(seconds(29), {});
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);
  world.pass_beating(seconds(2), {});
  EXPECT_EQ(world.job("j").phase, JobPhase::kRecovering);
}

TEST(ControlCoreRestart, AnOldStoreIsOvertakenByWhatRuns) {
  CoreHarness world;
  world.join("a", cpu_node());
  world.join("b", cpu_node());
  world.submit("j");
  const JobRow before = world.job("j");
  world.accept("a");
  world.run_to("a", "j", 8);
  // The store is put back to when the job was queued.
  JobRow old = before;
  old.phase = JobPhase::kQueued;
  old.epoch = 0;
  old.attempts = 0;
  world.jobs["j"] = old;
  world.attempts.clear();
  std::erase_if(world.events, [&](const EventRow& event) { return event.seq > old.event_seq; });
  world.restart();
  world.sync("a");
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);
  EXPECT_EQ(world.job("j").epoch, 1);
  EXPECT_EQ(world.attempt("j", 1).node_id, "a");
  world.sync("b");
  EXPECT_EQ(world.job("j").attempts, 1);
}

TEST(ControlCoreRestart, ANewProcessThatDisownsAnAttemptProvesItsDeath) {
  CoreHarness world;
  start_job(world);
  world.hello("a", "two");
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);  // a hello proves nothing
  world.sync("a");
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);  // it found the trainer alive
  world.hello("a", "three");
  world.agents.at("a").reports.clear();
  world.sync("a");
  EXPECT_EQ(world.attempt("j", 1).cause, EndCause::kNodeLost);
  EXPECT_EQ(world.job("j").epoch, 2);
}

TEST(ControlCoreRestart, OldProcessesMustSayHello) {
  CoreHarness world;
  start_job(world);
  world.hello("a", "two");
  EXPECT_TRUE(world.handle(HeartbeatInput{{"a", "one", 5}}).needs_hello);
  EXPECT_TRUE(world.handle(HeartbeatInput{{"nobody", "one", 5}}).needs_hello);
  EXPECT_FALSE(world.handle(HeartbeatInput{{"a", "two", 5}}).needs_hello);
}

TEST(ControlCoreRestart, TwoAgentsUnderOneNameAreQuarantined) {
  CoreHarness world;
  start_job(world);
  for (int i = 0; i < 4; ++i) {
    world.hello("a", "two");
    world.hello("a", "one");
  }
  EXPECT_EQ(world.nodes.at("a").schedulable, Schedulable::kQuarantined);
}

TEST(ControlCoreRestart, OldSyncsAreNotApplied) {
  CoreHarness world;
  start_job(world);
  const auto before = world.agents.at("a").reports;
  world.run_to("a", "j", 40);
  SyncRequest late;
  late.node_id = "a";
  late.incarnation = "one";
  late.seq = 1;
  late.facts = world.agents.at("a").facts;
  world.handle(SyncInput{late});  // without attempts: it would disown them
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);
  EXPECT_EQ(world.core->job(JobId("j"))->step, 40);
}

TEST(ControlCoreRestart, ReportsOfAnotherNodeAreNotTaken) {
  CoreHarness world;
  start_job(world);
  world.agents.at("b").reports = world.agents.at("a").reports;
  world.end("b", "j", EndCause::kCompleted);
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);
}

TEST(ControlCoreRestart, IntentsComeBeforeNodesAndAreBounded) {
  CoreHarness world({}, {local(2)});
  std::vector<std::string> keys;
  for (int i = 0; i < 4; ++i) {
    const Outcome out = world.submit("j" + std::to_string(i));
    for (const Command& command : out.commands) {
      keys.push_back(std::get<CreateNode>(command).intent_key);
    }
  }
  ASSERT_EQ(keys.size(), 2u);
  world.handle(IntentSent{keys[0]});
  EXPECT_EQ(world.intents.at(keys[0]).state, IntentState::kSent);
  world.handle(IntentAnswered{keys[0], IntentState::kAmbiguous, "timeout"});
  world.handle(IntentAnswered{keys[0], IntentState::kAbsentConfirmed, "not in the list"});
  EXPECT_EQ(world.intents.at(keys[0]).state, IntentState::kAbsentConfirmed);
  world.pass(seconds(6));
  EXPECT_EQ(world.intents.size(), 3u);  // another key, after a while
  world.handle(IntentGone{keys[1], "its process ended"});
  EXPECT_EQ(world.intents.size(), 4u);
  EXPECT_EQ(world.intents.at(keys[1]).state, IntentState::kDone);
}

TEST(ControlCoreRestart, KeepsANumberOfNodes) {
  ControlCore::Provider provider = local(3);
  provider.keep = 2;
  CoreHarness world({}, {provider});
  EXPECT_EQ(world.handle(Tick{}).commands.size(), 2u);
  EXPECT_EQ(world.handle(Tick{}).commands.size(), 0u);
  std::vector<std::string> keys;
  for (const auto& [key, row] : world.intents) keys.push_back(key);
  world.join("a", local_node(), keys[0]);
  world.join("b", local_node(), keys[1]);
  EXPECT_EQ(world.handle(Tick{}).commands.size(), 0u);
  EXPECT_EQ(world.gone("a").commands.size(), 1u);
}

TEST(ControlCoreRestart, AfterARestartOpenIntentsAreAskedForUnderTheSameKey) {
  CoreHarness world({}, {local(1)});
  const Outcome out = world.submit("j");
  ASSERT_EQ(out.commands.size(), 1u);
  const std::string key = std::get<CreateNode>(out.commands[0]).intent_key;
  world.restart();
  const Outcome again = world.handle(Tick{});
  ASSERT_EQ(again.commands.size(), 1u);
  EXPECT_EQ(std::get<CreateNode>(again.commands[0]).intent_key, key);
}

TEST(ControlCoreRestart, StartsAtItsTime) {
  CoreHarness world;
  world.join("a", cpu_node());
  JobRow row;
  row.id = JobId("later");
  row.tenant = "t";
  row.phase = JobPhase::kQueued;
  row.starts_at = world.now().wall + seconds(10);
  world.handle(SubmitJob{row});
  world.pass_beating(seconds(9), {"a"});
  EXPECT_EQ(world.job("later").phase, JobPhase::kQueued);
  world.pass_beating(seconds(2), {"a"});
  EXPECT_EQ(world.job("later").phase, JobPhase::kStarting);
}

TEST(ControlCoreRestart, InputsDecideWhetherAJobIsQueued) {
  CoreHarness world;
  JobRow row;
  row.tenant = "t";
  row.phase = JobPhase::kValidating;
  for (const char* id : {"good", "bad"}) {
    row.id = JobId(id);
    world.handle(SubmitJob{row});
  }
  world.handle(InputsReady{JobId("good"), {}});
  EXPECT_EQ(world.job("good").phase, JobPhase::kQueued);
  Failure failure;
  failure.error_type = "inputs";
  failure.message = "The data set was never uploaded.";
  world.handle(InputsReady{JobId("bad"), failure});
  EXPECT_EQ(world.job("bad").phase, JobPhase::kFailed);
  EXPECT_EQ(world.job("bad").failure->error_type, "inputs");
}

TEST(ControlCoreRestart, ARecoveringJobWithoutANodeIsQueuedAgain) {
  CoreHarness world({}, {local(0)});
  world.join("a", local_node());
  world.submit("j");
  world.accept("a");
  world.run_to("a", "j", 8);
  world.gone("a");
  EXPECT_EQ(world.job("j").phase, JobPhase::kRecovering);
  world.pass(minutes(11));
  EXPECT_EQ(world.job("j").phase, JobPhase::kQueued);
  EXPECT_EQ(shown_state(world.job("j"), world.interruptions.at({"j", 1})), JobState::kQueued);
  world.join("b", local_node());
  EXPECT_EQ(world.job("j").phase, JobPhase::kStarting);
}

TEST(ControlCoreRestart, BackoffOutlivesARestartAndAClockJump) {
  CoreHarness world;
  world.join("a", cpu_node());
  world.submit("j");
  world.accept("a");
  world.run_to("a", "j", 8);
  world.end("a", "j", EndCause::kHang);
  ASSERT_TRUE(world.job("j").backoff_until);
  world.set_wall(world.now().wall - std::chrono::hours(1));
  world.restart();
  world.sync("a");
  EXPECT_EQ(world.job("j").phase, JobPhase::kRecovering);
  world.pass_beating(seconds(301), {"a"});  // the longest backoff
  EXPECT_EQ(world.job("j").phase, JobPhase::kStarting);
}

TEST(ControlCoreRestart, QuotaHoldsATenantBack) {
  CoreSettings settings;
  settings.tenant_slots = 1;
  CoreHarness world(settings);
  world.join("a", cpu_node());
  world.join("b", cpu_node());
  world.submit("j");
  world.submit("k");
  EXPECT_EQ(world.job("k").phase, JobPhase::kQueued);
  world.accept("a");
  world.run_to("a", "j", 1);
  world.end("a", "j", EndCause::kCompleted);
  EXPECT_EQ(world.job("k").phase, JobPhase::kStarting);
}

TEST(ControlCoreRestart, CheckpointsBeyondTheKeptOnesAreRetired) {
  CoreHarness world;
  start_job(world);
  for (const std::int64_t step : {20, 30, 40, 50}) world.seal("a", "j", step);
  EXPECT_EQ(world.checkpoints.at({"j", 1, 10}).state, CheckpointState::kRetired);
  EXPECT_EQ(world.checkpoints.at({"j", 1, 20}).state, CheckpointState::kRetired);
  EXPECT_EQ(world.checkpoints.at({"j", 1, 30}).state, CheckpointState::kCommitted);
  EXPECT_EQ(world.job("j").head.step, 50);
}

TEST(ControlCoreRestart, WaitsAMomentForACheckpointThatIsStillBeingUploaded) {
  CoreHarness world;
  start_job(world);
  AttemptReport& report = world.report("a", "j");
  report.sealed.push_back({.step = 12,
                           .manifest_sha256 = "late",
                           .parent_manifest_sha256 = "hash-1-10",
                           .size = Bytes(1),
                           .artifact_id = ""});
  const auto kept = report;
  world.end("a", "j", EndCause::kPreempted);
  EXPECT_EQ(world.job("j").phase, JobPhase::kRecovering);
  EXPECT_EQ(world.job("j").attempts, 1);
  AttemptReport again = kept;
  again.state = AttemptState::kEnded;
  again.exit = AttemptExit{};
  again.exit->cause = EndCause::kPreempted;
  again.sealed[0].artifact_id = "there";
  world.agents.at("a").reports = {again};
  world.sync("a");
  EXPECT_EQ(world.job("j").head.step, 12);
  EXPECT_EQ(world.job("j").attempts, 2);
  EXPECT_EQ(world.attempt("j", 2).resume.step, 12);
}

TEST(ControlCoreRestart, ManyJobsAndNodesCostLittleAHeartbeat) {
  CoreHarness world;
  for (int i = 0; i < 200; ++i) world.join("n" + std::to_string(i), cpu_node());
  Requirements huge;
  huge.gpu_type = "none such";
  for (int i = 0; i < 1000; ++i) {
    JobRow row;
    row.id = JobId("j" + std::to_string(i));
    row.tenant = "t";
    row.needs = huge;
    row.phase = JobPhase::kQueued;
    world.core->handle(SubmitJob{row}, world.now());
  }
  const Outcome out = world.handle(HeartbeatInput{{"n7", "one", 1}});
  EXPECT_TRUE(out.rows.empty());
  EXPECT_TRUE(out.events.empty());
  EXPECT_TRUE(out.wake.empty());
}

}  // namespace
}  // namespace ratchet::control
