// The double reference against the CPU operator (trainer/train/adamw.h), which has no line in
// common with it, and against known steps.

#include "kernels/reference/adamw_ref.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/reference/tolerance.h"
#include "trainer/train/adamw.h"

namespace ratchet::kernels::reference {
namespace {

std::vector<float> wave(size_t count, double phase, double scale) {
  std::vector<float> out(count);
  for (size_t i = 0; i < count; ++i) {
    out[i] = static_cast<float>(scale * (std::sin(1.7 * static_cast<double>(i) + phase) + 0.3));
  }
  return out;
}

void expect_near(const std::vector<float>& got, const std::vector<double>& exact,
                 const std::vector<double>& scale) {
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_LE(std::fabs(double{got[i]} - exact[i]),
              tolerance(OpClass::kElement, DType::kF32, 1, exact[i], scale[i]))
        << i;
  }
}

TEST(AdamWReference, AgreesWithTheCpuOperator) {
  constexpr size_t kCount = 1000;
  for (const int64_t step : {int64_t{1}, int64_t{2}, int64_t{10}, int64_t{100000}}) {
    for (const double clip : {1.0, 0.037}) {
      std::vector<float> p = wave(kCount, 0.1, 0.02), m = wave(kCount, 1.3, 0.01);
      std::vector<float> v = wave(kCount, 2.9, 1e-4);
      for (float& value : v) value = std::fabs(value);
      const std::vector<float> g = wave(kCount, 0.7, 0.05);
      const AdamWScalars s{.step = step, .learning_rate = 2e-4, .weight_decay = 0.1, .clip = clip};
      const AdamWState exact = adamw_step(p, g, m, v, s);
      trainer::adamw_step({.params = p,
                           .grads = g,
                           .exp_avg = m,
                           .exp_avg_sq = v,
                           .step = step,
                           .learning_rate = s.learning_rate,
                           .weight_decay = s.weight_decay,
                           .grad_scale = clip});
      expect_near(p, exact.p, exact.p_scale);
      expect_near(m, exact.m, exact.m_scale);
      expect_near(v, exact.v, exact.v_scale);
    }
  }
}

TEST(AdamWReference, NormAndClipAgreeWithTheCpuOperator) {
  const std::vector<float> values = wave(100003, 0.4, 3.0);
  EXPECT_NEAR(global_norm(values), trainer::global_norm(values), 1e-9 * global_norm(values));
  for (const double norm : {0.0, 0.5, 1.0, 7.0, double{INFINITY}, double{NAN}}) {
    for (const double most : {0.0, 1.0}) {
      EXPECT_EQ(clip_factor(norm, most), trainer::clip_factor(norm, most)) << norm;
    }
  }
}

TEST(AdamWReference, TheFirstStepIsTheLearningRate) {
  const std::vector<double> p = {1.0, 1.0}, g = {0.5, -2.0}, zero = {0.0, 0.0};
  const AdamWState out = adamw_step(p, g, zero, zero, {.learning_rate = 0.01, .eps = 0.0});
  EXPECT_NEAR(out.p[0], 0.99, 1e-12);
  EXPECT_NEAR(out.p[1], 1.01, 1e-12);
}

}  // namespace
}  // namespace ratchet::kernels::reference
