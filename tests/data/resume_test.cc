// A run that stops before any step and goes on with another micro-batch sees the same token ids in
// the same order as one that never stopped, over several data epochs and in the middle of packs.

#include <gtest/gtest.h>

#include <algorithm>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "trainer/data/packing.h"
#include "trainer/data/tokenized_dataset.h"

namespace ratchet::trainer {
namespace {

constexpr std::uint64_t kGlobalBatch = 6;
constexpr std::uint64_t kDataEpochs = 3;

TokenizedDataset make_dataset() {
  TokenizedDataset dataset;
  std::mt19937_64 random(11);
  for (std::uint64_t sample = 0; sample < 97; ++sample) {
    EncodedSample encoded;
    const std::size_t length = 2 + random() % 40;
    for (std::size_t i = 0; i < length; ++i) {
      encoded.ids.push_back(static_cast<std::int32_t>(sample * 100 + i));
      encoded.train.push_back(random() % 2 == 0 ? 1 : 0);
    }
    dataset.append(encoded, {sample, sample + 1, 0});
  }
  return dataset;
}

PackingOptions packing_options(bool packing) { return {2026, 64, packing}; }

// What one step feeds: the ids, trained ids marked by their sign, and a zero after each segment.
std::vector<std::int64_t> feed_step(StepSchedule& schedule, const TokenizedDataset& dataset,
                                    std::uint64_t step, std::uint64_t micro_batch) {
  std::vector<std::int64_t> stream;
  const StepRows rows = schedule.rows_of(step);
  const EpochPlan& plan = schedule.plan(rows.data_epoch);
  for (std::uint64_t begin = rows.begin; begin < rows.end; begin += micro_batch) {
    const std::uint64_t end = std::min(begin + micro_batch, rows.end);
    for (std::uint64_t row = begin; row < end; ++row) {
      for (const Segment& segment : plan.row(row)) {
        const auto ids = dataset.ids(segment.sample);
        for (std::uint32_t i = 0; i < ids.size(); ++i) {
          const std::int64_t id = ids[i] + 1;
          stream.push_back(dataset.trained(segment.sample, i) ? -id : id);
        }
        stream.push_back(0);
      }
    }
  }
  return stream;
}

class Resume : public ::testing::TestWithParam<bool> {};

TEST_P(Resume, GivesTheSameIdsFromEveryStep) {
  const TokenizedDataset dataset = make_dataset();
  const auto open = [&] {
    return std::move(StepSchedule::make(dataset.lengths(), packing_options(GetParam()),
                                        {kGlobalBatch, kDataEpochs, std::nullopt}))
        .value();
  };
  StepSchedule whole = open();
  const std::uint64_t steps = whole.total_steps();
  std::vector<std::vector<std::int64_t>> expected;
  for (std::uint64_t step = 0; step < steps; ++step) {
    expected.push_back(feed_step(whole, dataset, step, 2));
  }
  for (std::uint64_t stop = 0; stop < steps; ++stop) {
    const DataCursor saved = whole.cursor_before(stop);
    StepSchedule resumed = open();
    const auto first = resumed.step_at(saved);
    ASSERT_EQ(first, stop);
    for (std::uint64_t step = *first; step < steps; ++step) {
      ASSERT_EQ(feed_step(resumed, dataset, step, 1 + stop % 5), expected[step])
          << "stopped before step " << stop << ", step " << step;
    }
  }
}

// Every sample of every data epoch is fed once.
TEST_P(Resume, FeedsEverySampleOnceAnEpoch) {
  const TokenizedDataset dataset = make_dataset();
  StepSchedule schedule =
      std::move(StepSchedule::make(dataset.lengths(), packing_options(GetParam()),
                                   {kGlobalBatch, kDataEpochs, std::nullopt}))
          .value();
  std::vector<std::vector<int>> fed(kDataEpochs, std::vector<int>(dataset.samples(), 0));
  for (std::uint64_t step = 0; step < schedule.total_steps(); ++step) {
    const StepRows rows = schedule.rows_of(step);
    for (std::uint64_t row = rows.begin; row < rows.end; ++row) {
      for (const Segment& segment : schedule.plan(rows.data_epoch).row(row)) {
        ++fed[rows.data_epoch][segment.sample];
      }
    }
  }
  for (const auto& epoch : fed) {
    EXPECT_TRUE(std::all_of(epoch.begin(), epoch.end(), [](int times) { return times == 1; }));
  }
}

std::string packing_name(const ::testing::TestParamInfo<bool>& packed) {
  return packed.param ? "Packed" : "Unpacked";
}

INSTANTIATE_TEST_SUITE_P(Packing, Resume, ::testing::Bool(), packing_name);

TEST(TokenizedDataset, KeepsIdsMaskAndOrigin) {
  const TokenizedDataset dataset = make_dataset();
  EXPECT_EQ(dataset.samples(), 97);
  std::uint64_t trained = 0;
  for (std::uint64_t sample = 0; sample < dataset.samples(); ++sample) {
    EXPECT_EQ(dataset.ids(sample).front(), static_cast<std::int32_t>(sample * 100));
    EXPECT_FALSE(dataset.trained(sample, 0)) << "a first token is never a target";
    EXPECT_EQ(dataset.origin(sample).line, sample + 1);
    trained += dataset.trained_in(sample);
  }
  EXPECT_EQ(trained, dataset.trained_tokens());
}

TEST(TokenizedDataset, SubsetIsTheSameSamples) {
  const TokenizedDataset dataset = make_dataset();
  const std::vector<std::uint64_t> chosen = {5, 90, 0};
  const TokenizedDataset part = dataset.subset(chosen);
  ASSERT_EQ(part.samples(), 3);
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const auto ids = dataset.ids(chosen[i]);
    const auto copied = part.ids(i);
    EXPECT_TRUE(std::equal(ids.begin(), ids.end(), copied.begin(), copied.end()));
    for (std::uint32_t k = 0; k < ids.size(); ++k) {
      EXPECT_EQ(part.trained(i, k), dataset.trained(chosen[i], k));
    }
    EXPECT_EQ(part.origin(i).row, chosen[i]);
  }
}

}  // namespace
}  // namespace ratchet::trainer
