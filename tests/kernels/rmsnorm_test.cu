// RMSNorm on a GPU against the double reference. Method: every output is poisoned with NaN between
// guard bands before the launch, every element is compared, inputs are fresh random values for each
// case, and the tolerance is kernels/reference/tolerance.h's. GTEST_SKIP where there is no GPU.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/reference/compare.h"
#include "kernels/reference/device_array.h"
#include "kernels/reference/rmsnorm_ref.h"
#include "kernels/reference/tolerance.h"
#include "kernels/rmsnorm.h"

namespace ratchet::kernels {
namespace {

using reference::DeviceArray;
using reference::DType;
using reference::dtype_of;
using reference::first_outside;
using reference::magnitudes;
using reference::OpClass;
using reference::random_elements;
using reference::same_bits;
using reference::widen;
using reference::widened;

struct Case {
  int64_t T, D;
  float scale = 1.0F;
  float eps = 1e-6F;
};

// Typical, prime, one and odd row counts; each D is at or just past the edge of a tile in at least
// one of the two types; extreme magnitudes last.
const std::vector<Case> kCases = {
    {512, 4096},      {1024, 2048},
    {4099, 128},      {1, 8},
    {1, 4096},        {7, 8},
    {13, 40},         {101, 64},
    {37, 72},         {37, 136},
    {37, 256},        {37, 264},
    {37, 512},        {37, 520},
    {257, 1000},      {19, 1024},
    {19, 1032},       {11, 2056},
    {11, 4104},       {5, 8192},
    {5, 8200},        {3, 16384},
    {9, 768, 1e15F},  {9, 768, 1e-15F, 0.0F},
    {9, 768, 1e-30F}, {9, 768, 1.0F, 100.0F},
};

template <class Element>
struct Inputs {
  explicit Inputs(const Case& c, uint64_t seed = 1)
      : x(random_elements<Element>(static_cast<size_t>(c.T * c.D), seed, 2 * c.scale)),
        w(random_elements<Element>(static_cast<size_t>(c.D), seed + 1, 0.5F, 1.0F)),
        dy(random_elements<Element>(x.size(), seed + 2, 1.0F)),
        residual(random_elements<Element>(x.size(), seed + 3, 1.0F)),
        eps(c.eps),
        T(c.T),
        D(c.D) {
    const auto exact = reference::rmsnorm_forward(widened(x), widened(w), T, double{eps});
    for (const double value : exact.rstd_T) rstd.push_back(static_cast<float>(value));
  }
  std::vector<Element> x, w, dy, residual;
  std::vector<float> rstd;  // what backward is fed: forward's value, rounded to fp32
  float eps;
  int64_t T, D;
};

enum class Place { kApart, kOverGradient, kOverResidual };

template <class Element>
struct Outputs {
  std::vector<Element> y, dx;
  std::vector<float> rstd, dw;
  bool guards_intact = true;
  cudaError_t error = cudaSuccess;
};

template <class Element>
Outputs<Element> run_forward(const Inputs<Element>& in, Place place = Place::kApart,
                             cudaStream_t stream = nullptr) {
  DeviceArray<Element> x(in.x), w(in.w), y(in.x.size());
  DeviceArray<float> rstd(static_cast<size_t>(in.T));
  DeviceArray<Element>& target = place == Place::kApart ? y : x;
  RmsNormForwardArgs<Element> args;
  args.x_TD = x.data();
  args.w_D = w.data();
  args.y_TD = target.data();
  args.rstd_T = rstd.data();
  args.T = in.T;
  args.D = in.D;
  args.eps = in.eps;
  Outputs<Element> out;
  out.error = rmsnorm_forward(args, stream);
  reference::require(cudaStreamSynchronize(stream), "rmsnorm_forward");
  out.y = target.read();
  out.rstd = rstd.read();
  out.guards_intact =
      x.guards_intact() && w.guards_intact() && y.guards_intact() && rstd.guards_intact();
  return out;
}

template <class Element>
Outputs<Element> run_backward(const Inputs<Element>& in, bool residual, bool weight,
                              Place place = Place::kApart) {
  DeviceArray<Element> dy(in.dy), x(in.x), w(in.w), res(in.residual), dx(in.x.size());
  DeviceArray<float> rstd(in.rstd), dw(static_cast<size_t>(in.D));
  const int64_t bytes = rmsnorm_backward_workspace_bytes(in.T, in.D);
  DeviceArray<float> workspace(static_cast<size_t>(bytes / 4));
  DeviceArray<Element>& target = place == Place::kOverGradient   ? dy
                                 : place == Place::kOverResidual ? res
                                                                 : dx;
  RmsNormBackwardArgs<Element> args;
  args.dy_TD = dy.data();
  args.x_TD = x.data();
  args.w_D = w.data();
  args.rstd_T = rstd.data();
  args.residual_TD = residual ? res.data() : nullptr;
  args.dx_TD = target.data();
  args.dw_D = weight ? dw.data() : nullptr;
  args.workspace = weight ? workspace.data() : nullptr;
  args.workspace_bytes = weight ? bytes : 0;
  args.T = in.T;
  args.D = in.D;
  Outputs<Element> out;
  out.error = rmsnorm_backward(args, nullptr);
  reference::require(cudaDeviceSynchronize(), "rmsnorm_backward");
  out.dx = target.read();
  out.dw = dw.read();
  out.guards_intact = dy.guards_intact() && x.guards_intact() && w.guards_intact() &&
                      res.guards_intact() && dx.guards_intact() && rstd.guards_intact() &&
                      dw.guards_intact() && workspace.guards_intact();
  return out;
}

template <class Element>
void check_forward() {
  for (const Case& c : kCases) {
    const Inputs<Element> in(c);
    const auto exact = reference::rmsnorm_forward(widened(in.x), widened(in.w), c.T, double{c.eps});
    const Outputs<Element> got = run_forward(in);
    ASSERT_EQ(got.error, cudaSuccess) << "T " << c.T << " D " << c.D;
    EXPECT_TRUE(got.guards_intact) << "T " << c.T << " D " << c.D;
    EXPECT_EQ(first_outside(got.y, exact.y_TD, magnitudes(exact.y_TD), OpClass::kRow,
                            dtype_of<Element>(), c.D),
              -1)
        << "y, T " << c.T << " D " << c.D << " scale " << c.scale;
    EXPECT_EQ(first_outside(got.rstd, exact.rstd_T, magnitudes(exact.rstd_T), OpClass::kRow,
                            DType::kF32, c.D),
              -1)
        << "rstd, T " << c.T << " D " << c.D << " scale " << c.scale;
  }
}

template <class Element>
void check_backward(bool residual, bool weight) {
  for (const Case& c : kCases) {
    const Inputs<Element> in(c);
    const std::vector<double> rstd(in.rstd.begin(), in.rstd.end());
    const auto exact =
        reference::rmsnorm_backward(widened(in.dy), widened(in.x), widened(in.w), rstd,
                                    residual ? widened(in.residual) : std::vector<float>{});
    const Outputs<Element> got = run_backward(in, residual, weight);
    ASSERT_EQ(got.error, cudaSuccess) << "T " << c.T << " D " << c.D;
    EXPECT_TRUE(got.guards_intact) << "T " << c.T << " D " << c.D;
    EXPECT_EQ(first_outside(got.dx, exact.dx_TD, exact.dx_scale_TD, OpClass::kRow,
                            dtype_of<Element>(), c.D),
              -1)
        << "dx, T " << c.T << " D " << c.D << " scale " << c.scale;
    if (!weight) continue;
    EXPECT_EQ(
        first_outside(got.dw, exact.dw_D, exact.dw_scale_D, OpClass::kColumn, DType::kF32, c.T), -1)
        << "dw, T " << c.T << " D " << c.D << " scale " << c.scale;
  }
}

TEST(RmsNorm, ForwardMatchesTheReferenceBf16) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_forward<__nv_bfloat16>();
}

TEST(RmsNorm, ForwardMatchesTheReferenceF32) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_forward<float>();
}

TEST(RmsNorm, BackwardMatchesTheReferenceBf16) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_backward<__nv_bfloat16>(/*residual=*/false, /*weight=*/false);
  check_backward<__nv_bfloat16>(/*residual=*/true, /*weight=*/true);
}

TEST(RmsNorm, BackwardMatchesTheReferenceF32) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_backward<float>(/*residual=*/false, /*weight=*/true);
  check_backward<float>(/*residual=*/true, /*weight=*/false);
}

TEST(RmsNorm, WidestRowOfBf16) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  const Inputs<__nv_bfloat16> in(Case{3, 32768});
  const auto exact = reference::rmsnorm_forward(widened(in.x), widened(in.w), in.T, double{in.eps});
  const auto got = run_forward(in);
  ASSERT_EQ(got.error, cudaSuccess);
  EXPECT_EQ(
      first_outside(got.y, exact.y_TD, magnitudes(exact.y_TD), OpClass::kRow, DType::kBf16, in.D),
      -1);
}

template <class Element>
void check_in_place() {
  for (const Case& c : {Case{33, 128}, Case{33, 1000}, Case{33, 4096}}) {
    const Inputs<Element> in(c);
    const Outputs<Element> apart = run_forward(in);
    const Outputs<Element> over = run_forward(in, Place::kOverGradient);
    EXPECT_TRUE(same_bits(apart.y, over.y)) << "y over x, D " << c.D;
    const Outputs<Element> grads = run_backward(in, true, true);
    for (const Place place : {Place::kOverGradient, Place::kOverResidual}) {
      const Outputs<Element> placed = run_backward(in, true, true, place);
      EXPECT_TRUE(same_bits(grads.dx, placed.dx)) << "dx in place, D " << c.D;
      EXPECT_TRUE(same_bits(grads.dw, placed.dw)) << "dw beside dx in place, D " << c.D;
    }
  }
}

TEST(RmsNorm, InPlaceGivesTheSameBits) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_in_place<__nv_bfloat16>();
  check_in_place<float>();
}

template <class Element>
void check_repeat() {
  const reference::Stream stream;
  for (const Case& c : {Case{20011, 128}, Case{1031, 1000}, Case{515, 4096}}) {
    const Inputs<Element> in(c);
    const Outputs<Element> first = run_forward(in);
    const Outputs<Element> grads = run_backward(in, true, true);
    for (int repeat = 0; repeat < 3; ++repeat) {
      const Outputs<Element> again = run_forward(in, Place::kApart, stream.get());
      EXPECT_TRUE(same_bits(first.y, again.y)) << "y, D " << c.D;
      EXPECT_TRUE(same_bits(first.rstd, again.rstd)) << "rstd, D " << c.D;
      const Outputs<Element> grads_again = run_backward(in, true, true);
      EXPECT_TRUE(same_bits(grads.dx, grads_again.dx)) << "dx, D " << c.D;
      EXPECT_TRUE(same_bits(grads.dw, grads_again.dw)) << "dw, D " << c.D;
    }
  }
}

TEST(RmsNorm, RepeatsGiveTheSameBits) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  check_repeat<__nv_bfloat16>();
  check_repeat<float>();
}

// Packing, batch size and rank count change T and a row's place in it, never the row's bits.
TEST(RmsNorm, RowsDoNotDependOnTheirPlace) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  for (const int64_t D : {int64_t{128}, int64_t{512}, int64_t{4096}}) {
    const Inputs<__nv_bfloat16> many(Case{23, D});
    const auto all = run_forward(many);
    Inputs<__nv_bfloat16> one(Case{1, D});
    const auto begin = many.x.end() - D;
    one.x.assign(begin, many.x.end());
    one.w = many.w;
    const auto alone = run_forward(one);
    const std::vector<__nv_bfloat16> last(all.y.end() - D, all.y.end());
    EXPECT_TRUE(same_bits(last, alone.y)) << "D " << D;
  }
}

template <class Element>
void check_nan(float bad) {
  const Case c{5, 512};
  Inputs<Element> in(c);
  const Outputs<Element> clean = run_forward(in);
  in.x[2 * 512 + 77] = reference::narrow<Element>(bad);
  const Outputs<Element> got = run_forward(in);
  for (size_t i = 0; i < got.y.size(); ++i) {
    const float value = widen(got.y[i]);
    if (i / 512 != 2) {
      EXPECT_EQ(value, widen(clean.y[i])) << "row " << i / 512;
    } else if (std::isnan(bad)) {
      EXPECT_TRUE(std::isnan(value)) << "column " << i % 512;
    }
  }
  EXPECT_TRUE(std::isnan(widen(got.y[2 * 512 + 77]))) << "inf * 0 and NaN are both NaN";
}

TEST(RmsNorm, NanAndInfinityStayInTheirRow) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    check_nan<__nv_bfloat16>(bad);
    check_nan<float>(bad);
  }
}

TEST(RmsNorm, NoRowsGiveAZeroWeightGradient) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  const Inputs<float> in(Case{0, 1000});
  const Outputs<float> got = run_backward(in, false, true);
  ASSERT_EQ(got.error, cudaSuccess);
  EXPECT_TRUE(same_bits(got.dw, std::vector<float>(1000, 0.0F)));
}

// 2^31 elements and a little: offsets must be 64-bit. In place, to need 4 GiB only.
TEST(RmsNorm, OffsetsPastTwoToTheThirtyOne) {
  if (!reference::gpu_is_present()) GTEST_SKIP() << "no GPU";
  constexpr int64_t kD = 4096;
  constexpr int64_t kT = (int64_t{1} << 31) / kD + 3;
  const Inputs<__nv_bfloat16> last(Case{1, kD});
  const Outputs<__nv_bfloat16> alone = run_forward(last);
  __nv_bfloat16* x = nullptr;
  reference::require(cudaMalloc(&x, kT * kD * sizeof(__nv_bfloat16)), "cudaMalloc");
  reference::require(cudaMemset(x, 0, kT * kD * sizeof(__nv_bfloat16)), "cudaMemset");
  __nv_bfloat16* row = x + (kT - 1) * kD;
  reference::require(cudaMemcpy(row, last.x.data(), kD * 2, cudaMemcpyHostToDevice), "cudaMemcpy");
  DeviceArray<__nv_bfloat16> w(last.w);
  RmsNormForwardArgs<__nv_bfloat16> args;
  args.x_TD = x;
  args.w_D = w.data();
  args.y_TD = x;
  args.T = kT;
  args.D = kD;
  args.eps = last.eps;
  EXPECT_EQ(rmsnorm_forward(args, nullptr), cudaSuccess);
  std::vector<__nv_bfloat16> got(kD);
  reference::require(cudaMemcpy(got.data(), row, kD * 2, cudaMemcpyDeviceToHost), "cudaMemcpy");
  reference::require(cudaFree(x), "cudaFree");
  EXPECT_TRUE(same_bits(got, alone.y));
}

}  // namespace
}  // namespace ratchet::kernels
