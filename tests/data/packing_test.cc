#include "trainer/data/packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

namespace ratchet::trainer {
namespace {

std::vector<std::uint32_t> random_lengths(std::size_t count, std::uint32_t longest,
                                          std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::uint32_t> lengths(count);
  for (std::uint32_t& length : lengths) length = 1 + static_cast<std::uint32_t>(random() % longest);
  return lengths;
}

EpochPlan plan_of(const std::vector<std::uint32_t>& lengths, const PackingOptions& options,
                  std::uint64_t data_epoch = 0) {
  auto plan = EpochPlan::make(lengths, options, data_epoch);
  EXPECT_TRUE(plan) << plan.error().message;
  return std::move(plan).value();
}

// Every sample once, whole, in a row that is not too long.
void expect_sound(const EpochPlan& plan, const std::vector<std::uint32_t>& lengths,
                  std::uint32_t sequence_length) {
  std::vector<int> seen(lengths.size(), 0);
  for (std::uint64_t row = 0; row < plan.rows(); ++row) {
    ASSERT_FALSE(plan.row(row).empty());
    ASSERT_LE(plan.row_tokens(row), sequence_length);
    for (const Segment& segment : plan.row(row)) {
      ASSERT_EQ(segment.length, lengths[segment.sample]);
      ++seen[segment.sample];
    }
  }
  EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; }));
}

TEST(EpochPlan, NeverCutsOrLosesASample) {
  std::mt19937_64 random(3);
  for (int trial = 0; trial < 60; ++trial) {
    const auto sequence_length = 1 + static_cast<std::uint32_t>(random() % 300);
    const auto longest = 1 + static_cast<std::uint32_t>(random() % sequence_length);
    const auto lengths = random_lengths(1 + random() % 2000, longest, random());
    for (const bool packing : {true, false}) {
      const PackingOptions options{random(), sequence_length, packing};
      const EpochPlan plan = plan_of(lengths, options, random() % 4);
      expect_sound(plan, lengths, sequence_length);
      EXPECT_TRUE(packing || plan.rows() == lengths.size());
    }
  }
}

TEST(EpochPlan, FillsRowsWell) {
  const auto lengths = random_lengths(20'000, 400, 1);
  const EpochPlan plan = plan_of(lengths, {1, 1024, true});
  const auto tokens = std::accumulate(lengths.begin(), lengths.end(), std::uint64_t{0});
  EXPECT_GT(static_cast<double>(tokens) / (static_cast<double>(plan.rows()) * 1024.0), 0.97);
}

TEST(EpochPlan, WithoutPackingTheOrderIsThePermutation) {
  const std::vector<std::uint32_t> lengths = {3, 1, 4, 1, 5};
  const EpochPlan plan = plan_of(lengths, {9, 8, false}, 2);
  const EpochPlan again = plan_of(lengths, {9, 8, false}, 2);
  EXPECT_EQ(plan.digest(), again.digest());
  EXPECT_NE(plan.digest(), plan_of(lengths, {9, 8, false}, 3).digest());
}

// The digest names everything that decides which samples meet in a row.
TEST(EpochPlan, DigestDependsOnEveryInput) {
  const auto lengths = random_lengths(500, 100, 1);
  const std::string digest = plan_of(lengths, {1, 256, true}).digest();
  EXPECT_EQ(digest, plan_of(lengths, {1, 256, true}).digest());
  EXPECT_NE(digest, plan_of(lengths, {2, 256, true}).digest());
  EXPECT_NE(digest, plan_of(lengths, {1, 257, true}).digest());
  EXPECT_NE(digest, plan_of(lengths, {1, 256, false}).digest());
  EXPECT_NE(digest, plan_of(lengths, {1, 256, true}, 1).digest());
  auto changed = lengths;
  ++changed[17];
  EXPECT_NE(digest, plan_of(changed, {1, 256, true}).digest());
}

// Must never change: checkpoints hold this digest.
TEST(EpochPlan, GoldenDigest) {
  std::vector<std::uint32_t> lengths;
  for (std::uint32_t i = 0; i < 1000; ++i) lengths.push_back(1 + i * 7919 % 251);
  EXPECT_EQ(plan_of(lengths, {42, 512, true}, 1).digest(),
            "9844ac2ea98c21729d146ed143ec88e2951f83859b42bf39ca7bc50390a2da65");
  EXPECT_EQ(plan_of(lengths, {42, 512, false}, 1).digest(),
            "3aced43d3f401471ca396d9acb8f9382b90de90f01df715b3c3b9cb5dd30f90e");
}

TEST(EpochPlan, RefusesImpossibleInput) {
  const auto make = [](const std::vector<std::uint32_t>& lengths) {
    return EpochPlan::make(lengths, {1, 8, true}, 0);
  };
  EXPECT_FALSE(make({}));
  EXPECT_FALSE(make({0}));
  EXPECT_FALSE(make({8, 9}));
  EXPECT_NE(make({8, 9}).error().message.find("Sample 1 has 9 tokens"), std::string::npos);
  EXPECT_TRUE(make({8, 8}));
}

StepSchedule schedule_of(const std::vector<std::uint32_t>& lengths, const PackingOptions& options,
                         const RunLength& length) {
  auto schedule = StepSchedule::make(lengths, options, length);
  EXPECT_TRUE(schedule) << schedule.error().message;
  return std::move(schedule).value();
}

TEST(StepSchedule, StepsCoverEveryEpochInOrder) {
  const auto lengths = random_lengths(203, 60, 8);
  for (const bool packing : {true, false}) {
    const PackingOptions options{5, 64, packing};
    StepSchedule schedule = schedule_of(lengths, options, {8, 3, std::nullopt});
    std::uint64_t step = 0;
    for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
      const std::uint64_t rows = plan_of(lengths, options, epoch).rows();
      for (std::uint64_t row = 0; row < rows; row += 8, ++step) {
        const StepRows expected{epoch, row, std::min<std::uint64_t>(row + 8, rows)};
        ASSERT_EQ(schedule.rows_of(step), expected);
        ASSERT_EQ(schedule.cursor_before(step), (DataCursor{epoch, row}));
        ASSERT_EQ(schedule.step_at({epoch, row}), step);
        ASSERT_EQ(schedule.step_at({epoch, row + 1}), std::nullopt);
      }
      ASSERT_EQ(schedule.step_at({epoch, rows + 8}), std::nullopt);
    }
    EXPECT_EQ(schedule.total_steps(), step);
    EXPECT_EQ(schedule.rows_of(step).data_epoch, 3) << "the data goes on beyond the run";
  }
}

TEST(StepSchedule, MaxStepsIsTheLength) {
  const auto lengths = random_lengths(50, 10, 2);
  StepSchedule schedule = schedule_of(lengths, {1, 10, false}, {4, std::nullopt, 1000});
  EXPECT_EQ(schedule.total_steps(), 1000);
  EXPECT_EQ(schedule.rows_of(999), (StepRows{76, 44, 48}));  // 13 steps an epoch
}

TEST(StepSchedule, RefusesUnclearLengths) {
  const std::vector<std::uint32_t> lengths = {1, 2, 3};
  EXPECT_FALSE(StepSchedule::make(lengths, {1, 8, true}, {0, 1, std::nullopt}));
  EXPECT_FALSE(StepSchedule::make(lengths, {1, 8, true}, {1, 1, 1}));
  EXPECT_FALSE(StepSchedule::make(lengths, {1, 8, true}, {1, std::nullopt, std::nullopt}));
}

TEST(StepSchedule, PlansAreTheSameHoweverOftenTheyAreAsked) {
  const auto lengths = random_lengths(300, 30, 4);
  StepSchedule schedule = schedule_of(lengths, {1, 64, true}, {4, 5, std::nullopt});
  std::vector<std::string> digests;
  for (std::uint64_t epoch = 0; epoch < 5; ++epoch)
    digests.push_back(schedule.plan(epoch).digest());
  for (const std::uint64_t epoch : {4ULL, 0ULL, 2ULL, 1ULL, 3ULL}) {
    EXPECT_EQ(schedule.plan(epoch).digest(), digests[epoch]);
    EXPECT_EQ(schedule.plan(epoch).data_epoch(), epoch);
  }
}

}  // namespace
}  // namespace ratchet::trainer
