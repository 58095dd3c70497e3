#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/ops/op_checks.h"
#include "trainer/ops/linear_cross_entropy_op.h"
#include "trainer/ops/lora_linear_op.h"

namespace ratchet::trainer::ops {
namespace {

using testing::expect_gradients;
using testing::expect_within_twice;
using testing::max_error;
using testing::randn;
using testing::same_bits;

constexpr double kScaling = 2.5;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

LoraDropout dropout_for(int64_t tokens, double p) {
  return {p, {17, 2, 3, 1}, {at::arange(tokens, at::kLong) + 100, at::zeros({tokens}, at::kLong)}};
}

struct Layer {
  at::Tensor x, w, bias, a, b;
};

Layer layer(int64_t tokens, int64_t in, int64_t out, int64_t rank,
            at::ScalarType dtype = at::kDouble) {
  return {randn({tokens, in}, 1, dtype), randn({out, in}, 2, dtype), randn({out}, 3, dtype),
          randn({rank, in}, 4, dtype), randn({out, rank}, 5, dtype)};
}

at::Tensor reference(const Layer& l, const LoraDropout& dropout) {
  at::Tensor dropped = l.x;
  if (dropout.p > 0.0) {
    const at::Tensor keep = dropout_keep_mask(dropout.key, dropout.places, l.x.size(1), dropout.p);
    dropped = l.x * keep.to(l.x.scalar_type()) / (1.0 - dropout.p);
  }
  return at::matmul(l.x, l.w.t()) + l.bias +
         at::matmul(at::matmul(dropped, l.a.t()), l.b.t()) * kScaling;
}

at::Tensor run(const Layer& l, const LoraDropout& dropout) {
  return lora_linear(l.x, l.w, l.bias, {.a_RI = l.a, .b_OR = l.b, .scaling = kScaling}, dropout);
}

TEST(LoraLinear, EqualsItsFormula) {
  for (const double p : {0.0, 0.4}) {
    for (const int64_t tokens : {0, 1, 13}) {
      const Layer l = layer(tokens, 19, 7, 3);
      const LoraDropout dropout = dropout_for(tokens, p);
      EXPECT_LE(max_error(run(l, dropout), reference(l, dropout)), 1e-12) << tokens << " " << p;
    }
  }
}

TEST(LoraLinear, HasTheGradientsOfItsFormula) {
  for (const double p : {0.0, 0.4}) {
    const Layer l = layer(5, 9, 6, 2);
    const LoraDropout dropout = dropout_for(5, p);
    expect_gradients(
        [&](const auto& in) {
          return lora_linear(in[0], l.w, l.bias,
                             {.a_RI = in[1], .b_OR = in[2], .scaling = kScaling}, dropout);
        },
        {l.x, l.a, l.b});
  }
}

TEST(LoraLinear, KeepsFp32MastersBesideABf16Base) {
  const Layer wide = layer(40, 64, 48, 4);
  const at::Tensor dy = randn({40, 48}, 6, at::kBFloat16);
  const auto gradients = [&](at::ScalarType base, at::ScalarType masters, auto f) {
    Layer l = {wide.x.to(at::kBFloat16).to(base), wide.w.to(at::kBFloat16).to(base),
               wide.bias.to(at::kBFloat16).to(base),
               wide.a.to(at::kBFloat16).to(masters).set_requires_grad(true),
               wide.b.to(at::kBFloat16).to(masters).set_requires_grad(true)};
    const at::Tensor y = f(l, LoraDropout{});
    y.backward(dy.to(base));
    EXPECT_EQ(l.a.grad().scalar_type(), masters);
    return std::vector<at::Tensor>{y.detach(), l.a.grad(), l.b.grad()};
  };
  const auto ours = gradients(at::kBFloat16, at::kFloat, run);
  const auto torchs = gradients(at::kBFloat16, at::kBFloat16, reference);
  const auto exact = gradients(at::kDouble, at::kDouble, reference);
  for (size_t i = 0; i < 3; ++i) {
    expect_within_twice(ours[i], torchs[i], exact[i], 0.0);
  }
}

TEST(LoraLinear, GivesXNoGradientItDoesNotAskFor) {
  Layer l = layer(3, 4, 5, 2);
  l.a.set_requires_grad(true);
  l.b.set_requires_grad(true);
  run(l, {}).sum().backward();
  EXPECT_TRUE(l.a.grad().defined() && l.b.grad().defined());
  EXPECT_FALSE(l.x.grad().defined());
}

TEST(LoraLinear, AccumulatesIntoAPresetGradient) {
  Layer l = layer(3, 4, 5, 2);
  l.a.set_requires_grad(true);
  l.b.set_requires_grad(true);
  const at::Tensor store = at::zeros_like(l.a).detach();
  l.a.mutable_grad() = store;
  run(l, {}).sum().backward();
  const at::Tensor once = store.clone();
  run(l, {}).sum().backward();
  EXPECT_TRUE(same_bits(store, once * 2.0));
}

TEST(LoraLinear, PassesNan) {
  Layer l = layer(3, 8, 5, 2, at::kFloat);
  l.x[1][2].fill_(kNan);
  const at::Tensor y = run(l, {});
  EXPECT_TRUE(y[1].isnan().all().item<bool>());
  EXPECT_TRUE(y[0].isfinite().all().item<bool>() && y[2].isfinite().all().item<bool>());
}

TEST(LoraLinear, RefusesWhatDoesNotFit) {
  Layer l = layer(3, 4, 5, 2);
  EXPECT_THROW(lora_linear(l.x, l.w, l.bias, {.a_RI = l.b, .b_OR = l.a}, {}), c10::Error);
  EXPECT_THROW(run(l, dropout_for(2, 0.1)), c10::Error);
  EXPECT_THROW(run(l, dropout_for(3, 1.0)), c10::Error);
  l.w.set_requires_grad(true);
  EXPECT_THROW(run(l, {}), c10::Error);
}

at::Tensor loss_reference(const at::Tensor& h, const at::Tensor& w, const at::Tensor& target) {
  const at::Tensor log_p = at::log_softmax(at::matmul(h, w.t()), 1);
  return log_p.gather(1, target.unsqueeze(1)).sum().neg();
}

TEST(LinearCrossEntropy, EqualsItsFormulaAcrossChunks) {
  // 70,000 words: 64 rows a chunk, so that 150 rows make three.
  const at::Tensor h = randn({150, 4}, 1), w = randn({70000, 4}, 2);
  const at::Tensor target = at::arange(150, at::kLong) * 466;
  const auto gradients = [&](auto f) {
    at::Tensor x = h.clone().set_requires_grad(true), head = w.clone().set_requires_grad(true);
    const at::Tensor loss = f(x, head, target);
    (loss * 0.25).backward();
    return std::vector<at::Tensor>{loss.detach(), x.grad(), head.grad()};
  };
  const auto ours = gradients(linear_cross_entropy), exact = gradients(loss_reference);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_LE(max_error(ours[i], exact[i]), 1e-10) << i;
  }
}

TEST(LinearCrossEntropy, HasTheGradientsOfItsFormula) {
  const at::Tensor target = at::tensor({3, 0, 6}, at::kLong);
  expect_gradients([&](const auto& in) { return linear_cross_entropy(in[0], in[1], target); },
                   {randn({3, 5}, 3), randn({7, 5}, 4)});
}

TEST(LinearCrossEntropy, IsExactInFp32AndBf16) {
  const at::Tensor target = at::arange(90, at::kLong);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor h = randn({90, 32}, 5, dtype), w = randn({211, 32}, 6, dtype);
    const at::Tensor loss = linear_cross_entropy(h, w, target);
    EXPECT_EQ(loss.scalar_type(), at::kFloat);
    const double exact =
        loss_reference(h.to(at::kDouble), w.to(at::kDouble), target).item<double>();
    EXPECT_NEAR(loss.item<double>() / exact, 1.0, dtype == at::kFloat ? 1e-6 : 1e-3);
  }
}

TEST(LinearCrossEntropy, SurvivesHugeLogits) {
  const at::Tensor h = at::full({1, 1}, 1e4, at::kFloat);
  const at::Tensor w = at::tensor({1.0F, -1.0F}).view({2, 1});
  EXPECT_EQ(linear_cross_entropy(h, w, at::tensor({0}, at::kLong)).item<float>(), 0.0F);
  EXPECT_EQ(linear_cross_entropy(h, w, at::tensor({1}, at::kLong)).item<float>(), 2e4F);
}

TEST(LinearCrossEntropy, TakesNoRowsAndPassesNan) {
  const at::Tensor w = randn({5, 4}, 7, at::kFloat);
  const at::Tensor none = at::zeros({0, 4}).set_requires_grad(true);
  const at::Tensor loss = linear_cross_entropy(none, w, at::zeros({0}, at::kLong));
  EXPECT_EQ(loss.item<float>(), 0.0F);
  loss.backward();
  EXPECT_EQ(none.grad().numel(), 0);
  const at::Tensor bad = at::full({1, 4}, kNan, at::kFloat);
  EXPECT_TRUE(std::isnan(linear_cross_entropy(bad, w, at::zeros({1}, at::kLong)).item<float>()));
}

TEST(LinearCrossEntropy, RefusesWhatDoesNotFit) {
  const at::Tensor h = at::zeros({2, 4}), w = at::zeros({5, 4});
  EXPECT_THROW(linear_cross_entropy(h, w, at::zeros({3}, at::kLong)), c10::Error);
  EXPECT_THROW(linear_cross_entropy(h, w, at::zeros({2})), c10::Error);
  EXPECT_THROW(linear_cross_entropy(h, at::zeros({5, 3}), at::zeros({2}, at::kLong)), c10::Error);
}

}  // namespace
}  // namespace ratchet::trainer::ops
