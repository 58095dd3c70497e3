// SwiGLU on a GPU against the double reference. Method: every output is poisoned with NaN between
// guard bands before the launch, every element is compared, the elements between rows must keep
// their poison, and the tolerance is kernels/reference/tolerance.h's. GTEST_SKIP where there is no
// GPU.

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
#include "kernels/reference/swiglu_ref.h"
#include "kernels/reference/tolerance.h"
#include "kernels/swiglu.h"

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
  int64_t T, F;
  float gate_scale = 4.0F;
  float scale = 1.0F;
  int64_t gap = 0;  // elements between rows
};

// Typical, prime, one and odd row counts; widths at and just past the edges of a block in at least
// one of the two types; gates in the tail of the exponential; extreme magnitudes last.
const std::vector<Case> kCases = {
    {257, 14336},
    {512, 4096},
    {1, 8},
    {1, 4096},
    {4099, 8},
    {7, 24},
    {101, 64, 4.0F, 1.0F, 8},
    {37, 72, 4.0F, 1.0F, 24},
    {33, 1016},
    {33, 1024},
    {33, 1032},
    {19, 2048, 4.0F, 1.0F, 16},
    {19, 2056},
    {5, 11008, 4.0F, 1.0F, 64},
    {3, 65544},
    {61, 776, 20.0F},
    {61, 776, 120.0F},
    {9, 768, 4.0F, 1e15F},
    {9, 768, 4.0F, 1e-30F},
    {9, 768, 1e-30F, 1.0F},
};

template <class Element>
constexpr OpClass op_class() {
  return sizeof(Element) == 2 ? OpClass::kFastExp : OpClass::kElement;
}

template <class Element>
struct Inputs {
  Inputs(const Case& c, uint64_t seed)
      : gate(random_elements<Element>(static_cast<size_t>(c.T * c.F), seed, c.gate_scale)),
        up(random_elements<Element>(gate.size(), seed + 1, c.scale)),
        dh(random_elements<Element>(gate.size(), seed + 2, c.scale)),
        T(c.T),
        F(c.F),
        stride(c.F + c.gap) {}
  std::vector<Element> gate, up, dh;
  int64_t T, F, stride;
};

// Dense rows laid out `stride` apart from element `first` on; the rest is poison.
template <class Element>
std::vector<Element> spread(const std::vector<Element>& dense, int64_t F, int64_t stride,
                            int64_t first = 0) {
  const int64_t rows = static_cast<int64_t>(dense.size()) / F;
  std::vector<Element> out(static_cast<size_t>(rows * stride),
                           reference::narrow<Element>(std::nanf("")));
  for (int64_t t = 0; t < rows; ++t) {
    std::copy_n(dense.begin() + t * F, F, out.begin() + t * stride + first);
  }
  return out;
}

template <class Element>
struct Outputs {
  std::vector<Element> h, dgate, dup;  // dense
  bool clean = true;                   // guards intact, nothing written between rows
  cudaError_t error = cudaSuccess;
};

// Takes the rows out of a strided array and looks at what lies between them.
template <class Element>
std::vector<Element> gather(const DeviceArray<Element>& array, int64_t F, int64_t stride,
                            bool& clean) {
  const std::vector<Element> all = array.read();
  std::vector<Element> dense;
  for (size_t i = 0; i < all.size(); ++i) {
    if (static_cast<int64_t>(i) % stride < F) {
      dense.push_back(all[i]);
    } else {
      clean = clean && std::isnan(widen(all[i]));
    }
  }
  clean = clean && array.guards_intact();
  return dense;
}

enum class Place { kApart, kOverGate, kOverUp, kOverDh };

template <class Element>
Outputs<Element> run_forward(const Inputs<Element>& in, Place place = Place::kApart,
                             cudaStream_t stream = nullptr) {
  DeviceArray<Element> gate(spread(in.gate, in.F, in.stride)), up(spread(in.up, in.F, in.stride));
  DeviceArray<Element> h(static_cast<size_t>(in.T * in.stride));
  DeviceArray<Element>& target = place == Place::kOverGate ? gate
                                 : place == Place::kOverUp ? up
                                                           : h;
  SwigluForwardArgs<Element> args;
  args.gate_TF = gate.data();
  args.up_TF = up.data();
  args.h_TF = target.data();
  args.gate_stride = args.up_stride = args.h_stride = in.stride;
  args.T = in.T;
  args.F = in.F;
  Outputs<Element> out;
  out.error = swiglu_forward(args, stream);
  reference::require(cudaStreamSynchronize(stream), "swiglu_forward");
  out.h = gather(target, in.F, in.stride, out.clean);
  out.clean = out.clean && gate.guards_intact() && up.guards_intact();
  return out;
}

template <class Element>
Outputs<Element> run_backward(const Inputs<Element>& in, Place dgate_place = Place::kApart,
                              Place dup_place = Place::kApart) {
  DeviceArray<Element> dh(spread(in.dh, in.F, in.stride)), gate(spread(in.gate, in.F, in.stride));
  DeviceArray<Element> up(spread(in.up, in.F, in.stride));
  DeviceArray<Element> dgate(static_cast<size_t>(in.T * in.stride));
  DeviceArray<Element> dup(static_cast<size_t>(in.T * in.stride));
  const auto target = [&](Place place, DeviceArray<Element>& apart) -> DeviceArray<Element>& {
    return place == Place::kOverGate ? gate
           : place == Place::kOverUp ? up
           : place == Place::kOverDh ? dh
                                     : apart;
  };
  SwigluBackwardArgs<Element> args;
  args.dh_TF = dh.data();
  args.gate_TF = gate.data();
  args.up_TF = up.data();
  args.dgate_TF = target(dgate_place, dgate).data();
  args.dup_TF = target(dup_place, dup).data();
  args.dh_stride = args.gate_stride = args.up_stride = in.stride;
  args.dgate_stride = args.dup_stride = in.stride;
  args.T = in.T;
  args.F = in.F;
  Outputs<Element> out;
  out.error = swiglu_backward(args, nullptr);
  reference::require(cudaDeviceSynchronize(), "swiglu_backward");
  out.dgate = gather(target(dgate_place, dgate), in.F, in.stride, out.clean);
  out.dup = gather(target(dup_place, dup), in.F, in.stride, out.clean);
  out.clean = out.clean && dh.guards_intact() && gate.guards_intact() && up.guards_intact();
  return out;
}

template <class Element>
void check_against_reference() {
  uint64_t seed = 100;
  for (const Case& c : kCases) {
    const Inputs<Element> in(c, seed += 10);
    const auto exact = reference::swiglu_forward(widened(in.gate), widened(in.up));
    const auto grads = reference::swiglu_backward(widened(in.dh), widened(in.gate), widened(in.up));
    const Outputs<Element> y = run_forward(in);
    const Outputs<Element> dx = run_backward(in);
    const auto outside = [](const auto& got, const auto& want, const auto& scale) {
      return first_outside(got, want, scale, op_class<Element>(), dtype_of<Element>(), 1);
    };
    ASSERT_EQ(y.error, cudaSuccess) << "T " << c.T << " F " << c.F;
    ASSERT_EQ(dx.error, cudaSuccess) << "T " << c.T << " F " << c.F;
    EXPECT_TRUE(y.clean && dx.clean) << "T " << c.T << " F " << c.F;
    EXPECT_EQ(outside(y.h, exact.h, exact.h_scale), -1)
        << "h, T " << c.T << " F " << c.F << " seed " << seed;
    EXPECT_EQ(outside(dx.dgate, grads.dgate, grads.dgate_scale), -1)
        << "dgate, T " << c.T << " F " << c.F << " seed " << seed;
    EXPECT_EQ(outside(dx.dup, grads.dup, grads.dup_scale), -1)
        << "dup, T " << c.T << " F " << c.F << " seed " << seed;
  }
}

TEST(Swiglu, MatchesTheReferenceBf16) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_against_reference<__nv_bfloat16>();
}

TEST(Swiglu, MatchesTheReferenceF32) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_against_reference<float>();
}

template <class Element>
void check_in_place() {
  for (const Case& c : {Case{33, 136}, Case{33, 1000, 4.0F, 1.0F, 8}, Case{5, 4096}}) {
    const Inputs<Element> in(c, 7);
    const Outputs<Element> apart = run_forward(in);
    EXPECT_TRUE(same_bits(apart.h, run_forward(in, Place::kOverGate).h)) << "h is gate, F " << c.F;
    EXPECT_TRUE(same_bits(apart.h, run_forward(in, Place::kOverUp).h)) << "h is up, F " << c.F;
    const Outputs<Element> grads = run_backward(in);
    const Place all[] = {Place::kApart, Place::kOverGate, Place::kOverUp, Place::kOverDh};
    for (const Place dgate : all) {
      for (const Place dup : all) {
        if (dgate == dup) continue;
        const Outputs<Element> placed = run_backward(in, dgate, dup);
        EXPECT_EQ(placed.error, cudaSuccess);
        EXPECT_TRUE(same_bits(grads.dgate, placed.dgate)) << "dgate in place, F " << c.F;
        EXPECT_TRUE(same_bits(grads.dup, placed.dup)) << "dup in place, F " << c.F;
      }
    }
  }
}

TEST(Swiglu, InPlaceGivesTheSameBits) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_in_place<__nv_bfloat16>();
  check_in_place<float>();
}

// gate and up as the halves of one [T, 2F] buffer, their gradients written over them.
template <class Element>
void check_fused_halves() {
  for (const int64_t F : {int64_t{8}, int64_t{344}, int64_t{4096}}) {
    const Inputs<Element> in(Case{29, F}, 11);
    const Outputs<Element> want = run_backward(in);
    std::vector<Element> both = spread(in.gate, F, 2 * F);
    const std::vector<Element> right = spread(in.up, F, 2 * F, F);
    for (size_t i = 0; i < both.size(); ++i) {
      if (static_cast<int64_t>(i) % (2 * F) >= F) both[i] = right[i];
    }
    DeviceArray<Element> fused(both), dh(in.dh);
    SwigluBackwardArgs<Element> args;
    args.dh_TF = dh.data();
    args.gate_TF = args.dgate_TF = fused.data();
    args.up_TF = args.dup_TF = fused.data() + F;
    args.dh_stride = F;
    args.gate_stride = args.up_stride = args.dgate_stride = args.dup_stride = 2 * F;
    args.T = in.T;
    args.F = F;
    ASSERT_EQ(swiglu_backward(args, nullptr), cudaSuccess);
    const std::vector<Element> got = fused.read();
    std::vector<Element> dgate, dup;
    for (size_t i = 0; i < got.size(); ++i) {
      (static_cast<int64_t>(i) % (2 * F) < F ? dgate : dup).push_back(got[i]);
    }
    EXPECT_TRUE(fused.guards_intact() && same_bits(dgate, want.dgate)) << "dgate, F " << F;
    EXPECT_TRUE(same_bits(dup, want.dup)) << "dup, F " << F;
  }
}

TEST(Swiglu, HalvesOfOneBufferGiveTheSameBits) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_fused_halves<__nv_bfloat16>();
  check_fused_halves<float>();
}

template <class Element>
void check_repeat() {
  const reference::Stream stream;
  for (const Case& c : {Case{20011, 128}, Case{515, 4104}}) {
    const Inputs<Element> in(c, 13);
    const Outputs<Element> first = run_forward(in);
    const Outputs<Element> grads = run_backward(in);
    for (int repeat = 0; repeat < 3; ++repeat) {
      EXPECT_TRUE(same_bits(first.h, run_forward(in, Place::kApart, stream.get()).h))
          << "F " << c.F;
      const Outputs<Element> again = run_backward(in);
      EXPECT_TRUE(same_bits(grads.dgate, again.dgate)) << "dgate, F " << c.F;
      EXPECT_TRUE(same_bits(grads.dup, again.dup)) << "dup, F " << c.F;
    }
  }
}

TEST(Swiglu, RepeatsGiveTheSameBits) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_repeat<__nv_bfloat16>();
  check_repeat<float>();
}

// A NaN in any input reaches the outputs that use it, at its own place and nowhere else.
template <class Element>
void check_nan() {
  const Inputs<Element> clean(Case{5, 512}, 17);
  const auto h = run_forward(clean).h;
  const auto grads = run_backward(clean);
  const size_t bad = 2 * 512 + 77;
  for (int which = 0; which < 3; ++which) {
    Inputs<Element> in = clean;
    std::vector<Element>& target = which == 0 ? in.gate : which == 1 ? in.up : in.dh;
    target[bad] = reference::narrow<Element>(std::numeric_limits<float>::quiet_NaN());
    const auto got_h = run_forward(in).h;
    const auto got = run_backward(in);
    for (size_t i = 0; i < h.size(); ++i) {
      const bool hit = i == bad;
      EXPECT_EQ(std::isnan(widen(got_h[i])), hit && which != 2) << "h " << i << ", in " << which;
      EXPECT_EQ(std::isnan(widen(got.dgate[i])), hit) << "dgate " << i << ", in " << which;
      EXPECT_EQ(std::isnan(widen(got.dup[i])), hit && which != 1)
          << "dup " << i << ", in " << which;
    }
  }
}

TEST(Swiglu, NanStaysInItsElement) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_nan<__nv_bfloat16>();
  check_nan<float>();
}

// 2^31 elements and a little: offsets must be 64-bit. In place, to need 4 GiB only.
TEST(Swiglu, OffsetsPastTwoToTheThirtyOne) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  constexpr int64_t kF = 4096;
  constexpr int64_t kT = (int64_t{1} << 31) / kF + 3;
  const Inputs<__nv_bfloat16> last(Case{1, kF}, 19);
  __nv_bfloat16* gate = nullptr;
  reference::require(cudaMalloc(&gate, kT * kF * sizeof(__nv_bfloat16)), "cudaMalloc");
  reference::require(cudaMemset(gate, 0, kT * kF * sizeof(__nv_bfloat16)), "cudaMemset");
  __nv_bfloat16* row = gate + (kT - 1) * kF;
  reference::require(cudaMemcpy(row, last.gate.data(), kF * 2, cudaMemcpyHostToDevice), "copy");
  // The last row of gate times itself: up is gate, and so is h.
  Inputs<__nv_bfloat16> square = last;
  square.up = square.gate;
  const auto want = run_forward(square);
  SwigluForwardArgs<__nv_bfloat16> args;
  args.gate_TF = args.up_TF = args.h_TF = gate;
  args.gate_stride = args.up_stride = args.h_stride = kF;
  args.T = kT;
  args.F = kF;
  EXPECT_EQ(swiglu_forward(args, nullptr), cudaSuccess);
  std::vector<__nv_bfloat16> got(kF);
  reference::require(cudaMemcpy(got.data(), row, kF * 2, cudaMemcpyDeviceToHost), "cudaMemcpy");
  reference::require(cudaFree(gate), "cudaFree");
  EXPECT_TRUE(same_bits(got, want.h));
}

}  // namespace
}  // namespace ratchet::kernels
