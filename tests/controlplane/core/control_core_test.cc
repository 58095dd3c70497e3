// The core as a whole: a job's life, deaths on its way, and what users ask for meanwhile.

#include "controlplane/core/control_core.h"

#include <gtest/gtest.h>

#include "controlplane/core/recovery_stages.h"
#include "tests/controlplane/core/core_harness.h"

namespace ratchet::control {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

TEST(ControlCore, RunsAJobFromStartToFinish) {
  CoreHarness world;
  world.join("a", cpu_node());
  world.submit("j");
  EXPECT_EQ(world.job("j").phase, JobPhase::kStarting);
  world.accept("a");
  world.run_to("a", "j", 1);
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);
  world.seal("a", "j", 10);
  EXPECT_EQ(world.job("j").head.step, 10);
  const Outcome end = world.end("a", "j", EndCause::kCompleted);
  EXPECT_EQ(world.job("j").phase, JobPhase::kSucceeded);
  EXPECT_EQ(world.job("j").result_artifact, "result");
  ASSERT_EQ(end.acked_ends.size(), 1u);
  EXPECT_EQ(world.core->job(JobId("j")), nullptr);
  EXPECT_EQ(world.core->node("a", world.now())->free_slots, 1);
  const std::vector<std::string> told{
      "job.created",          "job.queued",      "job.starting",    "attempt.accepted",
      "attempt.preparing",    "attempt.loading", "attempt.running", "job.started",
      "checkpoint.committed", "attempt.ended",   "job.succeeded"};
  EXPECT_EQ(world.types("j"), told);
}

TEST(ControlCore, MovesAJobFromANodeThatIsProvedDead) {
  CoreHarness world({}, {local(2)});
  start_job(world, local_node());
  world.pass_beating(seconds(1), {"a", "b"});
  world.gone("a");
  EXPECT_EQ(world.attempt("j", 1).cause, EndCause::kNodeLost);
  EXPECT_EQ(world.job("j").phase, JobPhase::kStarting);  // at once, on the idle node
  EXPECT_EQ(world.job("j").epoch, 2);
  const auto wish = world.desired("b", "j");
  ASSERT_TRUE(wish);
  ASSERT_TRUE(wish->resume);
  EXPECT_EQ(wish->resume->step, 10);
  EXPECT_EQ(shown_state(world.job("j"), world.interruptions.at({"j", 1})), JobState::kRecovering);
  world.accept("b");
  world.pass_beating(seconds(2), {"b"});
  AttemptReport& report = world.report("b", "j");
  report.replayed_steps = 2;
  world.run_to("b", "j", 11);
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);
  EXPECT_FALSE(world.interruptions.at({"j", 1}).resumed_at);  // step 11 had been done before
  world.run_to("b", "j", 13);
  const InterruptionRow& record = world.interruptions.at({"j", 1});
  EXPECT_EQ(record.cause, EndCause::kNodeLost);
  EXPECT_EQ(record.source, "provider");
  EXPECT_EQ(record.interrupted_step, 12);
  EXPECT_EQ(record.resumed_step, 10);
  EXPECT_EQ(record.replayed_steps, 2);
  EXPECT_TRUE(record.resumed_at);
  for (const StageRow& stage : record.stages) EXPECT_EQ(stage.state, StageState::kDone);
  EXPECT_TRUE(world.told("job.recovered"));
  EXPECT_TRUE(world.told("job.resumed"));
  world.end("b", "j", EndCause::kCompleted);
  EXPECT_EQ(world.job("j").phase, JobPhase::kSucceeded);
}

TEST(ControlCore, SilenceEndsNothingBeforeTheAuthorityLease) {
  CoreHarness world;
  start_job(world);
  world.pass_beating(seconds(290), {"b"});
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);
  EXPECT_EQ(world.job("j").epoch, 1);
  EXPECT_EQ(world.core->node("a", world.now())->liveness, Liveness::kSilent);
  EXPECT_TRUE(world.told("job.stalled"));
  world.pass_beating(seconds(20), {"b"});
  EXPECT_EQ(world.job("j").phase, JobPhase::kStarting);
  EXPECT_EQ(world.job("j").epoch, 2);
  EXPECT_TRUE(world.desired("b", "j"));
  EXPECT_NE(world.attempt("j", 1).state, AttemptState::kEnded);  // fenced, and still billed
  EXPECT_EQ(world.interruptions.at({"j", 1}).source, "heartbeat");
}

TEST(ControlCore, NodesWhoseDeathCanBeProvedDieByProofOnly) {
  CoreHarness world({}, {local(2)});
  start_job(world, local_node());
  world.pass_beating(minutes(30), {"b"});
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);
  EXPECT_EQ(world.job("j").epoch, 1);
  world.gone("a");
  EXPECT_EQ(world.job("j").epoch, 2);
}

TEST(ControlCore, TheOriginalGoesOnWhenNobodyTookItsPlace) {
  CoreHarness world;
  world.join("a", cpu_node());
  world.submit("j");
  world.accept("a");
  world.run_to("a", "j", 8);
  world.pass(minutes(10));
  EXPECT_EQ(world.job("j").phase, JobPhase::kRecovering);
  world.run_to("a", "j", 50);
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);
  EXPECT_EQ(world.job("j").epoch, 1);
  EXPECT_EQ(world.interruptions.at({"j", 1}).replayed_steps, 0);
  EXPECT_TRUE(world.interruptions.at({"j", 1}).resumed_at);
  world.seal("a", "j", 50);
  EXPECT_EQ(world.job("j").head.step, 50);
}

TEST(ControlCore, TheOriginalIsGrantedAnewBeforeTheNewcomersFirstStep) {
  CoreHarness world;
  start_job(world);
  world.pass_beating(seconds(310), {"b"});
  world.accept("b");
  ASSERT_EQ(world.job("j").epoch, 2);
  world.run_to("a", "j", 60);
  EXPECT_EQ(world.job("j").epoch, 3);
  EXPECT_EQ(world.attempt("j", 1).epoch, 3);
  EXPECT_EQ(world.attempt("j", 2).cause, EndCause::kSuperseded);
  EXPECT_EQ(world.desired("a", "j")->want, Want::kRun);
  EXPECT_EQ(world.desired("a", "j")->attempt_no, 1);
  EXPECT_EQ(world.desired("b", "j")->want, Want::kStop);
  EXPECT_EQ(world.desired("b", "j")->stop_cause, EndCause::kSuperseded);
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);
  world.accept("a");
  world.seal("a", "j", 60, "hash-1-10");
  EXPECT_EQ(world.job("j").head.step, 60);
  world.end("b", "j", EndCause::kSuperseded);
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);
  EXPECT_EQ(world.core->node("b", world.now())->free_slots, 1);
}

TEST(ControlCore, TheOriginalStopsOnceTheNewcomerTrains) {
  CoreHarness world;
  start_job(world);
  world.pass_beating(seconds(310), {"b"});
  world.accept("b");
  world.run_to("b", "j", 13);
  // What it sealed meanwhile is adopted, for it is newer than the head and chained to it.
  world.seal("a", "j", 30, "hash-1-10");
  EXPECT_EQ(world.job("j").epoch, 2);
  EXPECT_EQ(world.job("j").head.step, 30);
  EXPECT_EQ(world.checkpoints.at({"j", 1, 30}).state, CheckpointState::kAdopted);
  EXPECT_EQ(world.desired("a", "j")->want, Want::kStop);
  world.seal("a", "j", 40, "another-parent");
  EXPECT_EQ(world.job("j").head.step, 30);
  EXPECT_EQ(world.checkpoints.at({"j", 1, 40}).state, CheckpointState::kOrphan);
  world.end("a", "j", EndCause::kSuperseded);
  EXPECT_EQ(world.attempt("j", 1).cause, EndCause::kSuperseded);
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);
  world.pass_beating(std::chrono::hours(25), {});
  EXPECT_EQ(world.checkpoints.at({"j", 1, 40}).state, CheckpointState::kDiscarded);
}

// Its own attempt is over; the epoch that it claims belongs to another's.
TEST(ControlCore, AClaimedEpochPublishesNothing) {
  for (const std::int64_t claimed_attempt : {1, 7}) {
    CoreHarness world;
    start_job(world);
    world.pass_beating(seconds(310), {"b"});
    world.accept("b");
    world.run_to("b", "j", 13);
    ASSERT_EQ(world.job("j").epoch, 2);
    AttemptReport& claim = world.agents.at("a").reports.front();
    claim.attempt_no = claimed_attempt;
    claim.epoch = 2;
    world.seal("a", "j", 500, "another-parent");
    EXPECT_EQ(world.job("j").head.step, 10) << claimed_attempt;
    world.seal("b", "j", 20, "hash-1-10");
    EXPECT_EQ(world.job("j").head.step, 20) << claimed_attempt;
  }
}

TEST(ControlCore, AZombieCannotFinishTheJob) {
  CoreHarness world;
  start_job(world);
  world.pass_beating(seconds(310), {"b"});
  world.accept("b");
  world.run_to("b", "j", 13);
  const Outcome late = world.end("a", "j", EndCause::kCompleted);
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);
  EXPECT_EQ(world.job("j").result_artifact, "");
  EXPECT_EQ(world.attempt("j", 1).cause, EndCause::kSuperseded);
  ASSERT_TRUE(world.attempt("j", 1).exit);
  EXPECT_EQ(world.attempt("j", 1).exit->cause, EndCause::kCompleted);  // evidence
  EXPECT_EQ(late.acked_ends.size(), 1u);
}

TEST(ControlCore, OffersExpireAndAreMadeAgainUnderANewEpoch) {
  CoreHarness world;
  world.join("a", cpu_node());
  world.join("b", cpu_node());
  world.submit("j");
  world.pass_beating(seconds(31), {"a", "b"});
  EXPECT_EQ(world.attempt("j", 1).cause, EndCause::kDeclined);
  EXPECT_EQ(world.job("j").epoch, 2);
  EXPECT_TRUE(world.interruptions.empty());
  EXPECT_EQ(world.attempt("j", 2).node_id, "b");
}

TEST(ControlCore, PausesByCheckpointAndResumes) {
  CoreHarness world;
  start_job(world);
  world.handle(PauseJob{JobId("j")});
  EXPECT_EQ(world.job("j").phase, JobPhase::kPausing);
  EXPECT_EQ(world.desired("a", "j")->want, Want::kDrain);
  EXPECT_FALSE(world.handle(PauseJob{JobId("j")}).rejection);
  EXPECT_TRUE(world.handle(ResumeJob{JobId("j")}).rejection);
  world.seal("a", "j", 13);
  world.end("a", "j", EndCause::kCancelled);
  EXPECT_EQ(world.job("j").phase, JobPhase::kPaused);
  EXPECT_EQ(world.job("j").head.step, 13);
  EXPECT_EQ(world.core->node("a", world.now())->free_slots, 1);
  EXPECT_FALSE(world.handle(PauseJob{JobId("j")}).rejection);
  world.pass_beating(minutes(1), {"a", "b"});
  EXPECT_EQ(world.job("j").phase, JobPhase::kPaused);
  EXPECT_FALSE(world.handle(ResumeJob{JobId("j")}).rejection);
  EXPECT_FALSE(world.handle(ResumeJob{JobId("j")}).rejection);
  EXPECT_EQ(world.job("j").phase, JobPhase::kStarting);
  EXPECT_EQ(world.job("j").attempts, 2);
  EXPECT_TRUE(world.job("j").ledger.ends.empty());
}

TEST(ControlCore, CancelsOnceTheAttemptIsProvedStopped) {
  CoreHarness world;
  start_job(world);
  world.handle(CancelJob{JobId("j")});
  EXPECT_EQ(world.job("j").phase, JobPhase::kCancelling);
  EXPECT_EQ(world.desired("a", "j")->want, Want::kStop);
  EXPECT_FALSE(world.handle(CancelJob{JobId("j")}).rejection);
  world.end("a", "j", EndCause::kCancelled);
  EXPECT_EQ(world.job("j").phase, JobPhase::kCancelled);
  EXPECT_EQ(world.handle(CancelJob{JobId("j")}).rejection->code, "job_not_found");
}

TEST(ControlCore, ACancelledJobStaysCancelledWhenItsLostNodeReturns) {
  CoreHarness world;
  world.join("a", cpu_node());
  world.submit("j");
  world.accept("a");
  world.run_to("a", "j", 8);
  world.pass(minutes(6));
  world.handle(CancelJob{JobId("j")});
  EXPECT_EQ(world.job("j").phase, JobPhase::kCancelled);
  EXPECT_EQ(world.attempt("j", 1).cause, EndCause::kCancelled);
  world.run_to("a", "j", 70);
  EXPECT_EQ(world.desired("a", "j")->want, Want::kStop);
  world.seal("a", "j", 70);
  world.end("a", "j", EndCause::kCompleted);
  EXPECT_EQ(world.job("j").phase, JobPhase::kCancelled);
  EXPECT_EQ(world.job("j").head.step, 0);
  EXPECT_EQ(world.attempt("j", 1).exit->cause, EndCause::kCompleted);
  EXPECT_EQ(world.core->job(JobId("j")), nullptr);
}

TEST(ControlCore, RunsOutOfBudgetWithANextStep) {
  CoreHarness world;
  world.join("a", cpu_node());
  world.submit("j");
  for (int i = 0; i < 3; ++i) {
    world.accept("a");
    world.run_to("a", "j", 5);
    world.end("a", "j", EndCause::kHang, "It stood still.");
    for (int s = 0; s < 20 && world.job("j").phase == JobPhase::kRecovering; ++s) {
      world.pass_beating(seconds(1), {"a"});
    }
  }
  EXPECT_EQ(world.job("j").phase, JobPhase::kFailed);
  ASSERT_TRUE(world.job("j").failure);
  EXPECT_EQ(world.job("j").failure->error_type, "hang");
  EXPECT_FALSE(world.job("j").failure->next_step.empty());
  EXPECT_EQ(world.job("j").failure->step, 5);
}

TEST(ControlCore, OutOfMemoryIsNotRetried) {
  CoreHarness world;
  start_job(world);
  world.end("a", "j", EndCause::kOomGpu, "The GPU has 80 GB.");
  EXPECT_EQ(world.job("j").phase, JobPhase::kFailed);
  EXPECT_EQ(world.job("j").failure->error_type, "oom_gpu");
  EXPECT_EQ(world.job("j").failure->message, "The GPU has 80 GB.");
}

TEST(ControlCore, AGpuFaultQuarantinesTheNodeAndMovesTheJob) {
  CoreHarness world;
  start_job(world, gpu_node(1));
  world.end("a", "j", EndCause::kGpuFault, "Xid 79.");
  EXPECT_EQ(world.nodes.at("a").schedulable, Schedulable::kQuarantined);
  world.pass_beating(seconds(6), {"a", "b"});
  EXPECT_EQ(world.attempt("j", 2).node_id, "b");
  world.accept("b");
  world.run_to("b", "j", 11);
  world.end("b", "j", EndCause::kGpuFault, "Xid 79.");
  EXPECT_EQ(world.nodes.at("b").schedulable, Schedulable::kReady);  // I11
  EXPECT_TRUE(world.told("node.quarantine_refused"));
  world.handle(UndrainNode{"a"});
  EXPECT_EQ(world.nodes.at("a").schedulable, Schedulable::kReady);
}

TEST(ControlCore, HangsAreStoppedAndChargedToTheJob) {
  CoreHarness world;
  world.join("a", cpu_node());
  world.submit("j");
  world.accept("a");
  for (int step = 1; step <= 5; ++step) {
    world.run_to("a", "j", step);
    world.pass_beating(seconds(1), {"a"});
  }
  world.report("a", "j").step_age = seconds(119);
  world.sync("a");
  EXPECT_EQ(world.desired("a", "j")->want, Want::kRun);
  world.report("a", "j").step_age = seconds(121);
  world.sync("a");
  EXPECT_EQ(world.desired("a", "j")->want, Want::kStop);
  EXPECT_EQ(world.desired("a", "j")->stop_cause, EndCause::kHang);
  EXPECT_TRUE(world.told("job.stalled"));
  world.end("a", "j", EndCause::kHang);
  EXPECT_EQ(world.job("j").phase, JobPhase::kRecovering);
  EXPECT_EQ(world.job("j").ledger.ends.at(EndCause::kHang), 1);
}

TEST(ControlCore, AFullDiskOfTheNodeIsToldOnce) {
  CoreHarness world;
  start_job(world);
  world.agents.at("a").facts.disk_full = true;
  world.sync("a");
  EXPECT_TRUE(world.told("job.stalled"));
  const auto events = world.job("j").event_seq;
  world.sync("a");
  EXPECT_EQ(world.job("j").event_seq, events);
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);
}

TEST(ControlCore, ANoticeDrainsAtOnceAndAsksForTheReplacement) {
  CoreHarness world({}, {local(1)});
  NodeFacts facts = local_node();
  world.join("a", facts);
  world.submit("j");
  world.accept("a");
  world.run_to("a", "j", 8);
  NoticeRequest notice{"a", "one", {"aws", NoticeKind::kReclaim, "terminate", "e1", seconds(120)}};
  Outcome out = world.handle(NoticeInput{notice});
  EXPECT_EQ(world.desired("a", "j")->want, Want::kDrain);
  EXPECT_EQ(world.desired("a", "j")->stop_cause, EndCause::kPreempted);
  EXPECT_EQ(world.desired("a", "j")->deadline, seconds(120));
  ASSERT_EQ(out.commands.size(), 1u);
  const std::string key = std::get<CreateNode>(out.commands[0]).intent_key;
  EXPECT_EQ(world.intents.at(key).job_id, JobId("j"));
  EXPECT_TRUE(world.handle(NoticeInput{notice}).events.empty());  // told once
  EXPECT_EQ(world.job("j").phase, JobPhase::kRunning);
  world.seal("a", "j", 9);
  out = world.end("a", "j", EndCause::kPreempted);
  EXPECT_EQ(world.job("j").phase, JobPhase::kRecovering);
  EXPECT_EQ(world.interruptions.at({"j", 1}).source, "notice");
  ASSERT_EQ(out.commands.size(), 1u);
  EXPECT_EQ(std::get<ReleaseNode>(out.commands[0]).node_id, "a");
  EXPECT_EQ(world.core->desired_for("a", world.now()).node_want, NodeWant::kRelease);
  world.join("c", facts, key);
  EXPECT_EQ(world.intents.at(key).state, IntentState::kDone);
  EXPECT_EQ(world.attempt("j", 2).node_id, "c");
  world.accept("c");
  world.run_to("c", "j", 10);
  EXPECT_EQ(world.interruptions.at({"j", 1}).replayed_steps, 0);
  world.gone("a");
  EXPECT_TRUE(world.told("node.released"));
}

TEST(ControlCore, SimulatedReclaimIsToldUntilTheAgentActsOnIt) {
  CoreHarness world;
  start_job(world);
  EXPECT_EQ(world.handle(SimulateReclaim{"nobody", seconds(30)}).rejection->code, "node_not_found");
  const Outcome out = world.handle(SimulateReclaim{"a", seconds(30)});
  EXPECT_EQ(out.wake, std::vector<std::string>{"a"});
  const auto simulate = world.core->desired_for("a", world.now()).simulate;
  ASSERT_TRUE(simulate);
  EXPECT_EQ(simulate->lead, seconds(30));
  world.handle(NoticeInput{{"a", "one", *simulate}});
  EXPECT_FALSE(world.core->desired_for("a", world.now()).simulate);
  EXPECT_EQ(world.nodes.at("a").schedulable, Schedulable::kDraining);
}

TEST(ControlCore, ASetWallClockChangesNoBillAndNoDowntime) {
  using std::chrono::hours;
  CoreHarness world({}, {local(2)});
  start_job(world, local_node());
  const auto told = [&] {
    const AttemptRow& row = world.attempt("j", 1);
    return std::pair(world.now().wall - *row.accepted_at, world.now().wall - *row.first_step_at);
  };
  world.pass_beating(seconds(10), {"a", "b"});
  const auto before = told();
  world.set_wall(world.now().wall + hours(1));
  EXPECT_EQ(world.handle(Tick{}).clock_step, hours(1));
  EXPECT_EQ(told(), before);
  EXPECT_EQ(world.handle(Tick{}).clock_step, Millis{0});

  world.gone("a");
  const InterruptionRow record = world.interruptions.at({"j", 1});
  const AttemptRow ended = world.attempt("j", 1);
  world.set_wall(world.now().wall - hours(2));
  world.handle(Tick{});
  EXPECT_EQ(world.interruptions.at({"j", 1}).interrupted_at, record.interrupted_at - hours(2));
  EXPECT_EQ(world.interruptions.at({"j", 1}).stages[0].began, *record.stages[0].began - hours(2));
  EXPECT_EQ(world.attempt("j", 1), ended);  // over: its bill is made
}

TEST(ControlCore, DrainAndUndrain) {
  CoreHarness world;
  start_job(world);
  world.handle(DrainNode{"a", seconds(60), "upgrade"});
  EXPECT_EQ(world.desired("a", "j")->want, Want::kDrain);
  EXPECT_EQ(world.core->desired_for("a", world.now()).node_want, NodeWant::kDrain);
  world.end("a", "j", EndCause::kPreempted);
  EXPECT_EQ(world.attempt("j", 2).node_id, "b");
  world.handle(UndrainNode{"a"});
  EXPECT_EQ(world.nodes.at("a").schedulable, Schedulable::kReady);
  world.submit("k");
  EXPECT_EQ(world.attempt("k", 1).node_id, "a");
}

}  // namespace
}  // namespace ratchet::control
