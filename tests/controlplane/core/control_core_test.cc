// The core as a whole: a job's life, deaths on its way, and what users ask for meanwhile.

#include "controlplane/core/control_core.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "controlplane/core/recovery_stages.h"
#include "tests/controlplane/core/core_harness.h"

namespace ratchet::control {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

ControlCore::Provider local(std::int64_t max_nodes) {
  return {.name = "local", .max_nodes = max_nodes, .proves_death = true, .offers = {}};
}

NodeFacts local_node() {
  NodeFacts facts = cpu_node();
  facts.provider = "local";
  return facts;
}

// A job that runs on node a at step 12, with a committed checkpoint of step 10, and an idle node b.
void start_job(CoreHarness& world, NodeFacts facts = cpu_node()) {
  world.join("a", facts);
  world.submit("j");
  world.accept("a");
  world.run_to("a", "j", 8);
  world.seal("a", "j", 10);
  world.run_to("a", "j", 12);
  world.join("b", facts);
}

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
      "job.created",       "job.queued",      "job.starting", "attempt.accepted",
      "attempt.preparing", "attempt.loading", "attempt.running", "job.started",
      "checkpoint.committed", "attempt.ended", "job.succeeded"};
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

}  // namespace
}  // namespace ratchet::control
