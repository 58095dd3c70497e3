#include "trainer/train/adamw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace ratchet::trainer {
namespace {

// The textbook update in double, one element at a time.
struct Reference {
  double param, exp_avg = 0.0, exp_avg_sq = 0.0;
  void update(double grad, const AdamWArgs& args) {
    exp_avg = args.beta1 * exp_avg + (1.0 - args.beta1) * grad;
    exp_avg_sq = args.beta2 * exp_avg_sq + (1.0 - args.beta2) * grad * grad;
    const double step = static_cast<double>(args.step);
    const double mean = exp_avg / (1.0 - std::pow(args.beta1, step));
    const double square = exp_avg_sq / (1.0 - std::pow(args.beta2, step));
    param *= 1.0 - args.learning_rate * args.weight_decay;
    param -= args.learning_rate * mean / (std::sqrt(square) + args.eps);
  }
};

TEST(AdamW, FollowsTheTextbookInDouble) {
  std::mt19937 random(20261121);
  std::normal_distribution<float> normal;
  constexpr size_t kCount = 1003;
  std::vector<float> params(kCount), grads(kCount), exp_avg(kCount), exp_avg_sq(kCount);
  std::vector<Reference> reference;
  for (float& param : params) {
    param = normal(random);
    reference.push_back({param});
  }
  AdamWArgs args{params, grads, exp_avg, exp_avg_sq};
  args.learning_rate = 1e-2;
  args.weight_decay = 0.1;
  args.grad_scale = 0.5;
  for (args.step = 1; args.step <= 50; ++args.step) {
    for (size_t i = 0; i < kCount; ++i) {
      grads[i] = normal(random);
      reference[i].update(static_cast<double>(grads[i]) * args.grad_scale, args);
    }
    adamw_step(args);
  }
  for (size_t i = 0; i < kCount; ++i) {
    // 50 float updates of at most 1e-2 each on values near 1: a few ulp of the sum.
    EXPECT_NEAR(params[i], reference[i].param, 5e-6) << "element " << i;
  }
}

TEST(AdamW, ZeroGradientOnlyDecays) {
  std::vector<float> params{2.0F}, grads{0.0F}, exp_avg{0.0F}, exp_avg_sq{0.0F};
  AdamWArgs args{params, grads, exp_avg, exp_avg_sq};
  args.learning_rate = 0.1;
  args.weight_decay = 0.5;
  adamw_step(args);
  EXPECT_FLOAT_EQ(params[0], 1.9F);
}

TEST(GlobalNorm, SumsInDouble) {
  const std::vector<float> values(100000, 1e-3F);
  EXPECT_NEAR(global_norm(values), std::sqrt(100000.0) * static_cast<double>(1e-3F), 1e-12);
  EXPECT_EQ(global_norm({}), 0.0);
}

TEST(GlobalNorm, NanPassesThrough) {
  std::vector<float> values(9000, 1.0F);
  values[8999] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(global_norm(values)));
}

TEST(ClipFactor, OnlyShrinks) {
  EXPECT_EQ(clip_factor(0.5, 1.0), 1.0);
  EXPECT_NEAR(clip_factor(4.0, 1.0), 0.25, 1e-6);
  EXPECT_EQ(clip_factor(4.0, 0.0), 1.0);
  EXPECT_EQ(clip_factor(0.0, 1.0), 1.0);
}

}  // namespace
}  // namespace ratchet::trainer
