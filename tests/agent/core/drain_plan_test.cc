#include "agent/core/drain_plan.h"

#include <gtest/gtest.h>

namespace ratchet::agent {
namespace {

TEST(DrainPlanTest, PicksByTheTimeThatIsLeft) {
  // 1 GB at 100 MB/s: 10 s up; 3 s to save; a tenth of the time stays free.
  const auto plan = [](int seconds) {
    return plan_drain({Millis{seconds * 1000}, Millis{3000}, 100e6, Bytes(1'000'000'000)});
  };
  EXPECT_EQ(plan(2).choice, DrainChoice::kRelyOnLast);
  EXPECT_EQ(plan(5).choice, DrainChoice::kSaveOnly);
  EXPECT_EQ(plan(30).choice, DrainChoice::kSaveAndUpload);
  EXPECT_EQ(plan(30).save_deadline, Millis{17000});
  EXPECT_EQ(plan(30).upload_deadline, Millis{27000});
}

TEST(DrainPlanTest, AssumesWhatWasNotMeasured) {
  EXPECT_EQ(plan_drain({Millis{5000}, {}, {}, Bytes(0)}).choice, DrainChoice::kSaveAndUpload);
  EXPECT_EQ(plan_drain({Millis{2000}, {}, {}, Bytes(0)}).choice, DrainChoice::kRelyOnLast);
  EXPECT_EQ(plan_drain({Millis{5000}, {}, {}, gibibytes(1)}).choice, DrainChoice::kSaveOnly);
}

TEST(DrainPlanTest, NoTimeIsNoTime) {
  const DrainPlan plan = plan_drain({Millis{-10}, Millis{0}, 1e9, Bytes(0)});
  EXPECT_EQ(plan.choice, DrainChoice::kRelyOnLast);
  EXPECT_EQ(plan.save_deadline, Millis{0});
  EXPECT_EQ(plan.upload_deadline, Millis{0});
}

}  // namespace
}  // namespace ratchet::agent
