// NF4 on a GPU against the reference, bit by bit: codes, absmax and weights. Outputs are poisoned
// between guard bands, the elements between rows must keep their poison. GTEST_SKIP where there is
// no GPU.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/nf4.h"
#include "kernels/reference/device_array.h"
#include "kernels/reference/nf4_ref.h"

namespace ratchet::kernels {
namespace {

using reference::DeviceArray;
using reference::narrow;
using reference::Nf4;
using reference::random_elements;
using reference::same_bits;
using reference::widen;
using reference::widened;

struct Case {
  int64_t O, K;
  int64_t gap = 0;  // elements between rows
  float scale = 0.05F;
};

// Typical, prime and one row; rows that end inside a tile, inside a block, and past a tile's edge;
// extreme magnitudes last.
const std::vector<Case> kCases = {
    {128, 4096, 64},  {31, 14336 / 8}, {1, 32},       {3, 32, 8},         {7, 96, 16},
    {1, 64},          {101, 64},       {13, 896, 32}, {5, 992},           {5, 1024},
    {5, 1056, 8},     {37, 2080},      {2, 65536, 8}, {9, 768, 0, 1e30F}, {9, 768, 0, 1e-30F},
    {9, 768, 0, 0.0F}};

template <class Element>
struct Quantized {
  Nf4 packed;
  bool guards_intact = true;
  cudaError_t error = cudaSuccess;
};

template <class Element>
Quantized<Element> run_quantize(const std::vector<Element>& x, cudaStream_t stream = nullptr) {
  DeviceArray<Element> device(x);
  DeviceArray<uint8_t> codes(x.size() / 2);
  DeviceArray<float> absmax((x.size() + 63) / 64);
  Nf4QuantizeArgs<Element> args;
  args.x_N = device.data();
  args.codes = codes.data();
  args.absmax_B = absmax.data();
  args.N = static_cast<int64_t>(x.size());
  Quantized<Element> out;
  out.error = nf4_quantize(args, stream);
  reference::require(cudaStreamSynchronize(stream), "nf4_quantize");
  out.packed = {codes.read(), absmax.read()};
  out.guards_intact = device.guards_intact() && codes.guards_intact() && absmax.guards_intact();
  return out;
}

template <class Element>
void check_quantize() {
  uint64_t seed = 900;
  for (const Case& c : kCases) {
    const auto x = random_elements<Element>(static_cast<size_t>(c.O * c.K), ++seed, c.scale);
    const Nf4 exact = reference::nf4_quantize(widened(x));
    const auto got = run_quantize(x);
    ASSERT_EQ(got.error, cudaSuccess) << "O " << c.O << " K " << c.K;
    EXPECT_TRUE(got.guards_intact) << "O " << c.O << " K " << c.K;
    EXPECT_TRUE(same_bits(got.packed.codes, exact.codes))
        << "codes, O " << c.O << " K " << c.K << " scale " << c.scale << " seed " << seed;
    EXPECT_TRUE(same_bits(got.packed.absmax_B, exact.absmax_B))
        << "absmax, O " << c.O << " K " << c.K << " scale " << c.scale << " seed " << seed;
  }
}

TEST(Nf4, QuantizeHasTheBitsOfTheReference) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_quantize<__nv_bfloat16>();
  check_quantize<float>();
}

// Weights exactly at the bounds, and one unit in the last place to either side of them.
TEST(Nf4, BoundsAreExact) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  std::vector<float> x(64, 0.0F);
  x[0] = 1.0F;
  for (size_t i = 0; i < kNf4Bounds.size(); ++i) {
    x[1 + 3 * i] = std::nextafter(kNf4Bounds[i], -2.0F);
    x[2 + 3 * i] = kNf4Bounds[i];
    x[3 + 3 * i] = std::nextafter(kNf4Bounds[i], 2.0F);
  }
  EXPECT_TRUE(same_bits(run_quantize(x).packed.codes, reference::nf4_quantize(x).codes));
}

// What dequantization reads: random codes, so that no quantizer stands between it and its test.
struct Stored {
  Stored(const Case& c, uint64_t seed) {
    const auto N = static_cast<size_t>(c.O * c.K);
    const size_t blocks = (N + 63) / 64;
    const auto bytes = [](size_t count, uint64_t with) {
      std::vector<uint8_t> out(count);
      for (size_t i = 0; i < count; ++i) {
        out[i] = static_cast<uint8_t>(128.0F * (reference::uniform(with, i) + 1.0F));
      }
      return out;
    };
    packed = Nf4{bytes(N / 2, seed), random_elements<float>(blocks, seed + 1, c.scale)};
    absmax_codes = bytes(blocks, seed + 2);
    scale = random_elements<float>((blocks + 255) / 256, seed + 3, c.scale);
    mean = c.scale * 1.3F;
  }
  Nf4 packed;
  std::vector<uint8_t> absmax_codes;
  std::vector<float> scale;
  float mean = 0.0F;
};

template <class Element>
struct Weights {
  std::vector<Element> w;  // dense
  bool clean = true;       // guards intact, nothing written between rows
  cudaError_t error = cudaSuccess;
};

template <class Element>
Weights<Element> run_dequantize(const Stored& in, const Case& c, bool nested,
                                cudaStream_t stream = nullptr) {
  const int64_t stride = c.K + c.gap;
  DeviceArray<uint8_t> codes(in.packed.codes), absmax_codes(in.absmax_codes);
  DeviceArray<float> absmax(in.packed.absmax_B), scale(in.scale);
  DeviceArray<Element> w(static_cast<size_t>(c.O * stride));
  Nf4DequantizeArgs<Element> args;
  args.codes = codes.data();
  if (nested) {
    args.absmax_codes_B = absmax_codes.data();
    args.absmax_scale_S = scale.data();
    args.absmax_mean = in.mean;
  } else {
    args.absmax_B = absmax.data();
  }
  args.w_OK = w.data();
  args.w_stride = stride;
  args.O = c.O;
  args.K = c.K;
  Weights<Element> out;
  out.error = nf4_dequantize(args, stream);
  reference::require(cudaStreamSynchronize(stream), "nf4_dequantize");
  const std::vector<Element> all = w.read();
  for (size_t i = 0; i < all.size(); ++i) {
    if (static_cast<int64_t>(i) % stride < c.K) {
      out.w.push_back(all[i]);
    } else {
      out.clean = out.clean && std::isnan(widen(all[i]));
    }
  }
  out.clean = out.clean && w.guards_intact() && codes.guards_intact() && absmax.guards_intact() &&
              absmax_codes.guards_intact() && scale.guards_intact();
  return out;
}

template <class Element>
void check_dequantize(bool nested) {
  uint64_t seed = 1000;
  for (const Case& c : kCases) {
    const Stored in(c, seed += 10);
    const std::vector<float> absmax =
        nested ? reference::nf4_nested_absmax(in.absmax_codes, in.scale, in.mean)
               : in.packed.absmax_B;
    std::vector<Element> exact;
    for (const float value : reference::nf4_dequantize(in.packed.codes, absmax)) {
      exact.push_back(narrow<Element>(value));
    }
    const Weights<Element> got = run_dequantize<Element>(in, c, nested);
    ASSERT_EQ(got.error, cudaSuccess) << "O " << c.O << " K " << c.K;
    EXPECT_TRUE(got.clean) << "O " << c.O << " K " << c.K;
    EXPECT_TRUE(same_bits(got.w, exact)) << "O " << c.O << " K " << c.K << " scale " << c.scale
                                         << " nested " << nested << " seed " << seed;
  }
}

TEST(Nf4, DequantizeHasTheBitsOfTheReferenceBf16) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_dequantize<__nv_bfloat16>(/*nested=*/false);
  check_dequantize<__nv_bfloat16>(/*nested=*/true);
}

TEST(Nf4, DequantizeHasTheBitsOfTheReferenceF32) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_dequantize<float>(/*nested=*/false);
  check_dequantize<float>(/*nested=*/true);
}

TEST(Nf4, RepeatsGiveTheSameBits) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  const reference::Stream stream;
  const Case c{251, 2080, 8};
  const Stored in(c, 7);
  const auto x = random_elements<__nv_bfloat16>(static_cast<size_t>(c.O * c.K), 8, 0.1F);
  const auto packed = run_quantize(x).packed;
  for (const bool nested : {false, true}) {
    const auto first = run_dequantize<__nv_bfloat16>(in, c, nested).w;
    for (int repeat = 0; repeat < 3; ++repeat) {
      EXPECT_TRUE(same_bits(first, run_dequantize<__nv_bfloat16>(in, c, nested, stream.get()).w));
      EXPECT_TRUE(same_bits(packed.codes, run_quantize(x, stream.get()).packed.codes));
    }
  }
}

// There and back: a NaN or an infinity is not hidden, and stays in its block.
TEST(Nf4, WhatIsNoNumberStaysInItsBlock) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  const Case c{3, 128};
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    auto x = random_elements<float>(static_cast<size_t>(c.O * c.K), 9, 1.0F);
    x[150] = bad;  // block 2
    Stored in(c, 10);
    in.packed = run_quantize(x).packed;
    EXPECT_TRUE(same_bits(in.packed.codes, reference::nf4_quantize(x).codes)) << bad;
    const auto got = run_dequantize<__nv_bfloat16>(in, c, false).w;
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(std::isfinite(widen(got[i])), i / 64 != 2) << i << ", " << bad;
    }
  }
}

}  // namespace
}  // namespace ratchet::kernels
