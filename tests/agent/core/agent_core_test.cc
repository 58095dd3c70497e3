#include "agent/core/agent_core.h"

#include <gtest/gtest.h>

#include "tests/agent/core/driver.h"

namespace ratchet::agent {
namespace {

ExitFacts code(int exit_code, std::optional<ExitKind> kind = {}) {
  ExitFacts facts;
  facts.exit_code = exit_code;
  if (kind) {
    facts.record = ExitRecord{};
    facts.record->kind = *kind;
  }
  return facts;
}

void finish(Driver& d, std::int64_t epoch) {
  ExitRecord record;
  record.kind = ExitKind::kCompleted;
  d.line(epoch, record);
  d.give(TrainerExited{Driver::key(epoch), code(0)});
}

TEST(AgentCoreTest, TakesAnAttemptFromTheOfferToItsAcknowledgedEnd) {
  Driver d;
  d.start();
  d.hello();
  ASSERT_EQ(d.saved<SaveIdentity>().size(), 1U);
  d.answer({Driver::wish(1)});
  ASSERT_EQ(d.saved<SaveAttempt>().size(), 1U);
  ASSERT_EQ(d.took<PrepareInputs>().size(), 1U);
  EXPECT_TRUE(d.took<StartTrainer>().empty());
  EXPECT_EQ(d.report().state, AttemptState::kPreparing);
  d.give(InputsPrepared{Driver::key(1)});
  ASSERT_EQ(d.took<StartTrainer>().size(), 1U);
  d.give(TrainerStarted{Driver::key(1)});
  EXPECT_EQ(d.report().state, AttemptState::kLoading);
  d.step(1, 1);
  EXPECT_EQ(d.report().state, AttemptState::kRunning);
  d.seal(1, 100, "h100");
  ASSERT_EQ(d.took<UploadCheckpoint>().size(), 1U);
  finish(d, 1);
  EXPECT_EQ(d.took<UploadResult>().size(), 1U);
  d.give(ResultUploaded{Driver::key(1), "adapter"});
  EXPECT_NE(d.report().state, AttemptState::kEnded) << "the last checkpoint is not in the store";
  d.give(CheckpointUploaded{Driver::key(1), "h100", "a100", mebibytes(10), Millis{100}});
  const AttemptReport ended = d.report();
  ASSERT_EQ(ended.state, AttemptState::kEnded);
  EXPECT_EQ(ended.exit->cause, EndCause::kCompleted);
  EXPECT_EQ(ended.exit->result_artifact, "adapter");
  ASSERT_EQ(ended.sealed.size(), 1U);
  EXPECT_EQ(ended.sealed[0].artifact_id, "a100");

  SyncResponse response = Driver::base();
  response.verdicts.push_back({JobId("job"), 1, 100, "h100", PublishVerdict::kCommitted, ""});
  response.acked_ends.push_back({JobId("job"), 1, 0});
  d.answer(response);
  EXPECT_EQ(d.core.reports(d.now).size(), 1U) << "its lines are not stored yet";
  response.acked_lines.push_back({JobId("job"), 1, d.seq});
  d.pass(Millis{500});
  d.answer(response);
  EXPECT_TRUE(d.core.reports(d.now).empty());
  EXPECT_EQ(d.saved<RemoveAttempt>().size(), 1U);
}

TEST(AgentCoreTest, RefusesLowerAndEqualOtherEpochsAlsoAfterARestart) {
  Driver d;
  d.start({}, {{JobId("job"), 5}});
  d.hello();
  d.answer({Driver::wish(4)});
  d.pass(Millis{500});
  d.answer({Driver::wish(5, 7)});
  EXPECT_TRUE(d.saved<SaveAttempt>().empty());
  EXPECT_TRUE(d.took<PrepareInputs>().empty());
  EXPECT_EQ(d.took<Tell>().size(), 2U);
  d.pass(Millis{500});
  d.answer({Driver::wish(6)});
  EXPECT_EQ(d.saved<SaveAttempt>().size(), 1U);
}

TEST(AgentCoreTest, ANewEpochWaitsUntilTheOldTrainerIsGone) {
  Driver d;
  d.start();
  d.hello();
  d.run(1);
  d.forget();
  d.pass(Millis{3000});
  d.answer({Driver::wish(2, 2)});
  EXPECT_EQ(d.took<KillTrainer>().size(), 1U) << "replaced here: nothing to save";
  d.give(InputsPrepared{Driver::key(2)});
  EXPECT_TRUE(d.took<StartTrainer>().empty());
  d.give(TrainerExited{Driver::key(1), code(137)});
  EXPECT_EQ(d.took<StartTrainer>().size(), 1U);
  const auto reports = d.core.reports(d.now);
  ASSERT_EQ(reports.size(), 2U);
  EXPECT_EQ(reports[0].exit->cause, EndCause::kSuperseded);
}

TEST(AgentCoreTest, TrainsOnButUploadsNothingWhenTheAuthorityIsOver) {
  Driver d;
  d.start();
  d.hello();
  d.run(1);
  d.forget();
  d.pass(Millis{296500});  // 300 s less 1 % and 1 s is 296 s
  EXPECT_FALSE(d.core.in_contact(d.now));
  EXPECT_FALSE(d.core.has_authority(d.now));
  d.seal(1, 100, "h100");
  EXPECT_TRUE(d.took<UploadCheckpoint>().empty());
  EXPECT_TRUE(d.took<StopTrainer>().empty());
  EXPECT_TRUE(d.took<KillTrainer>().empty());
  EXPECT_EQ(d.report().sealed.size(), 1U);
  d.forget();
  while (d.took<SendSync>().empty()) d.pass(Millis{100});
  d.answer({Driver::wish(1)});
  ASSERT_EQ(d.took<UploadCheckpoint>().size(), 1U) << "offered later";
}

TEST(AgentCoreTest, OnlyASyncBringsAuthorityBack) {
  Driver d;
  d.start();
  d.hello();
  d.answer(std::vector<DesiredAttempt>{});
  d.pass(Millis{310000});
  ASSERT_FALSE(d.took<SendHeartbeat>().empty());
  HeartbeatResponse response;
  response.boot_id = "b1";
  response.contact_ttl = Millis{15000};
  response.authority_ttl = Millis{300000};
  d.give(HeartbeatAnswered{d.took<SendHeartbeat>().back().call, response});
  EXPECT_TRUE(d.core.in_contact(d.now));
  EXPECT_FALSE(d.core.has_authority(d.now));
}

TEST(AgentCoreTest, LeasesCountFromTheSending) {
  Driver d;
  d.start();
  d.hello();
  d.now += Millis{10000};
  d.answer(std::vector<DesiredAttempt>{});
  d.now += Millis{3900};  // 15 s less 0.15 s and 1 s, from 10 s before the answer
  EXPECT_FALSE(d.core.in_contact(d.now));
}

TEST(AgentCoreTest, WhatIsAbsentIsDrainedUnlessTheInventoryIsOpen) {
  Driver d;
  d.start();
  d.hello();
  d.run(1);
  d.pass(Millis{3000});
  d.answer({}, true);
  EXPECT_TRUE(d.took<StopTrainer>().empty());
  d.pass(Millis{3000});
  d.answer({}, false);
  ASSERT_EQ(d.took<StopTrainer>().size(), 1U);
  EXPECT_TRUE(d.took<KillTrainer>().empty());
  d.pass(Millis{130000});
  EXPECT_FALSE(d.took<KillTrainer>().empty()) << "by force after the deadline";
}

TEST(AgentCoreTest, AnswersToCallsThatWereGivenUpAreIgnored) {
  Driver d;
  d.start();
  d.hello();
  const std::uint64_t old_call = d.took<SendSync>().back().call;
  d.pass(Millis{60000});
  ASSERT_NE(d.took<SendSync>().back().call, old_call);
  SyncResponse response = Driver::base();
  response.desired.push_back(Driver::wish(1));
  d.give(SyncAnswered{old_call, response});
  EXPECT_TRUE(d.saved<SaveAttempt>().empty());
  EXPECT_FALSE(d.core.has_authority(d.now));
}

TEST(AgentCoreTest, CancelKillsAndUploadsNothing) {
  Driver d;
  d.start();
  d.hello();
  d.run(1);
  d.pass(Millis{3000});
  DesiredAttempt stop = Driver::wish(1);
  stop.want = Want::kStop;
  d.answer({stop});
  ASSERT_EQ(d.took<KillTrainer>().size(), 1U);
  d.give(TrainerExited{Driver::key(1), code(137)});
  EXPECT_EQ(d.report().exit->cause, EndCause::kCancelled);
}

TEST(AgentCoreTest, APauseSavesAndUploadsBeforeItIsTold) {
  Driver d;
  d.start();
  d.hello();
  d.run(1);
  d.pass(Millis{3000});
  DesiredAttempt pause = Driver::wish(1);
  pause.want = Want::kDrain;
  pause.deadline = Millis{60000};
  d.answer({pause});
  ASSERT_EQ(d.took<StopTrainer>().size(), 1U);
  d.seal(1, 5, "h5");
  d.give(TrainerExited{Driver::key(1), code(3, ExitKind::kPreempted)});
  ASSERT_EQ(d.took<UploadCheckpoint>().size(), 1U);
  EXPECT_EQ(d.report().state, AttemptState::kDraining);
  d.give(CheckpointUploaded{Driver::key(1), "h5", "a5", mebibytes(10), Millis{100}});
  EXPECT_EQ(d.report().exit->cause, EndCause::kCancelled);
  EXPECT_EQ(d.report().sealed.size(), 1U);
}

TEST(AgentCoreTest, AnEndWaitsForItsLastCheckpointButNotForEver) {
  Driver d;
  d.start();
  d.hello();
  d.run(1);
  d.seal(1, 50, "h50");
  d.give(TrainerExited{Driver::key(1), code(1, ExitKind::kOomGpu)});
  EXPECT_EQ(d.report().state, AttemptState::kRunning);
  d.pass(Millis{61000});
  EXPECT_EQ(d.report().state, AttemptState::kEnded);
  EXPECT_EQ(d.report().exit->cause, EndCause::kOomGpu);
}

TEST(AgentCoreTest, InputsAreTriedAgainAndThenItIsOurFault) {
  Driver d;
  d.start();
  d.hello();
  d.answer({Driver::wish(1)});
  for (int i = 0; i < 5; ++i) {
    d.give(InputsFailed{Driver::key(1), "no route"});
    d.pass(Millis{9000});
  }
  EXPECT_EQ(d.took<PrepareInputs>().size(), 5U);
  EXPECT_EQ(d.report().exit->cause, EndCause::kControlError);
  EXPECT_TRUE(is_exogenous(d.report().exit->cause));
}

TEST(AgentCoreTest, ARestartedAgentFindsItsTrainerAndItsUploads) {
  Driver d;
  RecoveredAttempt found;
  found.desired = Driver::wish(3);
  found.started = true;
  found.notes.uploaded.push_back({20, "h20", "h10", mebibytes(10), "a20"});
  found.notes.settled_step = 10;
  Start start;
  start.node_id = "n1";
  start.incarnation = "i2";
  start.facts = d.facts;
  start.attempts = {found};
  d.give(start);
  d.step(3, 10);
  d.seal(3, 10, "h10");
  d.seal(3, 20, "h20");
  EXPECT_TRUE(d.took<SendHello>().empty());
  d.give(RecoveryDone{});
  ASSERT_EQ(d.took<SendHello>().size(), 1U);
  ASSERT_EQ(d.took<SendHello>()[0].request.attempts.size(), 1U);
  EXPECT_EQ(d.took<SendHello>()[0].request.attempts[0].state, AttemptState::kRunning);
  d.hello();
  d.answer({Driver::wish(3)});
  EXPECT_TRUE(d.took<StartTrainer>().empty());
  EXPECT_TRUE(d.took<UploadCheckpoint>().empty());
  ASSERT_EQ(d.report().sealed.size(), 1U);
  EXPECT_EQ(d.report().sealed[0].artifact_id, "a20");
  EXPECT_EQ(d.report().sealed[0].parent_manifest_sha256, "h10");
}

TEST(AgentCoreTest, ARegrantLetsTheTrainerGoOnUnderTheNewEpoch) {
  Driver d;
  d.start();
  d.hello();
  d.run(1);
  d.pass(Millis{3000});
  d.answer({Driver::wish(3)});
  EXPECT_EQ(d.report().epoch, 3);
  EXPECT_EQ(d.report().state, AttemptState::kRunning);
  EXPECT_TRUE(d.took<StopTrainer>().empty());
  EXPECT_EQ(d.took<StartTrainer>().size(), 1U);
  ASSERT_FALSE(d.saved<SaveNotes>().empty());
  EXPECT_EQ(d.saved<SaveNotes>().back().notes.granted_epoch, 3);
  d.pass(Millis{3000});
  d.answer({Driver::wish(2, 2), Driver::wish(3)});
  EXPECT_EQ(d.core.reports(d.now).size(), 1U) << "epoch 2 is below what was granted";
}

TEST(AgentCoreTest, CheckpointsThatWerePassedOverLeaveTheChainWhole) {
  Driver d;
  d.start();
  d.hello();
  d.run(1);
  d.seal(1, 10, "h10");
  d.seal(1, 20, "h20");
  d.seal(1, 30, "h30");
  d.give(UploadFailed{Driver::key(1), "h10", "no route"});
  d.pass(Millis{5000});
  ASSERT_EQ(d.took<UploadCheckpoint>().back().checkpoint.manifest_sha256, "h30");
  d.give(CheckpointUploaded{Driver::key(1), "h30", "a30", mebibytes(10), Millis{100}});
  ASSERT_EQ(d.report().sealed.size(), 1U);
  EXPECT_EQ(d.report().sealed[0].parent_manifest_sha256, "");
  d.seal(1, 40, "h40");
  d.give(UploadFailed{Driver::key(1), "h40", "damaged", true});
  d.seal(1, 50, "h50");
  ASSERT_EQ(d.report().sealed.size(), 2U);
  EXPECT_EQ(d.report().sealed[1].parent_manifest_sha256, "h30");
}

TEST(AgentCoreTest, NeedsHelloIsAnsweredByAHello) {
  Driver d;
  d.start();
  d.hello();
  d.give(CallFailed{d.took<SendSync>().back().call, CallError::kNeedsHello, "unknown"});
  EXPECT_EQ(d.took<SendHello>().size(), 2U);
}

// Two agents on copies of one state folder take the node from each other.
TEST(AgentCoreTest, HellosThatHelpNothingBecomeRare) {
  Driver d;
  d.start();
  std::size_t answered = 0;
  const Millis end = d.now + Millis{60000};
  while (d.now < end && answered < 1000) {
    if (d.took<SendHello>().size() > answered) {
      ++answered;
      d.hello();
      d.give(CallFailed{d.took<SendSync>().back().call, CallError::kNeedsHello, "unknown"});
    } else {
      d.pass(Millis{10});
    }
  }
  EXPECT_GE(answered, 8U);
  EXPECT_LE(answered, 30U);
  const std::size_t before = d.took<SendHello>().size();
  d.pass(Millis{10000});
  ASSERT_GT(d.took<SendHello>().size(), before);
  d.hello();
  d.answer(std::vector<DesiredAttempt>{});
  d.pass(Millis{2000});
  const std::size_t well = d.took<SendHello>().size();
  d.give(CallFailed{d.took<SendSync>().back().call, CallError::kNeedsHello, "unknown"});
  EXPECT_EQ(d.took<SendHello>().size(), well + 1);
}

TEST(AgentCoreTest, NewsReplacesAWaitingPollAfterAGap) {
  Driver d;
  d.start();
  d.hello();
  d.answer(std::vector<DesiredAttempt>{});
  d.pass(Millis{100});
  ASSERT_EQ(d.took<SendSync>().back().request.wait, Millis{25000});
  const std::size_t before = d.took<SendSync>().size();
  NodeFacts facts = d.facts;
  facts.preflight.done = true;
  d.give(FactsSeen{facts});
  d.pass(Millis{300});
  ASSERT_EQ(d.took<SendSync>().size(), before + 1);
  EXPECT_EQ(d.took<SendSync>().back().request.wait, Millis{0});
}

}  // namespace
}  // namespace ratchet::agent
