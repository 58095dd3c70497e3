#include "trainer/train/adamw_8bit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/block_formats.h"

namespace ratchet::trainer {
namespace {

using kernels::kSignedBounds;
using kernels::kSignedValues;
using kernels::kUnsignedBounds;
using kernels::kUnsignedValues;

constexpr float kMax = std::numeric_limits<float>::max();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kDenormal = std::numeric_limits<float>::denorm_min();

// Tensors of these sizes, laid out as in an arena: each start aligned.
ArenaLayout layout_of(const std::vector<std::int64_t>& sizes) {
  ArenaLayout layout;
  for (const std::int64_t size : sizes) {
    layout.tensors.push_back(
        {"t" + std::to_string(layout.tensors.size()), {size}, layout.arena_size, size});
    layout.arena_size += (size + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
  }
  return layout;
}

struct Pair {
  std::vector<float> exp_avg, exp_avg_sq;
  bool operator==(const Pair& other) const {  // bit for bit: NaN and the sign of zero count
    const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
      return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
    };
    return same(exp_avg, other.exp_avg) && same(exp_avg_sq, other.exp_avg_sq);
  }
};

Pair read(const EightBitMoments& moments, const ArenaLayout& layout) {
  const auto size = static_cast<size_t>(layout.arena_size);
  Pair pair{std::vector<float>(size), std::vector<float>(size)};
  moments.read(pair.exp_avg, pair.exp_avg_sq);
  return pair;
}

// `values` in one tensor, which they need not fill: the rest is zero.
Pair stored(std::vector<float> values) {
  const ArenaLayout layout = layout_of({static_cast<std::int64_t>(values.size())});
  values.resize(static_cast<size_t>(layout.arena_size));
  EightBitMoments moments(layout);
  moments.write(values, values);
  return read(moments, layout);
}

// The magnitude of a number over thirty decades, evenly in its exponent; half of them negative.
float any_decade(std::mt19937& random, double lowest = -30.0, double highest = 30.0) {
  std::uniform_real_distribution<double> exponent(lowest, highest);
  const double sign = (random() & 1U) == 0 ? 1.0 : -1.0;
  return static_cast<float>(sign * std::pow(10.0, exponent(random)));
}

TEST(EightBitMoments, EveryNumberTakesItsNearestCode) {
  // Each bound, its neighbours on both sides, and numbers of every size; 1 gives a block its scale.
  std::vector<float> numbers;
  for (const auto& bounds : {kSignedBounds, kUnsignedBounds}) {
    for (const float bound : bounds) {
      for (const float near : {bound, std::nextafter(bound, -1.0F), std::nextafter(bound, 1.0F)}) {
        numbers.push_back(near);
        numbers.push_back(-near);
      }
    }
  }
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) numbers.push_back(any_decade(random, -12.0, 0.0));
  for (const float zero : {0.0F, -0.0F, kDenormal, -kDenormal}) numbers.push_back(zero);

  std::vector<float> values;
  for (const float number : numbers) {
    if (values.size() % kernels::kDynamicBlock == 0) values.push_back(1.0F);
    values.push_back(number);
  }
  const Pair pair = stored(values);
  for (size_t i = 0; i < values.size(); ++i) {
    const float first = kSignedValues[kernels::code_of(values[i], kSignedBounds)];
    const auto code = kernels::code_of(values[i], kUnsignedBounds);
    ASSERT_EQ(pair.exp_avg[i], first) << values[i];
    ASSERT_EQ(pair.exp_avg_sq[i], kUnsignedValues[code == 0 && values[i] > 0.0F ? 1 : code])
        << values[i];
  }
}

struct Case {
  std::string name;
  std::vector<float> values;
};

std::vector<Case> hard_blocks() {
  std::vector<Case> cases{
      {"all zero", std::vector<float>(256)},
      {"negative zeros", std::vector<float>(256, -0.0F)},
      {"all equal", std::vector<float>(256, 0.3F)},
      {"all equal and negative", std::vector<float>(256, -0.3F)},
      {"one element", {-3.0F}},
      {"largest negative", {0.1F, -5.0F, 4.9F, 1e-6F, -1e-7F}},
      {"largest of both signs", {-5.0F, 0.1F, 5.0F, -4.99F}},
      {"ratio of the last negative code", {-1.0F, 0.99296875F, -0.99296875F}},
      {"smallest normal", {std::numeric_limits<float>::min(), -1e-39F}},
      {"denormal", {kDenormal, -kDenormal, 7 * kDenormal}},
      {"denormal and negative", {-kDenormal, 0.0F}},
      {"denormal beside one", {1.0F, kDenormal, -kDenormal}},
      {"smallest scale", {0x1p-104F, -0x1p-105F, 1e-38F}},
      {"below the smallest scale", {std::nextafter(0x1p-104F, 0.0F), -1e-33F}},
      {"huge", {kMax, -kMax, kMax / 3, 1.0F}},
      {"huge and negative", {-kMax, kMax / 3, 1e31F}},
      {"infinite", {kInfinity, 1.0F, kMax}},
      {"infinite and negative", {-kInfinity, 1.0F, kMax}},
  };
  for (const size_t place : {0, 1, 100, 255}) {
    for (const float value : {2e-9F, -2e-9F}) {
      Case one{"alone at " + std::to_string(place), std::vector<float>(256)};
      one.values[place] = value;
      cases.push_back(one);
    }
  }
  std::mt19937 random(20261121);
  for (int i = 0; i < 4000; ++i) {
    Case one{"random " + std::to_string(i), std::vector<float>(1 + random() % 256)};
    const double largest = std::uniform_real_distribution<double>(-44.0, 38.5)(random);
    const double spread = std::uniform_real_distribution<double>(0.0, 14.0)(random);
    for (float& value : one.values) value = any_decade(random, largest - spread, largest);
    cases.push_back(one);
  }
  for (const auto& table : {kSignedValues, kUnsignedValues}) {  // every code at every kind of scale
    for (const float scale : {0x1p-104F, -0x1p-104F, 1.1e-20F, -0.7F, 1.0F, 3e37F, kMax, -kMax}) {
      Case one{"all codes at " + std::to_string(scale), {}};
      for (const float value : table) one.values.push_back(value * scale);
      cases.push_back(one);
    }
  }
  return cases;
}

TEST(EightBitMoments, WhatWasReadIsWrittenBackBitForBit) {
  for (const Case& block : hard_blocks()) {
    const ArenaLayout layout = layout_of({static_cast<std::int64_t>(block.values.size())});
    std::vector<float> values = block.values;
    values.resize(static_cast<size_t>(layout.arena_size));
    std::vector<float> squares(values.size());
    std::transform(values.begin(), values.end(), squares.begin(),
                   [](float x) { return std::abs(x); });
    EightBitMoments moments(layout);
    moments.write(values, squares);
    const Pair pair = read(moments, layout);
    EightBitMoments restored(layout);
    restored.write(pair.exp_avg, pair.exp_avg_sq);
    ASSERT_TRUE(restored == moments) << block.name;
    ASSERT_TRUE(read(restored, layout) == pair) << block.name;
    for (const float value : pair.exp_avg) ASSERT_TRUE(std::isfinite(value)) << block.name;
    for (const float value : pair.exp_avg_sq) ASSERT_TRUE(std::isfinite(value)) << block.name;
  }
}

TEST(EightBitMoments, LargestElementIsExact) {
  for (const Case& block : hard_blocks()) {
    const Pair pair = stored(block.values);
    const auto largest =
        *std::max_element(block.values.begin(), block.values.end(),
                          [](float a, float b) { return std::abs(a) < std::abs(b); });
    const float expected = std::abs(largest) < 0x1p-104F ? 0.0F : std::min(std::abs(largest), kMax);
    float found = 0.0F;
    for (const float value : pair.exp_avg) found = std::max(found, std::abs(value));
    EXPECT_EQ(found, expected) << block.name;
  }
}

TEST(EightBitMoments, SmallSecondMomentsAreNotStoredAsZero) {
  const Pair pair = stored({1.0F, 1e-9F, 1e-30F, kDenormal, 0.0F});
  for (const size_t i : {1, 2, 3}) EXPECT_EQ(pair.exp_avg_sq[i], kUnsignedValues[1]);
  EXPECT_EQ(pair.exp_avg_sq[4], 0.0F);
}

// From a stored state one update, in double; then the codes nearest to it.
TEST(EightBitMoments, StepFollowsTheTextbookInDouble) {
  const ArenaLayout layout = layout_of({1003});
  const auto size = static_cast<size_t>(layout.arena_size);
  constexpr size_t kCount = 1003;
  std::mt19937 random(20261121);
  std::normal_distribution<float> normal;
  std::vector<float> params(size), grads(size);
  for (size_t i = 0; i < kCount; ++i) params[i] = normal(random);
  EightBitMoments moments(layout);
  AdamWArgs args{params, grads, {}, {}};
  args.learning_rate = 1e-2;
  args.weight_decay = 0.1;
  args.grad_scale = 0.5;
  for (args.step = 1; args.step <= 30; ++args.step) {
    // Gradients of one block differ by four decades.
    for (size_t i = 0; i < kCount; ++i) {
      grads[i] = normal(random) * static_cast<float>(std::pow(10.0, -static_cast<double>(i % 5)));
    }
    const Pair before = read(moments, layout);
    const std::vector<float> old_params = params;
    moments.step(args);
    const Pair after = read(moments, layout);

    const double correction1 = 1.0 - std::pow(args.beta1, static_cast<double>(args.step));
    const double correction2 = 1.0 - std::pow(args.beta2, static_cast<double>(args.step));
    std::vector<double> mean(kCount), square(kCount);
    for (size_t i = 0; i < kCount; ++i) {
      const double grad = static_cast<double>(grads[i]) * args.grad_scale;
      mean[i] = args.beta1 * static_cast<double>(before.exp_avg[i]) + (1.0 - args.beta1) * grad;
      square[i] =
          args.beta2 * static_cast<double>(before.exp_avg_sq[i]) + (1.0 - args.beta2) * grad * grad;
      const double decayed =
          static_cast<double>(old_params[i]) * (1.0 - args.learning_rate * args.weight_decay);
      const double param = decayed - args.learning_rate * (mean[i] / correction1) /
                                         (std::sqrt(square[i] / correction2) + args.eps);
      // One float update on values near 1. Rounded moments in it would move it by up to 1e-4.
      ASSERT_NEAR(params[i], param, 1e-6) << "step " << args.step << ", element " << i;
    }
    for (size_t begin = 0; begin < kCount; begin += 256) {
      const size_t end = std::min(kCount, begin + 256);
      double first_scale = 0.0, second_scale = 0.0;
      for (size_t i = begin; i < end; ++i) {
        if (std::abs(mean[i]) > std::abs(first_scale)) first_scale = mean[i];
        second_scale = std::max(second_scale, square[i]);
      }
      const auto nearest = [](const auto& table, double x, bool zero) {
        double best = 2.0;
        for (const float value : table) {
          if (zero || value != 0.0F)
            best = std::min(best, std::abs(x - static_cast<double>(value)));
        }
        return best;
      };
      for (size_t i = begin; i < end; ++i) {
        // 3e-7: the float error of a sum whose terms are at most the scale, and of the scale.
        const double first = mean[i] / first_scale;
        ASSERT_LE(std::abs(static_cast<double>(after.exp_avg[i]) / first_scale - first),
                  nearest(kSignedValues, first, true) + 3e-7);
        const double second = square[i] / second_scale;
        ASSERT_LE(std::abs(static_cast<double>(after.exp_avg_sq[i]) / second_scale - second),
                  nearest(kUnsignedValues, second, false) + 3e-7);
      }
    }
  }
}

// An arena of two tensors and each tensor alone go the same way, bit for bit: nothing of one, an
// outlier least of all, reaches the other, and the gap between them is left alone.
TEST(EightBitMoments, TensorsShareNothing) {
  const std::vector<std::int64_t> sizes{300, 517};
  const ArenaLayout both = layout_of(sizes);
  std::vector<float> params(static_cast<size_t>(both.arena_size)), grads(params.size());
  EightBitMoments moments(both);
  std::vector<std::vector<float>> lone_params, lone_grads;
  std::vector<EightBitMoments> lone_moments;
  for (const std::int64_t size : sizes) {
    const ArenaLayout layout = layout_of({size});
    lone_params.emplace_back(static_cast<size_t>(layout.arena_size));
    lone_grads.push_back(lone_params.back());
    lone_moments.emplace_back(layout);
  }
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (std::int64_t step = 1; step <= 5; ++step) {
    for (size_t t = 0; t < sizes.size(); ++t) {
      const auto begin = static_cast<size_t>(both.tensors[t].offset);
      for (size_t i = 0; i < static_cast<size_t>(sizes[t]); ++i) {
        lone_grads[t][i] = normal(random) * (t == 0 ? 1e6F : 1e-6F);
        grads[begin + i] = lone_grads[t][i];
      }
    }
    AdamWArgs args{params, grads, {}, {}};
    args.step = step;
    args.learning_rate = 1e-2;
    moments.step(args);
    for (size_t t = 0; t < sizes.size(); ++t) {
      args.params = lone_params[t];
      args.grads = lone_grads[t];
      lone_moments[t].step(args);
    }
  }
  const Pair pair = read(moments, both);
  for (size_t t = 0; t < sizes.size(); ++t) {
    const Pair lone = read(lone_moments[t], layout_of({sizes[t]}));
    const auto begin = static_cast<size_t>(both.tensors[t].offset);
    for (size_t i = 0; i < lone_params[t].size(); ++i) {
      EXPECT_EQ(params[begin + i], lone_params[t][i]);
      EXPECT_EQ(pair.exp_avg[begin + i], lone.exp_avg[i]);
      EXPECT_EQ(pair.exp_avg_sq[begin + i], lone.exp_avg_sq[i]);
    }
  }
  for (size_t i = 300; i < 304; ++i) {
    EXPECT_EQ(params[i], 0.0F);
    EXPECT_EQ(pair.exp_avg[i], 0.0F);
  }
}

TEST(EightBitMoments, TakeTwoBytesAndTwoScalesABlock) {
  EXPECT_EQ(EightBitMoments::bytes(layout_of({256 * 1000})), 256 * 1000 * 2 + 1000 * 8);
  EXPECT_EQ(EightBitMoments::bytes(layout_of({1, 257})), (16 + 272) * 2 + 3 * 8);
}

// Noisy least squares whose curvatures differ within each block by `decades`, hence the second
// moments by twice as many; the loss at the end, noise included.
double final_loss(bool eight_bit, double decades, unsigned seed) {
  constexpr size_t kCount = 2048;
  constexpr float kNoise = 0.3F;
  constexpr std::int64_t kSteps = 1000;
  const ArenaLayout layout = layout_of({kCount});
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> params(kCount), grads(kCount), exp_avg(kCount), exp_avg_sq(kCount);
  std::vector<float> best(kCount), curvature(kCount);
  for (size_t i = 0; i < kCount; ++i) {
    best[i] = normal(random);
    curvature[i] = std::abs(any_decade(random, -decades / 2, decades / 2));
  }
  EightBitMoments moments(layout);
  AdamWArgs args{params, grads, {}, {}};
  for (args.step = 1; args.step <= kSteps; ++args.step) {
    args.learning_rate =
        1e-2 * (1.0 - static_cast<double>(args.step - 1) / static_cast<double>(kSteps));
    for (size_t i = 0; i < kCount; ++i) {
      grads[i] = curvature[i] * (params[i] - best[i] + kNoise * normal(random));
    }
    if (eight_bit) {
      moments.step(args);
    } else {
      args.exp_avg = exp_avg;
      args.exp_avg_sq = exp_avg_sq;
      adamw_step(args);
    }
  }
  double loss = static_cast<double>(kNoise * kNoise);
  for (size_t i = 0; i < kCount; ++i) {
    const double off = static_cast<double>(params[i]) - static_cast<double>(best[i]);
    loss += off * off / static_cast<double>(kCount);
  }
  return loss;
}

// It begins near 1 and ends within 1 % of the noise with fp32 moments; 8-bit ones may add as much
// again. Over three decades the smallest second moments lie below the table: stored as zero, they
// would end this at losses of 10 and more.
TEST(EightBitMoments, ConvergeAsFloatMomentsDo) {
  for (const double decades : {0.0, 2.0, 3.0}) {
    for (const unsigned seed : {1U, 2U}) {
      const double expected = final_loss(false, decades, seed);
      EXPECT_NEAR(final_loss(true, decades, seed), expected, 0.01 * expected) << decades;
    }
  }
}

}  // namespace
}  // namespace ratchet::trainer
