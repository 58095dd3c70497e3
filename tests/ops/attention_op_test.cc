#include "trainer/ops/attention_op.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/ops/op_checks.h"

namespace ratchet::trainer::ops {
namespace {

using testing::expect_gradients;
using testing::expect_within_twice;
using testing::max_error;
using testing::randn;
using testing::same_bits;

struct Inputs {
  at::Tensor q, k, v;
};

Inputs inputs(int64_t tokens, int64_t heads, int64_t kv_heads, int64_t head_dim,
              at::ScalarType dtype = at::kDouble) {
  return {randn({tokens, heads, head_dim}, 1, dtype), randn({tokens, kv_heads, head_dim}, 2, dtype),
          randn({tokens, kv_heads, head_dim}, 3, dtype)};
}

// The definition in attention_op.h, one row and head at a time.
at::Tensor reference(const Inputs& in, const std::vector<int32_t>& offsets, int64_t window) {
  at::Tensor out = at::zeros_like(in.q);
  const int64_t group = in.q.size(1) / in.k.size(1);
  const double scale = 1.0 / std::sqrt(static_cast<double>(in.q.size(2)));
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    for (int64_t i = offsets[s]; i < offsets[s + 1]; ++i) {
      const int64_t first = window > 0 ? std::max<int64_t>(offsets[s], i - window + 1) : offsets[s];
      for (int64_t h = 0; h < in.q.size(1); ++h) {
        const at::Tensor keys = in.k.select(1, h / group).narrow(0, first, i - first + 1);
        const at::Tensor values = in.v.select(1, h / group).narrow(0, first, i - first + 1);
        const at::Tensor p = at::softmax(at::matmul(keys, in.q[i][h]) * scale, 0);
        out[i][h].copy_(at::matmul(p, values));
      }
    }
  }
  return out;
}

at::Tensor run(const Inputs& in, const std::vector<int32_t>& offsets, int64_t window) {
  return attention(in.q, in.k, in.v, make_attention_plan(offsets, at::kCPU), window);
}

struct Case {
  std::vector<int32_t> offsets;
  int64_t heads, kv_heads, window;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {{0, 1}, 1, 1, 0},                 // one token
      {{0, 37}, 4, 4, 0},                // no groups
      {{0, 37}, 6, 2, 0},                // groups form the batch
      {{0, 9, 18, 27}, 6, 2, 0},         // equal segments form the batch
      {{0, 5, 5, 10, 31, 32}, 4, 1, 0},  // ragged, one empty
      {{0, 41}, 4, 2, 7},                // window shorter than the segment
      {{0, 41}, 4, 2, 1},                // each token sees itself
      {{0, 9, 18, 50}, 4, 2, 9},         // window as long as two of the segments
      {{0, 300}, 2, 1, 5},               // several windowed pieces
      {{0, 300}, 2, 2, 150},
  };
  return all;
}

TEST(Attention, EqualsItsDefinition) {
  for (size_t c = 0; c < cases().size(); ++c) {
    const Case& test = cases()[c];
    const Inputs in = inputs(test.offsets.back(), test.heads, test.kv_heads, 6);
    const at::Tensor exact = reference(in, test.offsets, test.window);
    EXPECT_LE(max_error(run(in, test.offsets, test.window), exact), 1e-13) << "case " << c;
    const AttentionPlan plan = make_attention_plan(test.offsets, at::kCPU);
    EXPECT_LE(max_error(attention_by_products(in.q, in.k, in.v, plan, test.window), exact), 1e-13)
        << "case " << c;
  }
}

TEST(Attention, IsAsExactAsProductsInFp32AndBf16) {
  const std::vector<int32_t> offsets = {0, 60, 120, 131};
  const AttentionPlan plan = make_attention_plan(offsets, at::kCPU);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Inputs in = inputs(131, 6, 2, 16, dtype);
    const Inputs wide = {in.q.to(at::kDouble), in.k.to(at::kDouble), in.v.to(at::kDouble)};
    expect_within_twice(run(in, offsets, 0), attention_by_products(in.q, in.k, in.v, plan, 0),
                        reference(wide, offsets, 0), dtype == at::kFloat ? 2e-6 : 1e-3);
  }
}

TEST(Attention, HasTheGradientsOfItsDefinition) {
  for (const Case& test :
       std::vector<Case>{{{0, 7}, 4, 2, 0}, {{0, 3, 6, 7}, 4, 2, 0}, {{0, 7}, 2, 1, 3}}) {
    const AttentionPlan plan = make_attention_plan(test.offsets, at::kCPU);
    const Inputs in = inputs(test.offsets.back(), test.heads, test.kv_heads, 4);
    const auto f = [&](const auto& x) { return attention(x[0], x[1], x[2], plan, test.window); };
    const auto products = [&](const auto& x) {
      return attention_by_products(x[0], x[1], x[2], plan, test.window);
    };
    expect_gradients(f, {in.q, in.k, in.v});
    expect_gradients(products, {in.q, in.k, in.v});
  }
}

TEST(Attention, GradientsOfManyWindowedPiecesEqualTheProducts) {
  const std::vector<int32_t> offsets = {0, 300, 421};
  const AttentionPlan plan = make_attention_plan(offsets, at::kCPU);
  const auto gradients = [&](auto f) {
    Inputs in = inputs(421, 4, 2, 8);
    in.q.set_requires_grad(true);
    in.k.set_requires_grad(true);
    in.v.set_requires_grad(true);
    f(in.q, in.k, in.v, plan, int64_t{33}).backward(randn({421, 4, 8}, 5));
    return std::vector<at::Tensor>{in.q.grad(), in.k.grad(), in.v.grad()};
  };
  // The definition again, as one dense product under autograd.
  const auto dense = [](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const AttentionPlan&, int64_t window) {
    const at::Tensor t = at::arange(421, at::kLong);
    const at::Tensor distance = t.unsqueeze(1) - t;
    const at::Tensor same = t.ge(300).unsqueeze(1).eq(t.ge(300));
    const at::Tensor seen = distance.ge(0).logical_and(distance.lt(window)).logical_and(same);
    const at::Tensor keys = k.repeat_interleave(2, 1).permute({1, 2, 0});
    const at::Tensor values = v.repeat_interleave(2, 1).permute({1, 0, 2});
    const at::Tensor scores = at::matmul(q.permute({1, 0, 2}), keys) / std::sqrt(8.0);
    const at::Tensor p = at::softmax(
        scores.masked_fill(seen.logical_not(), -std::numeric_limits<double>::infinity()), 2);
    return at::matmul(p, values).permute({1, 0, 2});
  };
  const auto ours = gradients(attention), products = gradients(attention_by_products);
  const auto exact = gradients(dense);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_LE(max_error(ours[i], exact[i]), 1e-12) << i;
    EXPECT_LE(max_error(products[i], exact[i]), 1e-12) << i;
  }
}

TEST(Attention, SegmentsDoNotSeeEachOther) {
  Inputs in = inputs(20, 2, 1, 8, at::kFloat);
  const std::vector<int32_t> offsets = {0, 8, 20};
  const at::Tensor before = run(in, offsets, 0);
  in.k.narrow(0, 0, 8).fill_(7.0);
  in.v.narrow(0, 0, 8).fill_(-3.0);
  EXPECT_TRUE(same_bits(run(in, offsets, 0).narrow(0, 8, 12), before.narrow(0, 8, 12)));
}

TEST(Attention, PassesANanInAKeyToTheRowsThatSeeIt) {
  Inputs in = inputs(6, 1, 1, 8, at::kFloat);
  in.k[2][0][3].fill_(std::numeric_limits<double>::quiet_NaN());
  const at::Tensor nan_rows = run(in, {0, 6}, 0).isnan().all(2).all(1);
  EXPECT_FALSE(nan_rows.narrow(0, 0, 2).any().item<bool>());
  EXPECT_TRUE(nan_rows.narrow(0, 2, 4).all().item<bool>());
}

TEST(Attention, TakesNoTokens) {
  EXPECT_EQ(run(inputs(0, 2, 1, 8), {0}, 0).numel(), 0);
  EXPECT_EQ(run(inputs(0, 2, 1, 8), {0, 0}, 4).numel(), 0);
}

TEST(Attention, CacheGivesTheLastRows) {
  for (const int64_t window : {0, 5, 40}) {
    for (const int64_t fresh : {1, 4, 19}) {
      const Inputs in = inputs(19, 4, 2, 8);
      const at::Tensor whole = reference(in, {0, 19}, window);
      const at::Tensor last =
          attention_over_cache(in.q.narrow(0, 19 - fresh, fresh).contiguous(), in.k, in.v, window);
      EXPECT_LE(max_error(last, whole.narrow(0, 19 - fresh, fresh)), 1e-13)
          << window << " " << fresh;
    }
  }
}

TEST(Attention, RunsTwiceToTheSameBits) {
  const std::vector<int32_t> offsets = {0, 100, 200, 331};
  const auto once = [&] {
    Inputs in = inputs(331, 6, 2, 32, at::kFloat);
    in.k.set_requires_grad(true);
    run(in, offsets, 0).backward(randn({331, 6, 32}, 4, at::kFloat));
    return in.k.grad();
  };
  EXPECT_TRUE(same_bits(once(), once()));
}

TEST(Attention, RefusesWhatDoesNotFit) {
  const Inputs in = inputs(4, 3, 2, 8);
  EXPECT_THROW(run(in, {0, 4}, 0), c10::Error);  // 3 heads do not divide by 2
  const Inputs good = inputs(4, 2, 2, 8);
  EXPECT_THROW(run(good, {0, 3}, 0), c10::Error);
  EXPECT_THROW(make_attention_plan(std::vector<int32_t>{0, 3, 2}, at::kCPU), c10::Error);
  EXPECT_THROW(make_attention_plan(std::vector<int32_t>{1, 3}, at::kCPU), c10::Error);
}

}  // namespace
}  // namespace ratchet::trainer::ops
