// Nomad's matrix of disconnected clients, rebuilt: netsplit or shutdown x within or past the
// authority lease x a replacement placed or not. Each case looks at three things after the split
// and after the heal: the disconnected attempt, the job that has nothing to do with it, the
// replacement.

#include <gtest/gtest.h>

#include "tests/sim/checker.h"
#include "tests/sim/control_model.h"
#include "tests/sim/node_model.h"
#include "tests/sim/provider_model.h"
#include "tests/sim/world.h"

namespace ratchet::sim {
namespace {

constexpr Millis kShort{30000};  // past the contact lease, within the authority lease
constexpr Millis kLong{110000};  // past both
constexpr Millis kSettle{20000};

class NetsplitTest : public ::testing::Test {
 protected:
  NetsplitTest() : world_(Options{7, false, {}, {}}) { world_.quiet = true; }

  // `far` runs on the node that will be cut off, `near` on another; a spare node if wished.
  void start(bool spare) {
    world_.control->start();
    for (int i = 0; i < (spare ? 3 : 2); ++i) {
      NodeModel& node = world_.add_node("static", "", NodePrice::kOwned);
      node.set_slots(1);
      node.boot();
    }
    far_ = submit();
    near_ = submit();
    ASSERT_TRUE(until([&] {
      return phase(far_) == JobPhase::kRunning && phase(near_) == JobPhase::kRunning &&
             head(far_) > 0;
    }));
    cut_off_ = world_.node_by_id(attempt(far_, 1).node_id);
    ASSERT_NE(cut_off_, nullptr);
    // The provider would buy a replacement; these cases are about the nodes there are.
    no_capacity_ = true;
  }

  JobId submit() {
    ModelJob& job = world_.add_job();
    job.total = 5000;
    job.every = 3;
    job.step_time = Millis{1000};
    job.faults.clear();
    control::JobRow row;
    row.id = job.id;
    row.run_id = RunId(job.id.str());
    row.tenant = "tenant";
    row.phase = JobPhase::kQueued;
    row.needs.price = PriceClass::kOnDemand;
    EXPECT_TRUE(world_.control->submit(control::SubmitJob{row}));
    return job.id;
  }

  bool until(const std::function<bool()>& done, Millis bound = Millis{120000}) {
    const bool came = world_.run_until(world_.now + bound, done);
    EXPECT_FALSE(world_.failed()) << world_.violation->invariant << ": " << world_.violation->fact;
    return came;
  }
  void pass(Millis time) {
    world_.run_until(world_.now + time);
    EXPECT_FALSE(world_.failed()) << world_.violation->invariant << ": " << world_.violation->fact;
  }
  void split() { cut_off_->link_up = cut_off_->link_down = false; }
  void heal() { cut_off_->link_up = cut_off_->link_down = true; }

  [[nodiscard]] const control::JobRow& job(const JobId& id) const {
    return world_.control->tables.jobs.at(id);
  }
  [[nodiscard]] JobPhase phase(const JobId& id) const { return job(id).phase; }
  [[nodiscard]] std::int64_t head(const JobId& id) const { return job(id).head.step; }
  [[nodiscard]] const control::AttemptRow& attempt(const JobId& id, std::int64_t number) const {
    return world_.control->tables.attempts.at({id, number});
  }
  [[nodiscard]] bool is_open(const JobId& id, std::int64_t number) const {
    return attempt(id, number).state != AttemptState::kEnded;
  }
  void expect_unchanged() const {
    EXPECT_EQ(job(near_).attempts, 1);
    EXPECT_EQ(phase(near_), JobPhase::kRunning);
    EXPECT_EQ(attempt(near_, 1).state, AttemptState::kRunning);
  }
  void expect_one_attempt_runs(JobPhase expected) const {
    EXPECT_EQ(job(far_).attempts, 1);
    EXPECT_EQ(phase(far_), expected);
    EXPECT_EQ(attempt(far_, 1).state, AttemptState::kRunning);
    EXPECT_TRUE(cut_off_->trains(far_));
  }

  World world_;
  JobId far_;
  JobId near_;
  NodeModel* cut_off_ = nullptr;
  bool no_capacity_ = false;
};

TEST_F(NetsplitTest, NetsplitWithinTheLeaseChangesNothing) {
  start(true);
  split();
  pass(kShort);
  expect_one_attempt_runs(JobPhase::kRunning);
  expect_unchanged();
  heal();
  pass(kSettle);
  expect_one_attempt_runs(JobPhase::kRunning);
  expect_unchanged();
  EXPECT_EQ(job(far_).epoch, 1);
}

TEST_F(NetsplitTest, NetsplitPastTheLeaseIsReplacedAndTheOldOneStops) {
  start(true);
  split();
  pass(kLong);
  EXPECT_TRUE(is_open(far_, 1)) << "nothing proves that it is dead";
  EXPECT_TRUE(cut_off_->trains(far_)) << "training goes on past both leases";
  ASSERT_EQ(job(far_).attempts, 2);
  EXPECT_EQ(attempt(far_, 2).state, AttemptState::kRunning);
  expect_unchanged();
  heal();
  pass(kSettle);
  EXPECT_EQ(attempt(far_, 1).cause, EndCause::kSuperseded);
  EXPECT_FALSE(cut_off_->trains(far_));
  EXPECT_EQ(job(far_).attempts, 2);
  EXPECT_EQ(phase(far_), JobPhase::kRunning);
  EXPECT_EQ(attempt(far_, 2).state, AttemptState::kRunning);
  expect_unchanged();
}

TEST_F(NetsplitTest, NetsplitPastTheLeaseWithoutAReplacementGoesOnAfterTheHeal) {
  start(false);
  split();
  pass(kLong);
  EXPECT_EQ(job(far_).attempts, 1);
  EXPECT_TRUE(phase(far_) == JobPhase::kRecovering || phase(far_) == JobPhase::kQueued);
  EXPECT_TRUE(is_open(far_, 1));
  EXPECT_TRUE(cut_off_->trains(far_));
  expect_unchanged();
  const std::int64_t head_before = head(far_);
  heal();
  pass(kSettle);
  expect_one_attempt_runs(JobPhase::kRunning);
  EXPECT_GT(head(far_), head_before + 60) << "steps done while it was cut off are kept";
  expect_unchanged();
}

TEST_F(NetsplitTest, TheOriginalIsKeptWhenTheReplacementHasNotStepped) {
  start(true);
  for (const auto& node : world_.nodes) node->store_reachable = node.get() == cut_off_;
  split();
  ASSERT_TRUE(until([&] { return job(far_).attempts == 2; }, kLong));
  heal();
  pass(Millis{8000});
  for (const auto& node : world_.nodes) node->store_reachable = true;
  pass(kSettle);
  EXPECT_EQ(attempt(far_, 2).cause, EndCause::kSuperseded);
  EXPECT_EQ(attempt(far_, 1).state, AttemptState::kRunning);
  EXPECT_EQ(attempt(far_, 1).epoch, job(far_).epoch) << "re-granted under a fresh epoch";
  EXPECT_EQ(job(far_).epoch, 3);
  EXPECT_TRUE(cut_off_->trains(far_));
  expect_unchanged();
}

TEST_F(NetsplitTest, OneWaySplitsAreSplits) {
  start(true);
  cut_off_->link_down = false;
  pass(kShort);
  expect_one_attempt_runs(JobPhase::kRunning);
  heal();
  pass(kSettle);
  cut_off_->link_up = false;
  pass(kShort);
  expect_one_attempt_runs(JobPhase::kRunning);
  heal();
  pass(kSettle);
  expect_one_attempt_runs(JobPhase::kRunning);
  expect_unchanged();
}

TEST_F(NetsplitTest, ShutdownWithinTheLeaseIsRunAgainWhenTheNodeIsBack) {
  start(false);
  cut_off_->power_off(true);
  pass(kShort);
  EXPECT_EQ(job(far_).attempts, 1);
  EXPECT_EQ(phase(far_), JobPhase::kRunning) << "silence ends nothing";
  expect_unchanged();
  cut_off_->boot();
  pass(Millis{40000});
  EXPECT_FALSE(is_open(far_, 1));
  EXPECT_EQ(job(far_).attempts, 2);
  EXPECT_EQ(phase(far_), JobPhase::kRunning);
  EXPECT_EQ(attempt(far_, 2).node_id, cut_off_->node_id);
  EXPECT_GT(attempt(far_, 2).resume.step, 0);
  expect_unchanged();
}

TEST_F(NetsplitTest, ShutdownPastTheLeaseIsReplaced) {
  start(true);
  cut_off_->power_off(true);
  pass(kLong);
  EXPECT_TRUE(is_open(far_, 1)) << "billed until there is proof";
  ASSERT_EQ(job(far_).attempts, 2);
  EXPECT_EQ(phase(far_), JobPhase::kRunning);
  EXPECT_NE(attempt(far_, 2).node_id, cut_off_->node_id);
  expect_unchanged();
  cut_off_->boot();
  pass(kSettle);
  EXPECT_FALSE(is_open(far_, 1));
  EXPECT_FALSE(cut_off_->trains(far_));
  EXPECT_EQ(job(far_).attempts, 2);
  EXPECT_EQ(attempt(far_, 2).state, AttemptState::kRunning);
  expect_unchanged();
}

TEST_F(NetsplitTest, ShutdownPastTheLeaseWithoutAReplacementWaitsForTheNode) {
  start(false);
  cut_off_->power_off(true);
  pass(kLong);
  EXPECT_EQ(job(far_).attempts, 1);
  EXPECT_TRUE(phase(far_) == JobPhase::kRecovering || phase(far_) == JobPhase::kQueued);
  expect_unchanged();
  cut_off_->boot();
  pass(Millis{40000});
  EXPECT_FALSE(is_open(far_, 1));
  EXPECT_EQ(job(far_).attempts, 2);
  EXPECT_EQ(phase(far_), JobPhase::kRunning);
  expect_unchanged();
}

TEST_F(NetsplitTest, AControlPlaneThatIsGoneForLongIsANonEvent) {
  start(true);
  world_.control->crash();
  pass(kLong);
  EXPECT_TRUE(cut_off_->trains(far_));
  world_.control->start();
  pass(Millis{40000});
  expect_one_attempt_runs(JobPhase::kRunning);
  expect_unchanged();
}

}  // namespace
}  // namespace ratchet::sim
