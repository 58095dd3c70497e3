// NF4 weights: the format against the published one, the dense copy, and what layers make of it.

#include "trainer/ops/linear_weight.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/block_formats.h"
#include "tests/ops/op_checks.h"
#include "trainer/model/digest.h"
#include "trainer/ops/lora_linear_op.h"
#include "trainer/ops/nf4.h"

namespace ratchet::trainer::ops {
namespace {

using testing::expect_gradients;
using testing::max_error;
using testing::randn;
using testing::same_bits;

template <class T>
std::string sha256_of(const std::vector<T>& values) {
  return to_hex(sha256(std::as_bytes(std::span(values))));
}

// 773 blocks of values that are exact in fp32, of eight magnitudes.
std::vector<float> published_input() {
  std::vector<float> out(64 * 773);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto hash = static_cast<std::uint32_t>(i * 2654435761ULL);
    const float unit = static_cast<float>(hash >> 8U) * 0x1p-24F - 0.5F;
    out[i] = std::ldexp(unit, -static_cast<int>((i / 64) % 8));
  }
  return out;
}

// The digests are those of what bitsandbytes 0.50.2 makes of the same input (quantize_4bit, block
// 64, CPU), but for the last: its mean is a sum in fp32 whose order is not fixed, so that one is
// ours; it equals its formula (create_dynamic_map, nearest value, block 256) with our mean.
TEST(Nf4, HasTheBitsOfThePublishedFormat) {
  const std::vector<float> weights = published_input();
  std::vector<std::uint8_t> codes(weights.size() / 2);
  std::vector<float> absmax(nf4_blocks(weights.size()));
  nf4_quantize(weights, codes, absmax);
  EXPECT_EQ(sha256_of(codes), "75d6b075a214ae7aa4e1e8cdce30698a1f8481df8f1700cfef57b53cc2829957");
  EXPECT_EQ(sha256_of(absmax), "e4e54872200e1402423ebdeec2a6ab103da9d12986a5327e0883ce155aba7660");
  const Nf4Scales scales = nf4_quantize_absmax(absmax);
  EXPECT_EQ(sha256_of(scales.absmax_codes),
            "92199e47b078aaab8f806085a33d4a1593f15bf03b446a7f4ad7d3ad5f148f0e");
  EXPECT_EQ(scales.mean, 0x1.fb7bap-4F);
  EXPECT_EQ(scales.scales,
            (std::vector<float>{0x1.812118p-2F, 0x1.80e79cp-2F, 0x1.80b8e4p-2F, 0x1.7f735cp-2F}));
}

TEST(Nf4, ChoosesTheNearestOfTheSixteenValues) {
  const at::Tensor w = randn({64, 64}, 7, at::kFloat);
  const std::span<const float> values(w.const_data_ptr<float>(), 4096);
  std::vector<std::uint8_t> codes(2048);
  std::vector<float> absmax(64);
  nf4_quantize(values, codes, absmax);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint8_t pair = codes[i / 2];
    const auto code = static_cast<std::size_t>(i % 2 == 0 ? pair >> 4U : pair & 15U);
    const double x = static_cast<double>(values[i]) / static_cast<double>(absmax[i / 64]);
    double nearest = 2.0;
    for (const float value : kernels::kNf4Values) {
      nearest = std::min(nearest, std::abs(static_cast<double>(value) - x));
    }
    // The published bounds lie within 1e-7 of the middles.
    EXPECT_LE(std::abs(static_cast<double>(kernels::kNf4Values[code]) - x), nearest + 2e-7) << i;
  }
}

TEST(Nf4, ZerosShortBlocksAndNan) {
  const at::Tensor zero = quantize_nf4(at::zeros({3, 64}), at::kCPU).dense();
  EXPECT_TRUE(at::equal(zero, at::zeros({3, 64})));
  const at::Tensor odd = at::tensor({1.0F, -1.0F, 0.0F}).view({1, 3});
  EXPECT_LE(max_error(quantize_nf4(odd, at::kCPU).dense(), odd), 1e-6);
  at::Tensor w = randn({4, 64}, 8, at::kFloat);
  w[1][5].fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(quantize_nf4(w, at::kCPU).dense().isnan().any().item<bool>());
}

TEST(Nf4, TheDenseCopyIsWithinHalfAStep) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor w = randn({48, 96}, 9, dtype);
    const LinearWeight packed = quantize_nf4(w, at::kCPU);
    const at::Tensor dense = packed.dense();
    EXPECT_EQ(dense.scalar_type(), dtype);
    EXPECT_EQ(dense.sizes(), w.sizes());
    // The widest gap is 0.304 of the absmax; the 8-bit absmax adds less than a hundredth of it.
    const at::Tensor limit =
        w.to(at::kDouble).abs().view({-1, 64}).amax(1, true).mul(0.152 + 0.012);
    const at::Tensor error = (dense.to(at::kDouble) - w.to(at::kDouble)).abs().view({-1, 64});
    EXPECT_TRUE((error <= limit).all().item<bool>());
    EXPECT_LE(packed.bytes(), 48 * 96 * 0.53);
  }
}

TEST(Nf4, LoopsAndOperatorsGiveTheSameBits) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const auto& [out, in] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {1, 3}, {7, 61}, {64, 64}, {130, 257}}) {
      const LinearWeight packed = quantize_nf4(randn({out, in}, 10, dtype), at::kCPU);
      EXPECT_TRUE(same_bits(packed.dense(), nf4_dense_by_operators(*packed.blocks())))
          << out << " x " << in;
    }
  }
}

TEST(Nf4, LayersComputeAsWithTheDenseCopy) {
  const LinearWeight packed = quantize_nf4(randn({24, 40}, 11, at::kFloat), at::kCPU);
  const LinearWeight dense(packed.dense());
  const at::Tensor bias = randn({24}, 12, at::kFloat), dy = randn({9, 24}, 13, at::kFloat);
  const LoraDropout dropout{
      0.3, {17, 2, 3, 1}, {at::arange(9, at::kLong), at::zeros({9}, at::kLong)}};
  const auto results = [&](const LinearWeight& weight, bool adapted) {
    at::Tensor x = randn({9, 40}, 14, at::kFloat).set_requires_grad(true);
    at::Tensor a = randn({4, 40}, 15, at::kFloat).set_requires_grad(true);
    at::Tensor b = randn({24, 4}, 16, at::kFloat).set_requires_grad(true);
    const LoraFactors lora{.a_RI = a, .b_OR = b, .scaling = 0.5};
    const at::Tensor y =
        adapted ? lora_linear(x, weight, bias, lora, dropout) : linear(x, weight, bias);
    y.backward(dy);
    return std::vector<at::Tensor>{y.detach(), x.grad(), adapted ? a.grad() : y.detach()};
  };
  for (const bool adapted : {false, true}) {
    const auto ours = results(packed, adapted), expected = results(dense, adapted);
    for (std::size_t i = 0; i < ours.size(); ++i) {
      EXPECT_TRUE(same_bits(ours[i], expected[i])) << adapted << " " << i;
    }
  }
}

// DoRA --------------------------------------------------------------------------------------------

struct Dora {
  at::Tensor x, w, bias, a, b, m;
};

Dora dora_layer(at::ScalarType dtype = at::kDouble) {
  return {randn({5, 9}, 1, dtype), randn({6, 9}, 2, dtype), randn({6}, 3, dtype),
          randn({2, 9}, 4, dtype), randn({6, 2}, 5, dtype), randn({6}, 6, dtype)};
}

constexpr double kScaling = 1.5;

LoraFactors factors_of(const Dora& d) {
  return {d.a, d.b, kScaling, d.m, row_squares(d.w, d.a.scalar_type())};
}

// The formula as it is written, with the product of full size.
at::Tensor dora_reference(const Dora& d, const at::Tensor& norm) {
  const at::Tensor sum = d.w + kScaling * at::mm(d.b, d.a);
  return at::mm(d.x, (sum * (d.m / norm).unsqueeze(1)).t()) + d.bias;
}

TEST(Dora, NormIsThatOfTheWholeProduct) {
  const Dora d = dora_layer();
  const at::Tensor whole = (d.w + kScaling * at::mm(d.b, d.a)).norm(2, 1);
  EXPECT_LE(max_error(dora_norm(d.w, factors_of(d)), whole), 1e-12);
}

TEST(Dora, EqualsItsFormulaAndHasItsGradients) {
  const Dora d = dora_layer();
  const LoraFactors lora = factors_of(d);
  const at::Tensor norm = dora_norm(d.w, lora);
  EXPECT_LE(max_error(lora_linear(d.x, d.w, d.bias, lora, {}), dora_reference(d, norm)), 1e-12);
  // The norm takes no gradient, so central differences would see what ours rightly leaves out: the
  // comparison is with autograd over the formula at a fixed norm.
  const auto gradients = [&](bool ours) {
    Dora g = dora_layer();
    for (at::Tensor* leaf : {&g.x, &g.a, &g.b, &g.m}) leaf->set_requires_grad(true);
    const at::Tensor y =
        ours ? lora_linear(g.x, g.w, g.bias, {g.a, g.b, kScaling, g.m, lora.row_squares_O}, {})
             : dora_reference(g, norm);
    (y * randn(y.sizes(), 99)).sum().backward();
    return std::vector<at::Tensor>{g.x.grad(), g.a.grad(), g.b.grad(), g.m.grad()};
  };
  const auto ours = gradients(true), expected = gradients(false);
  for (std::size_t i = 0; i < ours.size(); ++i) {
    EXPECT_LE(max_error(ours[i], expected[i]), 1e-11) << i;
  }
}

TEST(Dora, MagnitudesOfTheNormChangeNothing) {
  Dora d = dora_layer();
  LoraFactors lora = factors_of(d);
  lora.magnitude_O = dora_norm(d.w, lora);
  LoraFactors plain = lora;
  plain.magnitude_O = at::Tensor();
  EXPECT_LE(
      max_error(lora_linear(d.x, d.w, d.bias, lora, {}), lora_linear(d.x, d.w, d.bias, plain, {})),
      1e-12);
}

TEST(Dora, Bf16IsWithinTwiceTheFormulasOwnError) {
  const Dora exact = dora_layer(at::kBFloat16);
  const auto wide = [](const at::Tensor& t) { return t.to(at::kFloat); };
  const auto exactly = [](const Dora& d) {
    const Dora g{d.x.to(at::kDouble), d.w.to(at::kDouble), d.bias.to(at::kDouble),
                 d.a.to(at::kDouble), d.b.to(at::kDouble), d.m.to(at::kDouble)};
    return dora_reference(g, (g.w + kScaling * at::mm(g.b, g.a)).norm(2, 1));
  };
  const at::Tensor ours = lora_linear(
      exact.x, exact.w, exact.bias,
      {wide(exact.a), wide(exact.b), kScaling, wide(exact.m), row_squares(exact.w, at::kFloat)},
      {});
  EXPECT_EQ(ours.scalar_type(), at::kBFloat16);
  const at::Tensor torchs =
      dora_reference(exact, (exact.w + kScaling * at::mm(exact.b, exact.a)).norm(2, 1));
  testing::expect_within_twice(ours, torchs, exactly(exact), 0.0);
}

TEST(Dora, ARowOfZerosStaysOne) {
  Dora d = dora_layer();
  d.w[2].zero_();
  d.b[2].zero_();
  d.m[2].zero_();
  const at::Tensor y = lora_linear(d.x, d.w, {}, factors_of(d), {});
  EXPECT_TRUE(at::equal(y.select(1, 2), at::zeros({5}, at::kDouble)));
}

}  // namespace
}  // namespace ratchet::trainer::ops
