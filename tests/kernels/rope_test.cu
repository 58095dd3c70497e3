// RoPE on a GPU against the double reference. Method: q and k stand in one buffer between guard
// bands, with poison where a row has other columns; every element is compared, the poison must
// stay, and the tolerance is kernels/reference/tolerance.h's. GTEST_SKIP where there is no GPU.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/reference/compare.h"
#include "kernels/reference/device_array.h"
#include "kernels/reference/rope_ref.h"
#include "kernels/reference/tolerance.h"
#include "kernels/rope.h"

namespace ratchet::kernels {
namespace {

using reference::DeviceArray;
using reference::dtype_of;
using reference::first_outside;
using reference::OpClass;
using reference::random_elements;
using reference::same_bits;
using reference::widen;
using reference::widened;

struct Case {
  int64_t T, q_heads, k_heads, K;
  int64_t rest = 0;  // columns behind q and k, as v has them
  float scale = 2.0F;
};

// Real head counts; prime, one and odd; one side without heads; the narrowest and widest heads;
// extreme magnitudes last.
const std::vector<Case> kCases = {
    {257, 32, 8, 128, 1024},
    {101, 14, 2, 64, 128},
    {37, 3, 1, 80, 8},
    {1, 1, 1, 16},
    {1009, 1, 1, 16, 8},
    {13, 5, 0, 48},
    {13, 0, 7, 96, 16},
    {7, 2, 3, 112},
    {5, 3, 2, 1008},
    {5, 3, 2, 1024, 24},
    {3, 128, 16, 128},
    {31, 4, 2, 64, 64, 1e15F},
    {31, 4, 2, 64, 64, 1e-30F},
};

template <class Element>
struct Inputs {
  Inputs(const Case& c, uint64_t seed)
      : q(random_elements<Element>(static_cast<size_t>(c.T * c.q_heads * c.K), seed, c.scale)),
        k(random_elements<Element>(static_cast<size_t>(c.T * c.k_heads * c.K), seed + 1, c.scale)),
        shape(c) {
    for (int64_t i = 0; i < c.T * c.K / 2; ++i) {
      const float angle = 3.0F * reference::uniform(seed + 2, static_cast<uint64_t>(i));
      cosine.push_back(std::cos(angle));
      sine.push_back(std::sin(angle));
    }
  }
  std::vector<Element> q, k;
  std::vector<float> cosine, sine;
  Case shape;
};

template <class Element>
struct Outputs {
  std::vector<Element> q, k;
  bool clean = true;  // guards intact, other columns untouched
  cudaError_t error = cudaSuccess;
};

template <class Element>
Outputs<Element> run(const Inputs<Element>& in, bool forward, cudaStream_t stream = nullptr) {
  const Case& c = in.shape;
  const int64_t q_width = c.q_heads * c.K, k_width = c.k_heads * c.K;
  const int64_t stride = q_width + k_width + c.rest;
  std::vector<Element> fused(static_cast<size_t>(c.T * stride),
                             reference::narrow<Element>(std::nanf("")));
  for (int64_t t = 0; t < c.T; ++t) {
    std::copy_n(in.q.begin() + t * q_width, q_width, fused.begin() + t * stride);
    std::copy_n(in.k.begin() + t * k_width, k_width, fused.begin() + t * stride + q_width);
  }
  DeviceArray<Element> buffer(fused);
  DeviceArray<float> cosine(in.cosine), sine(in.sine);
  RopeArgs<Element> args;
  args.q_THK = buffer.data();
  args.k_THK = buffer.data() + q_width;
  args.cos_TJ = cosine.data();
  args.sin_TJ = sine.data();
  args.q_stride = args.k_stride = stride;
  args.T = c.T;
  args.q_heads = c.q_heads;
  args.k_heads = c.k_heads;
  args.K = c.K;
  Outputs<Element> out;
  out.error = forward ? rope_forward(args, stream) : rope_backward(args, stream);
  reference::require(cudaStreamSynchronize(stream), "rope");
  const std::vector<Element> got = buffer.read();
  for (size_t i = 0; i < got.size(); ++i) {
    const int64_t column = static_cast<int64_t>(i) % stride;
    if (column < q_width) {
      out.q.push_back(got[i]);
    } else if (column < q_width + k_width) {
      out.k.push_back(got[i]);
    } else {
      out.clean = out.clean && std::isnan(widen(got[i]));
    }
  }
  out.clean = out.clean && buffer.guards_intact() && cosine.guards_intact() && sine.guards_intact();
  return out;
}

template <class Element>
void check_against_reference() {
  uint64_t seed = 200;
  for (const Case& c : kCases) {
    const Inputs<Element> in(c, seed += 10);
    for (const bool forward : {true, false}) {
      const Outputs<Element> got = run(in, forward);
      ASSERT_EQ(got.error, cudaSuccess) << "T " << c.T << " K " << c.K;
      EXPECT_TRUE(got.clean) << "T " << c.T << " K " << c.K;
      const auto outside = [&](const std::vector<Element>& out, const std::vector<Element>& x,
                               int64_t heads) {
        if (heads == 0) return int64_t{-1};
        const auto exact =
            reference::rope(widened(x), in.cosine, in.sine, static_cast<size_t>(heads),
                            static_cast<size_t>(c.K), forward ? 1.0 : -1.0);
        return first_outside(out, exact.y_THK, exact.scale_THK, OpClass::kElement,
                             dtype_of<Element>(), 1);
      };
      EXPECT_EQ(outside(got.q, in.q, c.q_heads), -1)
          << "q, T " << c.T << " K " << c.K << " forward " << forward << " seed " << seed;
      EXPECT_EQ(outside(got.k, in.k, c.k_heads), -1)
          << "k, T " << c.T << " K " << c.K << " forward " << forward << " seed " << seed;
    }
  }
}

TEST(Rope, MatchesTheReferenceBf16) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_against_reference<__nv_bfloat16>();
}

TEST(Rope, MatchesTheReferenceF32) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_against_reference<float>();
}

// Separate buffers with strides of their own give the bits of the fused one.
TEST(Rope, SeparateBuffersGiveTheSameBits) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  const Case c{29, 6, 2, 64, 8};
  const Inputs<float> in(c, 5);
  const Outputs<float> fused = run(in, true);
  DeviceArray<float> q(in.q), k(in.k), cosine(in.cosine), sine(in.sine);
  RopeArgs<float> args;
  args.q_THK = q.data();
  args.k_THK = k.data();
  args.cos_TJ = cosine.data();
  args.sin_TJ = sine.data();
  args.q_stride = c.q_heads * c.K;
  args.k_stride = c.k_heads * c.K;
  args.T = c.T;
  args.q_heads = c.q_heads;
  args.k_heads = c.k_heads;
  args.K = c.K;
  ASSERT_EQ(rope_forward(args, nullptr), cudaSuccess);
  EXPECT_TRUE(same_bits(q.read(), fused.q));
  EXPECT_TRUE(same_bits(k.read(), fused.k));
}

template <class Element>
void check_repeat() {
  const reference::Stream stream;
  for (const Case& c : {Case{2003, 8, 2, 64, 128}, Case{101, 3, 1, 80, 8}}) {
    const Inputs<Element> in(c, 7);
    for (const bool forward : {true, false}) {
      const Outputs<Element> first = run(in, forward);
      for (int repeat = 0; repeat < 3; ++repeat) {
        const Outputs<Element> again = run(in, forward, stream.get());
        EXPECT_TRUE(same_bits(first.q, again.q)) << "q, K " << c.K;
        EXPECT_TRUE(same_bits(first.k, again.k)) << "k, K " << c.K;
      }
    }
  }
}

TEST(Rope, RepeatsGiveTheSameBits) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_repeat<__nv_bfloat16>();
  check_repeat<float>();
}

template <class Element>
void check_nan() {
  constexpr int64_t kK = 64;
  const Case c{5, 4, 2, kK};
  Inputs<Element> in(c, 9);
  const Outputs<Element> clean = run(in, true);
  const size_t bad = (2 * 4 + 1) * kK + 7;  // token 2, head 1, column 7: its partner is column 39
  in.q[bad] = reference::narrow<Element>(std::numeric_limits<float>::quiet_NaN());
  const Outputs<Element> got = run(in, true);
  for (size_t i = 0; i < got.q.size(); ++i) {
    const bool hit = i == bad || i == bad + kK / 2;
    EXPECT_EQ(std::isnan(widen(got.q[i])), hit) << i;
    if (!hit) {
      EXPECT_EQ(widen(got.q[i]), widen(clean.q[i])) << i;
    }
  }
  EXPECT_TRUE(same_bits(got.k, clean.k));
}

TEST(Rope, NanStaysInItsPair) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_nan<__nv_bfloat16>();
  check_nan<float>();
}

// 2^31 elements and a little: offsets must be 64-bit. The last token alone must give its bits.
TEST(Rope, OffsetsPastTwoToTheThirtyOne) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  constexpr int64_t kK = 64, kStride = 1 << 20;
  constexpr int64_t kT = (int64_t{1} << 31) / kStride + 3;
  const Inputs<__nv_bfloat16> last(Case{1, 1, 0, kK}, 11);
  const auto want = run(last, true);
  __nv_bfloat16* q = nullptr;
  reference::require(cudaMalloc(&q, kT * kStride * sizeof(__nv_bfloat16)), "cudaMalloc");
  reference::require(cudaMemset(q, 0, kT * kStride * sizeof(__nv_bfloat16)), "cudaMemset");
  __nv_bfloat16* row = q + (kT - 1) * kStride;
  reference::require(cudaMemcpy(row, last.q.data(), kK * 2, cudaMemcpyHostToDevice), "cudaMemcpy");
  std::vector<float> cosines(static_cast<size_t>((kT - 1) * kK / 2), 1.0F), sines(cosines);
  cosines.insert(cosines.end(), last.cosine.begin(), last.cosine.end());
  sines.insert(sines.end(), last.sine.begin(), last.sine.end());
  DeviceArray<float> cosine(cosines), sine(sines);
  RopeArgs<__nv_bfloat16> args;
  args.q_THK = q;
  args.cos_TJ = cosine.data();
  args.sin_TJ = sine.data();
  args.q_stride = kStride;
  args.T = kT;
  args.q_heads = 1;
  args.K = kK;
  EXPECT_EQ(rope_forward(args, nullptr), cudaSuccess);
  std::vector<__nv_bfloat16> got(kK);
  reference::require(cudaMemcpy(got.data(), row, kK * 2, cudaMemcpyDeviceToHost), "cudaMemcpy");
  reference::require(cudaFree(q), "cudaFree");
  EXPECT_TRUE(same_bits(got, want.q));
}

}  // namespace
}  // namespace ratchet::kernels
