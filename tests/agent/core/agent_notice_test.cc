// Reclaim, SIGTERM, full disks, release and the dead man's switch.

#include <gtest/gtest.h>

#include "tests/agent/core/driver.h"

namespace ratchet::agent {
namespace {

ReclaimNotice reclaim(Millis lead) {
  return ReclaimNotice{"aws", NoticeKind::kReclaim, "terminate", "e1", lead};
}

TEST(AgentNoticeTest, AReclaimIsToldAtOnceAndSavesInTime) {
  Driver d;
  d.start();
  d.hello();
  d.run(1);
  d.give(NoticeSeen{reclaim(Millis{120000})});
  ASSERT_EQ(d.took<SendNotice>().size(), 1U);
  ASSERT_EQ(d.took<StopTrainer>().size(), 1U);
  EXPECT_LT(d.took<StopTrainer>()[0].save_deadline, Millis{120000});
  d.give(NoticeSeen{reclaim(Millis{120000})});
  EXPECT_EQ(d.took<SendNotice>().size(), 1U) << "the same event again is no news";
  d.seal(1, 7, "h7");
  ASSERT_EQ(d.took<UploadCheckpoint>().size(), 1U);
  ExitFacts facts;
  facts.exit_code = 3;
  d.give(TrainerExited{Driver::key(1), facts});
  EXPECT_EQ(d.report().state, AttemptState::kDraining);
  d.give(CheckpointUploaded{Driver::key(1), "h7", "a7", mebibytes(10), Millis{100}});
  ASSERT_EQ(d.report().state, AttemptState::kEnded);
  EXPECT_EQ(d.report().exit->cause, EndCause::kPreempted);
}

TEST(AgentNoticeTest, ShortNoticesRelyOnTheLastCheckpoint) {
  Driver d;
  d.start();
  d.hello();
  d.run(1);
  d.give(NoticeSeen{reclaim(Millis{1000})});
  EXPECT_TRUE(d.took<StopTrainer>().empty());
  EXPECT_EQ(d.took<KillTrainer>().size(), 1U);
}

TEST(AgentNoticeTest, NothingNewIsTakenAfterAReclaim) {
  Driver d;
  d.start();
  d.hello();
  d.answer(std::vector<DesiredAttempt>{});
  d.give(NoticeSeen{reclaim(Millis{30000})});
  d.pass(Millis{500});
  d.answer({Driver::wish(1)});
  ASSERT_EQ(d.report().state, AttemptState::kEnded);
  EXPECT_EQ(d.report().exit->cause, EndCause::kDeclined);
}

TEST(AgentNoticeTest, FreezeAndRebalanceAreOnlyTold) {
  Driver d;
  d.start();
  d.hello();
  d.run(1);
  d.give(NoticeSeen{ReclaimNotice{"azure", NoticeKind::kFreeze, "freeze", "e2", Millis{900000}}});
  EXPECT_EQ(d.took<SendNotice>().size(), 1U);
  EXPECT_TRUE(d.took<StopTrainer>().empty());
}

TEST(AgentNoticeTest, SigtermDetachesOrReclaims) {
  Driver detached;
  detached.start();
  detached.hello();
  detached.run(1);
  detached.give(Sigterm{SigtermMeans::kDetach});
  ASSERT_EQ(detached.took<Leave>().size(), 1U);
  EXPECT_TRUE(detached.took<StopTrainer>().empty());
  EXPECT_TRUE(detached.took<KillTrainer>().empty());

  Driver reclaimed;
  reclaimed.start();
  reclaimed.hello();
  reclaimed.run(1);
  reclaimed.give(Sigterm{SigtermMeans::kReclaim, Millis{10000}});
  ASSERT_EQ(reclaimed.took<StopTrainer>().size(), 1U);
  EXPECT_TRUE(reclaimed.took<Leave>().empty());
  ExitFacts facts;
  facts.exit_code = 3;
  reclaimed.give(TrainerExited{Driver::key(1), facts});
  EXPECT_TRUE(reclaimed.took<Leave>().empty()) << "the end is to be told first";
  reclaimed.pass(Millis{11000});
  ASSERT_EQ(reclaimed.took<Leave>().size(), 1U);
  EXPECT_EQ(reclaimed.took<Leave>()[0].why, LeaveWhy::kReclaimed);
}

TEST(AgentNoticeTest, AFullDiskPausesUntilThereIsRoom) {
  Driver d;
  d.start();
  d.hello();
  d.run(1);
  d.give(DiskFull{});
  EXPECT_EQ(d.took<DropCache>().size(), 1U);
  EXPECT_EQ(d.took<PauseTrainer>().size(), 1U);
  d.pass(Millis{60000});
  EXPECT_EQ(d.report().step_age, Millis{0}) << "a paused trainer does not hang";
  d.give(DiskHasRoom{});
  EXPECT_EQ(d.took<ContinueTrainer>().size(), 1U);
}

TEST(AgentNoticeTest, ARentedNodeReleasesItselfWhenNothingIsHeard) {
  Driver d;
  d.facts.price = NodePrice::kSpot;
  d.start();
  d.hello();
  d.run(1);
  d.pass(Millis{296000 + 2 * 3600 * 1000 - 5000});
  EXPECT_TRUE(d.took<StopTrainer>().empty());
  d.pass(Millis{10000});
  ASSERT_EQ(d.took<StopTrainer>().size(), 1U);
  d.give(TrainerExited{Driver::key(1), ExitFacts{}});
  d.pass(Millis{130000});
  ASSERT_EQ(d.took<Leave>().size(), 1U);
  EXPECT_EQ(d.took<Leave>()[0].why, LeaveWhy::kReleased);
}

TEST(AgentNoticeTest, AnOwnedNodeWaitsForEver) {
  Driver d;
  d.start();
  d.hello();
  d.run(1);
  d.pass(Millis{12 * 3600 * 1000});
  EXPECT_TRUE(d.took<Leave>().empty());
  EXPECT_TRUE(d.took<StopTrainer>().empty());
}

TEST(AgentNoticeTest, ReleaseStopsTellsAndLeaves) {
  Driver d;
  d.start();
  d.hello();
  d.answer(std::vector<DesiredAttempt>{});
  d.pass(Millis{500});
  SyncResponse response = Driver::base();
  response.node_want = NodeWant::kRelease;
  response.node_deadline = Millis{60000};
  d.answer(response);
  ASSERT_EQ(d.took<Leave>().size(), 1U);
  EXPECT_EQ(d.took<Leave>()[0].why, LeaveWhy::kReleased);
}

}  // namespace
}  // namespace ratchet::agent
