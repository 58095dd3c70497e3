#include "trainer/data/order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <set>
#include <vector>

namespace ratchet::trainer {
namespace {

std::vector<std::uint64_t> order_of(std::uint64_t count, std::uint64_t seed, std::uint64_t epoch,
                                    OrderPurpose purpose = OrderPurpose::kSamples) {
  const Permutation permutation(count, seed, epoch, purpose);
  std::vector<std::uint64_t> order(count);
  for (std::uint64_t i = 0; i < count; ++i) order[i] = permutation.at(i);
  return order;
}

TEST(Permutation, IsABijectionForEverySize) {
  for (std::uint64_t count = 1; count < 300; ++count) {
    std::vector<std::uint64_t> order = order_of(count, 42, count % 5);
    const Permutation permutation(count, 42, count % 5, OrderPurpose::kSamples);
    for (std::uint64_t i = 0; i < count; ++i) {
      ASSERT_LT(order[i], count);
      ASSERT_EQ(permutation.position_of(order[i]), i);
    }
    std::sort(order.begin(), order.end());
    for (std::uint64_t i = 0; i < count; ++i) ASSERT_EQ(order[i], i) << count;
  }
}

TEST(Permutation, IsABijectionAtLargeSizes) {
  for (const std::uint64_t count : {65'535ULL, 65'536ULL, 65'537ULL, 262'145ULL}) {
    std::vector<bool> seen(count);
    for (const std::uint64_t element : order_of(count, 7, 1)) {
      ASSERT_LT(element, count);
      ASSERT_FALSE(seen[element]);
      seen[element] = true;
    }
  }
  const std::uint64_t huge = (1ULL << 62U) + 12345;
  const Permutation permutation(huge, 7, 1, OrderPurpose::kSamples);
  for (const std::uint64_t position : std::vector<std::uint64_t>{0, 1, 99, 1ULL << 61U, huge - 1}) {
    EXPECT_LT(permutation.at(position), huge);
    EXPECT_EQ(permutation.position_of(permutation.at(position)), position);
  }
}

TEST(Permutation, DependsOnSeedEpochAndPurpose) {
  const auto base = order_of(1000, 42, 0);
  EXPECT_EQ(base, order_of(1000, 42, 0));
  for (const auto& other :
       {order_of(1000, 43, 0), order_of(1000, 42, 1), order_of(1000, 42, 0, OrderPurpose::kRows)}) {
    std::size_t same = 0;
    for (std::size_t i = 0; i < base.size(); ++i) same += base[i] == other[i] ? 1 : 0;
    EXPECT_LT(same, 10) << "unrelated permutations of 1000 agree in about one place";
  }
}

// Every element comes to every place about equally often: chi-square over 8 x 8 cells.
TEST(Permutation, HasNoVisibleBias) {
  constexpr std::uint64_t kCount = 8;
  constexpr int kTrials = 16'000;
  std::uint64_t hits[kCount][kCount] = {};
  for (int seed = 0; seed < kTrials; ++seed) {
    const auto order = order_of(kCount, static_cast<std::uint64_t>(seed), 3);
    for (std::uint64_t i = 0; i < kCount; ++i) ++hits[i][order[i]];
  }
  const double expected = static_cast<double>(kTrials) / kCount;
  double chi_square = 0.0;
  for (const auto& row : hits) {
    for (const std::uint64_t count : row) {
      const double difference = static_cast<double>(count) - expected;
      chi_square += difference * difference / expected;
    }
  }
  EXPECT_LT(chi_square, 100.0) << "49 degrees of freedom: 100 is beyond 1 in 10,000";
}

// These values must never change: a resumed job relies on them.
TEST(Permutation, GoldenOrder) {
  EXPECT_EQ(order_of(10, 42, 0), (std::vector<std::uint64_t>{6, 7, 0, 9, 8, 2, 5, 1, 3, 4}));
  EXPECT_EQ(order_of(10, 42, 1), (std::vector<std::uint64_t>{4, 7, 5, 6, 0, 3, 2, 9, 8, 1}));
  const Permutation large(1'000'000, 2026, 2, OrderPurpose::kRows);
  EXPECT_EQ(large.at(0), 798'383);
  EXPECT_EQ(large.at(999'999), 863'048);
}

std::vector<std::uint64_t> groups_of(std::uint64_t rows, std::uint64_t samples_a_row) {
  std::vector<std::uint64_t> groups;
  for (std::uint64_t row = 0; row < rows; ++row) {
    groups.insert(groups.end(), samples_a_row, row * 3);  // numbers need not be dense
  }
  return groups;
}

TEST(SplitSamples, HoldsOutTheShareInWholeGroups) {
  const auto groups = groups_of(100, 4);
  const SampleSplit split = split_samples(groups, 0.1, 5);
  EXPECT_EQ(split.validation.size(), 40);
  EXPECT_EQ(split.train.size(), 360);
  EXPECT_TRUE(std::is_sorted(split.train.begin(), split.train.end()));
  std::set<std::uint64_t> held_out;
  for (const std::uint64_t sample : split.validation) held_out.insert(groups[sample]);
  EXPECT_EQ(held_out.size(), 10);
  for (const std::uint64_t sample : split.train) EXPECT_FALSE(held_out.contains(groups[sample]));
  std::vector<std::uint64_t> all = split.train;
  all.insert(all.end(), split.validation.begin(), split.validation.end());
  std::sort(all.begin(), all.end());
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], i);
}

TEST(SplitSamples, IsAPureFunctionOfTheSeed) {
  const auto groups = groups_of(50, 1);
  EXPECT_EQ(split_samples(groups, 0.2, 1).validation, split_samples(groups, 0.2, 1).validation);
  EXPECT_NE(split_samples(groups, 0.2, 1).validation, split_samples(groups, 0.2, 2).validation);
}

TEST(SplitSamples, Edges) {
  EXPECT_TRUE(split_samples({}, 0.5, 1).train.empty());
  EXPECT_EQ(split_samples(groups_of(5, 1), 0.0, 1).train.size(), 5);
  EXPECT_EQ(split_samples(groups_of(1, 3), 0.5, 1).train.size(), 3);
  EXPECT_EQ(split_samples(groups_of(3, 1), 0.01, 1).validation.size(), 1);
}

}  // namespace
}  // namespace ratchet::trainer
