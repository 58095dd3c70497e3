// RMSNorm, rope and SwiGLU against plain double-precision compositions of LibTorch operators.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "tests/ops/op_checks.h"
#include "trainer/ops/rmsnorm_op.h"
#include "trainer/ops/rope_op.h"
#include "trainer/ops/swiglu_op.h"

namespace ratchet::trainer::ops {
namespace {

using testing::expect_gradients;
using testing::expect_within_twice;
using testing::max_error;
using testing::randn;
using testing::same_bits;

constexpr double kEps = 1e-5;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

at::Tensor rmsnorm_reference(const at::Tensor& x, const at::Tensor& w) {
  return x * (x.square().mean(-1, true) + kEps).rsqrt() * w;
}

TEST(RmsNorm, EqualsItsFormulaInEveryDtypeAndShape) {
  for (const auto& shape :
       std::vector<std::vector<int64_t>>{{1, 1}, {5, 123}, {3, 2, 64}, {0, 8}}) {
    for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
      const at::Tensor x = randn(shape, 1, dtype), w = randn({shape.back()}, 2, dtype);
      const at::Tensor exact = rmsnorm_reference(x.to(at::kDouble), w.to(at::kDouble));
      const at::Tensor y = rmsnorm(x, w, kEps);
      EXPECT_EQ(y.scalar_type(), dtype);
      expect_within_twice(y, rmsnorm_reference(x, w), exact, dtype == at::kDouble ? 1e-14 : 1e-6);
    }
  }
}

TEST(RmsNorm, HasTheGradientsOfItsFormula) {
  expect_gradients([](const auto& in) { return rmsnorm(in[0], in[1], kEps); },
                   {randn({4, 19}, 3), randn({19}, 4)});
}

TEST(RmsNorm, GradientInBf16IsAsGoodAsTheOperators) {
  const at::Tensor w = randn({96}, 6, at::kBFloat16), dy = randn({7, 96}, 7, at::kBFloat16);
  const auto gradient = [&](auto f, at::ScalarType dtype) {
    at::Tensor x = randn({7, 96}, 5, at::kBFloat16).to(dtype).set_requires_grad(true);
    f(x, w.to(dtype)).backward(dy.to(dtype));
    return x.grad();
  };
  const auto ours = [](const at::Tensor& x, const at::Tensor& v) { return rmsnorm(x, v, kEps); };
  expect_within_twice(gradient(ours, at::kBFloat16), gradient(rmsnorm_reference, at::kBFloat16),
                      gradient(rmsnorm_reference, at::kDouble), 0.0);
}

TEST(RmsNorm, KeepsANanInItsRow) {
  at::Tensor x = randn({3, 40}, 8, at::kFloat);
  x[1][39].fill_(kNan);
  const at::Tensor y = rmsnorm(x, at::ones({40}), kEps);
  EXPECT_TRUE(y[1].isnan().all().item<bool>());
  EXPECT_TRUE(y[0].isfinite().all().item<bool>() && y[2].isfinite().all().item<bool>());
}

TEST(RmsNorm, SurvivesExtremeMagnitudes) {
  for (const double scale : {1e-18, 1e15}) {
    const at::Tensor x = randn({2, 33}, 9, at::kFloat) * scale;
    EXPECT_TRUE(rmsnorm(x, at::ones({33}), kEps).isfinite().all().item<bool>()) << scale;
  }
}

TEST(RmsNorm, DoesNotDependOnTheThreads) {
  const at::Tensor x = randn({1000, 257}, 10, at::kFloat), w = randn({257}, 11, at::kFloat);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = rmsnorm(x, w, kEps);
  at::set_num_threads(threads);
  EXPECT_TRUE(same_bits(one, rmsnorm(x, w, kEps)));
}

TEST(RmsNorm, RefusesWhatDoesNotFit) {
  EXPECT_THROW(rmsnorm(at::ones({2, 3}), at::ones({4}), kEps), c10::Error);
  EXPECT_THROW(rmsnorm(at::ones({2, 3}), at::ones({3}, at::kDouble), kEps), c10::Error);
  EXPECT_THROW(rmsnorm(at::ones({2, 3}, at::kLong), at::ones({3}, at::kLong), kEps), c10::Error);
}

at::Tensor rope_reference(const at::Tensor& x, const RopeTable& table) {
  const int64_t half = x.size(2) / 2;
  const at::Tensor c = at::cat({table.cos_TJ, table.cos_TJ}, 1).unsqueeze(1).to(x.scalar_type());
  const at::Tensor s = at::cat({table.sin_TJ, table.sin_TJ}, 1).unsqueeze(1).to(x.scalar_type());
  const at::Tensor turned = at::cat({x.narrow(2, half, half).neg(), x.narrow(2, 0, half)}, 2);
  return x * c + turned * s;
}

RopeTable table_for(at::ArrayRef<int64_t> positions, int64_t head_dim) {
  return rope_table(rope_inverse_frequencies(head_dim, 10000.0, std::nullopt),
                    at::tensor(positions, at::kLong));
}

TEST(Rope, EqualsItsFormula) {
  const RopeTable table = table_for({0, 1, 2, 0, 511}, 12);
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const at::Tensor x = randn({5, 3, 12}, 1, dtype);
    expect_within_twice(rope(x, table), rope_reference(x, table),
                        rope_reference(x.to(at::kDouble), table), 1e-6);
  }
}

TEST(Rope, HasTheGradientsOfItsFormula) {
  const RopeTable table = table_for({3, 9, 200}, 8);
  expect_gradients([&](const auto& in) { return rope(in[0], table); }, {randn({3, 2, 8}, 2)});
}

TEST(Rope, LeavesPositionZeroAndKeepsLengths) {
  const at::Tensor x = randn({2, 1, 64}, 3);
  const at::Tensor y = rope(x, table_for({0, 1234}, 64));
  EXPECT_TRUE(same_bits(y[0], x[0]));
  EXPECT_NEAR(y[1].norm().item<double>(), x[1].norm().item<double>(), 1e-5);
  EXPECT_EQ(rope(at::zeros({0, 2, 8}), table_for({}, 8)).numel(), 0);
}

TEST(Rope, ScalesLongWavesAndKeepsShortOnesAsLlama3Does) {
  const Llama3RopeScaling scaling{8.0, 1.0, 4.0, 8192};
  const at::Tensor plain = rope_inverse_frequencies(128, 500000.0, std::nullopt);
  const at::Tensor scaled = rope_inverse_frequencies(128, 500000.0, scaling);
  int blended = 0;
  for (int64_t j = 0; j < 64; ++j) {
    const double f = plain[j].item<double>(), g = scaled[j].item<double>();
    const double wave = 2.0 * std::numbers::pi / f;
    if (wave < 8192.0 / 4.0) {
      EXPECT_EQ(g, f) << j;
    } else if (wave > 8192.0) {
      EXPECT_NEAR(g / f, 1.0 / 8.0, 1e-7) << j;
    } else {
      const double smooth = (8192.0 / wave - 1.0) / 3.0;
      EXPECT_NEAR(g / f, (1.0 - smooth) / 8.0 + smooth, 1e-5) << j;
      ++blended;
    }
  }
  EXPECT_GT(blended, 0);
}

TEST(Rope, RefusesWhatDoesNotFit) {
  EXPECT_THROW(rope_inverse_frequencies(7, 10000.0, std::nullopt), c10::Error);
  EXPECT_THROW(rope(at::zeros({2, 1, 8}), table_for({0}, 8)), c10::Error);
  EXPECT_THROW(rope(at::zeros({1, 1, 10}), table_for({0}, 8)), c10::Error);
}

TEST(Swiglu, EqualsItsFormula) {
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const at::Tensor gate = randn({5, 37}, 1, dtype), up = randn({5, 37}, 2, dtype);
    const auto formula = [](const at::Tensor& e, const at::Tensor& u) {
      return e * e.sigmoid() * u;
    };
    expect_within_twice(swiglu(gate, up), formula(gate, up),
                        formula(gate.to(at::kDouble), up.to(at::kDouble)), 1e-6);
  }
}

TEST(Swiglu, HasTheGradientsOfItsFormula) {
  expect_gradients([](const auto& in) { return swiglu(in[0], in[1]); },
                   {randn({3, 11}, 3), randn({3, 11}, 4)});
}

TEST(Swiglu, PassesNanAndTakesNoRows) {
  at::Tensor gate = randn({2, 3}, 5, at::kFloat);
  gate[0][1].fill_(kNan);
  const at::Tensor h = swiglu(gate, at::ones({2, 3}));
  EXPECT_TRUE(h[0][1].isnan().item<bool>());
  EXPECT_TRUE(h[1].isfinite().all().item<bool>());
  EXPECT_EQ(swiglu(at::ones({0, 3}), at::ones({0, 3})).numel(), 0);
  EXPECT_THROW(swiglu(at::ones({2, 3}), at::ones({3, 2})), c10::Error);
}

}  // namespace
}  // namespace ratchet::trainer::ops
