// Global norm and AdamW on a GPU against the double reference, and bit by bit against the CPU
// operator. Arenas lie between guard bands. GTEST_SKIP where there is no GPU.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/adamw.h"
#include "kernels/reference/adamw_ref.h"
#include "kernels/reference/compare.h"
#include "kernels/reference/device_array.h"
#include "kernels/reference/tolerance.h"
#include "trainer/train/adamw.h"

namespace ratchet::kernels {
namespace {

using reference::DeviceArray;
using reference::DType;
using reference::first_outside;
using reference::OpClass;
using reference::random_elements;
using reference::same_bits;

// One, odd, prime and round counts; both sides of a thread's 8 elements, of a thread block's and of
// a block of the norm.
const std::vector<int64_t> kCounts = {1,
                                      2,
                                      3,
                                      4,
                                      7,
                                      8,
                                      9,
                                      31,
                                      1000,
                                      2047,
                                      2048,
                                      2049,
                                      kNormBlock - 1,
                                      kNormBlock,
                                      kNormBlock + 1,
                                      65521,
                                      65536,
                                      3 * kNormBlock + 5,
                                      300007};

struct Norm {
  double value = 0.0;
  bool guards_intact = true;
};

Norm run_norm(const std::vector<float>& values, cudaStream_t stream = nullptr) {
  DeviceArray<float> device(values);
  const auto N = static_cast<int64_t>(values.size());
  const int64_t bytes = global_norm_workspace_bytes(N);
  DeviceArray<double> norm(1), workspace(static_cast<size_t>(bytes / 8));
  GlobalNormArgs args;
  args.values_N = device.data();
  args.norm = norm.data();
  args.workspace = workspace.data();
  args.workspace_bytes = bytes;
  args.N = N;
  EXPECT_EQ(global_norm(args, stream), cudaSuccess);
  reference::require(cudaStreamSynchronize(stream), "global_norm");
  return {norm.read()[0],
          device.guards_intact() && norm.guards_intact() && workspace.guards_intact()};
}

TEST(GlobalNorm, MatchesTheReference) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  uint64_t seed = 300;
  for (const int64_t N : kCounts) {
    for (const float scale : {1.0F, 1e-30F, 1e30F}) {
      const auto values = random_elements<float>(static_cast<size_t>(N), ++seed, scale);
      const double exact = reference::global_norm(values);
      const Norm got = run_norm(values);
      // A sum of N positive terms, each sum off by 2^-53 at most, on both sides.
      const double allowed = exact * std::ldexp(static_cast<double>(N) + 4.0, -53);
      EXPECT_TRUE(std::fabs(got.value - exact) <= allowed)
          << "N " << N << " scale " << scale << " seed " << seed << ": " << got.value;
      EXPECT_TRUE(got.guards_intact) << "N " << N;
    }
  }
}

TEST(GlobalNorm, NothingHasNormZero) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  EXPECT_EQ(run_norm({}).value, 0.0);
}

TEST(GlobalNorm, NanAndInfinityPassThrough) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  for (const size_t place : {size_t{0}, size_t{30000}, size_t{40002}}) {
    auto values = random_elements<float>(40003, 5, 1.0F);
    values[place] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(run_norm(values).value)) << place;
    values[place] = -std::numeric_limits<float>::infinity();
    EXPECT_TRUE(std::isinf(run_norm(values).value)) << place;
  }
}

TEST(GlobalNorm, RepeatsGiveTheSameBits) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  const reference::Stream stream;
  const auto values = random_elements<float>(300007, 6, 1.0F);
  const double first = run_norm(values).value;
  for (int repeat = 0; repeat < 3; ++repeat) EXPECT_EQ(run_norm(values, stream.get()).value, first);
}

struct Arenas {
  explicit Arenas(int64_t N, uint64_t seed, float scale = 1.0F)
      : p(random_elements<float>(static_cast<size_t>(N), seed, 0.05F)),
        g(random_elements<float>(p.size(), seed + 1, scale)),
        m(random_elements<float>(p.size(), seed + 2, 0.1F * scale)),
        v(random_elements<float>(p.size(), seed + 3, 0.01F * scale * scale)) {
    for (float& value : v) value = std::fabs(value);
  }
  std::vector<float> p, g, m, v;
};

struct Step {
  std::vector<float> p, m, v;
  std::vector<__nv_bfloat16> publish;
  bool guards_intact = true;
};

struct Clip {
  double norm = -1.0;  // negative: no norm is given
  double max_norm = 0.0;
};

// Fields of the arguments that are no pointers.
AdamWArgs settings(int64_t step) {
  AdamWArgs args;
  args.step = step;
  args.learning_rate = 2e-4;
  args.weight_decay = 0.1;
  return args;
}

Step run_step(const Arenas& in, AdamWArgs args, const Clip& clip = {}, bool publish = true,
              cudaStream_t stream = nullptr) {
  DeviceArray<float> p(in.p), g(in.g), m(in.m), v(in.v);
  DeviceArray<__nv_bfloat16> copy(in.p.size());
  DeviceArray<double> norm(std::vector<double>{clip.norm});
  args.params_N = p.data();
  args.grads_N = g.data();
  args.exp_avg_N = m.data();
  args.exp_avg_sq_N = v.data();
  args.publish_N = publish ? copy.data() : nullptr;
  args.norm = clip.norm < 0.0 ? nullptr : norm.data();
  args.max_norm = clip.max_norm;
  args.N = static_cast<int64_t>(in.p.size());
  EXPECT_EQ(adamw_step(args, stream), cudaSuccess);
  reference::require(cudaStreamSynchronize(stream), "adamw_step");
  return {p.read(), m.read(), v.read(), copy.read(),
          p.guards_intact() && g.guards_intact() && m.guards_intact() && v.guards_intact() &&
              copy.guards_intact() && same_bits(g.read(), in.g)};
}

TEST(AdamW, MatchesTheReference) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  uint64_t seed = 400;
  for (const int64_t N : kCounts) {
    for (const int64_t step : {int64_t{1}, int64_t{1000}}) {
      const Arenas in(N, seed += 10);
      const AdamWArgs args = settings(step);
      const Clip clip{3.0, 1.0};
      const auto exact =
          reference::adamw_step(in.p, in.g, in.m, in.v,
                                {.step = step,
                                 .learning_rate = args.learning_rate,
                                 .weight_decay = args.weight_decay,
                                 .clip = reference::clip_factor(clip.norm, clip.max_norm)});
      const Step got = run_step(in, args, clip);
      const auto outside = [](const auto& values, const auto& want, const auto& scale) {
        return first_outside(values, want, scale, OpClass::kElement, DType::kF32, 1);
      };
      EXPECT_EQ(outside(got.p, exact.p, exact.p_scale), -1) << "p, N " << N << " seed " << seed;
      EXPECT_EQ(outside(got.m, exact.m, exact.m_scale), -1) << "m, N " << N << " seed " << seed;
      EXPECT_EQ(outside(got.v, exact.v, exact.v_scale), -1) << "v, N " << N << " seed " << seed;
      EXPECT_TRUE(got.guards_intact) << "N " << N;
      for (size_t i = 0; i < got.p.size(); ++i) {
        ASSERT_EQ(reference::widen(got.publish[i]),
                  reference::widen(reference::narrow<__nv_bfloat16>(got.p[i])))
            << "published " << i << " of " << N;
      }
    }
  }
}

// Bits are the CPU's where its compiler does not contract products and sums: on x86-64 without FMA.
#if defined(__x86_64__) && !defined(__FMA__)
TEST(AdamW, HasTheBitsOfTheCpuOperator) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  for (const float scale : {1.0F, 1e-12F, 1e12F}) {
    for (const Clip& clip : {Clip{}, Clip{5.5, 1.0}, Clip{0.5, 1.0}, Clip{0.0, 1.0}}) {
      Arenas in(100003, 500, scale);
      const AdamWArgs args = settings(7);
      const Step got = run_step(in, args, clip);
      trainer::adamw_step({.params = in.p,
                           .grads = in.g,
                           .exp_avg = in.m,
                           .exp_avg_sq = in.v,
                           .step = args.step,
                           .learning_rate = args.learning_rate,
                           .beta1 = args.beta1,
                           .beta2 = args.beta2,
                           .eps = args.eps,
                           .weight_decay = args.weight_decay,
                           .grad_scale = trainer::clip_factor(clip.norm, clip.max_norm)});
      EXPECT_TRUE(same_bits(got.p, in.p)) << "p, scale " << scale << " norm " << clip.norm;
      EXPECT_TRUE(same_bits(got.m, in.m)) << "m, scale " << scale << " norm " << clip.norm;
      EXPECT_TRUE(same_bits(got.v, in.v)) << "v, scale " << scale << " norm " << clip.norm;
    }
  }
}
#endif

TEST(AdamW, RepeatsGiveTheSameBitsWithAndWithoutTheCopy) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  const reference::Stream stream;
  const Arenas in(65521, 600);
  const Step first = run_step(in, settings(3), {2.0, 1.0});
  for (const bool publish : {true, false}) {
    const Step again = run_step(in, settings(3), {2.0, 1.0}, publish, stream.get());
    EXPECT_TRUE(same_bits(first.p, again.p));
    EXPECT_TRUE(same_bits(first.m, again.m));
    EXPECT_TRUE(same_bits(first.v, again.v));
  }
}

TEST(AdamW, NanStaysInItsElement) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  Arenas in(1003, 700);
  for (const size_t bad : {size_t{77}, size_t{1001}}) {  // in a vector, and in the tail
    in.g[bad] = std::numeric_limits<float>::quiet_NaN();
  }
  const Step got = run_step(in, settings(2));
  for (size_t i = 0; i < got.p.size(); ++i) {
    const bool hit = i == 77 || i == 1001;
    EXPECT_EQ(std::isnan(got.p[i]), hit) << i;
    EXPECT_EQ(std::isnan(got.m[i]), hit) << i;
    EXPECT_EQ(std::isnan(got.v[i]), hit) << i;
    EXPECT_EQ(std::isnan(reference::widen(got.publish[i])), hit) << i;
  }
}

// As the CPU has it: a NaN norm clips nothing, an infinite one clips all.
TEST(AdamW, NormsThatAreNoNumbers) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  const Arenas in(1003, 800);
  const Step plain = run_step(in, settings(2));
  EXPECT_TRUE(same_bits(plain.p, run_step(in, settings(2), {std::nan(""), 1.0}).p));
  Arenas still = in;
  for (float& value : still.g) value *= 0.0F;
  const Clip infinite{std::numeric_limits<double>::infinity(), 1.0};
  EXPECT_TRUE(same_bits(run_step(still, settings(2)).p, run_step(in, settings(2), infinite).p));
}

}  // namespace
}  // namespace ratchet::kernels
