#include "trainer/checkpoint/trainer_state.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tests/checkpoint/small_job.h"

namespace ratchet::trainer {
namespace {

TrainerState full_state() {
  TrainerState s = SmallJob().state_at(123);
  s.best = BestMetric{0.1 + 0.2, 100};
  s.early_stop_reference = -0.0;
  s.evaluated_step = 120;
  s.evaluations_without_improvement = 2;
  return s;
}

TEST(TrainerState, EveryFieldSurvivesTheRoundTrip) {
  const TrainerState state = full_state();
  const std::string text = encode_trainer_state(state);
  auto decoded = decode_trainer_state(text);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, state);
  EXPECT_EQ(encode_trainer_state(*decoded), text);
  EXPECT_TRUE(std::signbit(*decoded->early_stop_reference));
}

TEST(TrainerState, FloatsKeepTheirBitsEvenWhenTheyAreNoNumbers) {
  TrainerState state = full_state();
  state.last_loss = std::bit_cast<double>(std::uint64_t{0x7ff80000deadbeef});
  state.last_grad_norm = std::numeric_limits<double>::denorm_min();
  state.recent_losses = {std::numeric_limits<double>::infinity(), -0.0};
  auto decoded = decode_trainer_state(encode_trainer_state(state));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(std::bit_cast<std::uint64_t>(decoded->last_loss), 0x7ff80000deadbeefU);
  EXPECT_EQ(decoded->last_grad_norm, std::numeric_limits<double>::denorm_min());
  EXPECT_TRUE(std::isinf(decoded->recent_losses[0]));
  EXPECT_TRUE(std::signbit(decoded->recent_losses[1]));
}

TEST(TrainerState, CountersUseAll64Bits) {
  TrainerState state = full_state();
  state.seed = UINT64_MAX;
  state.tokens_seen = UINT64_MAX - 1;
  auto decoded = decode_trainer_state(encode_trainer_state(state));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->seed, UINT64_MAX);
  EXPECT_EQ(decoded->tokens_seen, UINT64_MAX - 1);
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(TrainerState, WhatIsNotCanonicalIsRefusedByName) {
  const std::string good = encode_trainer_state(full_state());
  const struct {
    std::string text, word;
  } cases[] = {
      {replaced(good, "\"step\": 123", "\"step\": 123, \"step\": 124"), "\"step\" twice"},
      {replaced(good, "\"step\": 123", "\"stepp\": 123"), "$.step is missing"},
      {replaced(good, "\"step\": 123", "\"step\": -1"), "$.step"},
      {replaced(good, "\"step\": 123", "\"step\": 123.0"), "$.step"},
      {replaced(good, "\"step\": 123", "\"step\": \"123\""), "$.step"},
      {replaced(good, "\"step\": 123", "\"step\": 123, \"more\": 1"), "$.more is unknown"},
      {replaced(good, "\"step\": 123", "\"step\":  123"), "canonical"},
      {replaced(good, "ratchet-trainer-state/1", "ratchet-trainer-state/2"), "$.schema"},
      {replaced(good, "\"cosine\"", "5"), "$.schedule.kind"},
      {replaced(good, "\"early_stop_reference_bits\": \"8", "\"early_stop_reference_bits\": \"X"),
       "$.early_stop_reference_bits"},
      {good + " ", "canonical"},
      {good.substr(0, good.size() / 2), "not JSON"},
      {"[]", "not a JSON object"},
      {std::string(100, '['), ""},
  };
  for (const auto& c : cases) {
    auto decoded = decode_trainer_state(c.text);
    ASSERT_FALSE(decoded) << c.text;
    EXPECT_EQ(decoded.error().code, Code::kCorrupt);
    EXPECT_NE(decoded.error().message.find(c.word), std::string::npos) << decoded.error().message;
  }
}

TEST(TrainerState, EveryFlippedBitIsRefusedOrChangesTheState) {
  const TrainerState state = full_state();
  const std::string good = encode_trainer_state(state);
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    auto decoded = decode_trainer_state(bad);
    if (decoded) {
      EXPECT_NE(*decoded, state) << "byte " << i;
    }
  }
}

TEST(SampleHash, DependsOnEveryIdAndOnTheOrder) {
  const auto hash_of = [](std::initializer_list<std::uint64_t> ids) {
    SampleHash hash;
    for (const std::uint64_t id : ids) hash.add(id);
    return hash;
  };
  EXPECT_EQ(hash_of({1, 2, 3}), hash_of({1, 2, 3}));
  EXPECT_NE(hash_of({1, 2, 3}), hash_of({1, 3, 2}));
  EXPECT_NE(hash_of({1, 2, 3}), hash_of({1, 2}));
  EXPECT_NE(hash_of({0}), hash_of({}));
}

}  // namespace
}  // namespace ratchet::trainer
