#include "trainer/train/lr_schedule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace ratchet::trainer {
namespace {

TEST(LrSchedule, WarmUpReachesThePeakAtItsLastStep) {
  const LrSchedule schedule{Schedule::kCosine, 1e-3, 10, 100};
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1), 1e-4);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 10), 1e-3);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 11), 1e-3);
}

TEST(LrSchedule, CosineHalvesInTheMiddleAndEndsNearZero) {
  const LrSchedule schedule{Schedule::kCosine, 2.0, 0, 100};
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 51), 1.0);
  EXPECT_LT(learning_rate_at(schedule, 100), 1e-3);
  EXPECT_GT(learning_rate_at(schedule, 100), 0.0);
  EXPECT_NEAR(learning_rate_at(schedule, 101), 0.0, 1e-15);
}

TEST(LrSchedule, LinearFallsEvenly) {
  const LrSchedule schedule{Schedule::kLinear, 1.0, 2, 12};
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 3), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 8), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 500), 0.0);
}

TEST(LrSchedule, ConstantStays) {
  const LrSchedule schedule{Schedule::kConstant, 0.25, 0, 7};
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1), 0.25);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 7), 0.25);
}

TEST(LrSchedule, WarmUpLongerThanTheJobNeverDecays) {
  const LrSchedule schedule{Schedule::kLinear, 1.0, 20, 10};
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 10), 0.5);
}

}  // namespace
}  // namespace ratchet::trainer
