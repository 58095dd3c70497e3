// What the launchers refuse, one test a rule. No GPU is needed (kernels/reference/addresses.h).

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/nf4.h"
#include "kernels/reference/addresses.h"
#include "kernels/span.h"

namespace ratchet::kernels {
namespace {

constexpr int64_t kO = 4, kK = 96, kStride = 112, kN = kO * kK;

template <class Element>
class Nf4Contract : public ::testing::Test {
 protected:
  static Nf4QuantizeArgs<Element> quantize() {
    Nf4QuantizeArgs<Element> args;
    args.x_N = at<Element>(0x10000);
    args.codes = at<uint8_t>(0x20000);
    args.absmax_B = at<float>(0x30000);
    args.N = kN;
    return args;
  }
  static Nf4DequantizeArgs<Element> plain() {
    Nf4DequantizeArgs<Element> args;
    args.codes = at<uint8_t>(0x20000);
    args.absmax_B = at<float>(0x30000);
    args.w_OK = at<Element>(0x10000);
    args.w_stride = kStride;
    args.O = kO;
    args.K = kK;
    return args;
  }
  static Nf4DequantizeArgs<Element> nested() {
    Nf4DequantizeArgs<Element> args = plain();
    args.absmax_B = nullptr;
    args.absmax_codes_B = at<uint8_t>(0x40000);
    args.absmax_scale_S = at<float>(0x50000);
    return args;
  }

  // Applies `change` to a valid set of arguments and expects a refusal.
  template <class Change>
  static void refuses_quantize(const char* rule, Change change) {
    Nf4QuantizeArgs<Element> args = quantize();
    change(args);
    EXPECT_EQ(nf4_quantize(args, nullptr), cudaErrorInvalidValue) << rule;
  }
  template <class Change>
  static void refuses_plain(const char* rule, Change change) {
    Nf4DequantizeArgs<Element> args = plain();
    change(args);
    EXPECT_EQ(nf4_dequantize(args, nullptr), cudaErrorInvalidValue) << rule;
  }
  template <class Change>
  static void refuses_nested(const char* rule, Change change) {
    Nf4DequantizeArgs<Element> args = nested();
    change(args);
    EXPECT_EQ(nf4_dequantize(args, nullptr), cudaErrorInvalidValue) << rule;
  }
};

using Elements = ::testing::Types<__nv_bfloat16, float>;
TYPED_TEST_SUITE(Nf4Contract, Elements);

TYPED_TEST(Nf4Contract, NullPointersAreRefused) {
  this->refuses_quantize("x", [](auto& a) { a.x_N = nullptr; });
  this->refuses_quantize("codes", [](auto& a) { a.codes = nullptr; });
  this->refuses_quantize("absmax", [](auto& a) { a.absmax_B = nullptr; });
  this->refuses_plain("codes", [](auto& a) { a.codes = nullptr; });
  this->refuses_plain("w", [](auto& a) { a.w_OK = nullptr; });
  this->refuses_plain("no absmax at all", [](auto& a) { a.absmax_B = nullptr; });
  this->refuses_nested("absmax_codes", [](auto& a) { a.absmax_codes_B = nullptr; });
  this->refuses_nested("absmax_scale", [](auto& a) { a.absmax_scale_S = nullptr; });
}

TYPED_TEST(Nf4Contract, BothKindsOfAbsmaxAreRefused) {
  this->refuses_plain("codes", [](auto& a) { a.absmax_codes_B = at<uint8_t>(0x40000); });
  this->refuses_plain("scale", [](auto& a) { a.absmax_scale_S = at<float>(0x50000); });
  this->refuses_nested("absmax", [](auto& a) { a.absmax_B = at<float>(0x30000); });
}

TYPED_TEST(Nf4Contract, ShapesOutsideTheRangeAreRefused) {
  for (const int64_t N : {int64_t{-32}, int64_t{16}, int64_t{65}, (int64_t{1} << 40) + 32,
                          std::numeric_limits<int64_t>::max()}) {
    this->refuses_quantize("N", [N](auto& a) { a.N = N; });
  }
  for (const int64_t K : {int64_t{-32}, int64_t{0}, int64_t{80}, int64_t{97}, int64_t{128},
                          (int64_t{1} << 20) + 32, std::numeric_limits<int64_t>::max()}) {
    this->refuses_plain("K", [K](auto& a) { a.K = K; });
  }
  for (const int64_t O : {int64_t{-1}, int64_t{1} << 31, std::numeric_limits<int64_t>::max()}) {
    this->refuses_plain("O", [O](auto& a) { a.O = O; });
  }
  this->refuses_plain("tiles", [](auto& a) {
    a.O = int64_t{1} << 30;
    a.K = a.w_stride = 2048;
  });
  for (const int64_t stride : {int64_t{-112}, int64_t{0}, kK - 8, kK + 4, kStrideMax + 8}) {
    this->refuses_plain("stride", [stride](auto& a) { a.w_stride = stride; });
  }
  this->refuses_nested("mean", [](auto& a) { a.absmax_mean = std::nanf(""); });
}

TYPED_TEST(Nf4Contract, MisalignedPointersAreRefused) {
  using Element = TypeParam;
  this->refuses_quantize("x", [](auto& a) { a.x_N = at<Element>(0x10008); });
  this->refuses_quantize("codes", [](auto& a) { a.codes = at<uint8_t>(0x20001); });
  this->refuses_quantize("absmax", [](auto& a) { a.absmax_B = at<float>(0x30004); });
  this->refuses_plain("codes", [](auto& a) { a.codes = at<uint8_t>(0x20008); });
  this->refuses_plain("absmax", [](auto& a) { a.absmax_B = at<float>(0x30008); });
  this->refuses_plain("w", [](auto& a) { a.w_OK = at<Element>(0x10008); });
  this->refuses_nested("absmax_codes", [](auto& a) { a.absmax_codes_B = at<uint8_t>(0x40001); });
  this->refuses_nested("absmax_scale", [](auto& a) { a.absmax_scale_S = at<float>(0x50004); });
}

TYPED_TEST(Nf4Contract, OverlapIsRefused) {
  using Element = TypeParam;
  this->refuses_quantize("codes in x", [](auto& a) { a.codes = at<uint8_t>(0x10010); });
  this->refuses_quantize("absmax in x", [](auto& a) { a.absmax_B = at<float>(0x10010); });
  this->refuses_quantize("absmax in codes", [](auto& a) { a.absmax_B = at<float>(0x20010); });
  this->refuses_plain("w over codes", [](auto& a) { a.w_OK = at<Element>(0x20000); });
  this->refuses_plain("w over absmax", [](auto& a) { a.w_OK = at<Element>(0x30000); });
  this->refuses_nested("w over absmax_codes", [](auto& a) { a.w_OK = at<Element>(0x40000); });
  this->refuses_nested("w over absmax_scale", [](auto& a) { a.w_OK = at<Element>(0x50000); });
}

TYPED_TEST(Nf4Contract, NothingToDoIsFineAndTouchesNothing) {
  Nf4QuantizeArgs<TypeParam> empty;
  EXPECT_EQ(nf4_quantize(empty, nullptr), cudaSuccess);
  Nf4DequantizeArgs<TypeParam> args;
  args.K = args.w_stride = 64;
  EXPECT_EQ(nf4_dequantize(args, nullptr), cudaSuccess);
}

TYPED_TEST(Nf4Contract, AllowedArgumentsReachTheDevice) {
  const Slab slab;
  Nf4QuantizeArgs<TypeParam> in = this->quantize();
  in.x_N = slab.at<TypeParam>(0x10000);
  in.codes = slab.at<uint8_t>(0x20000);
  in.absmax_B = slab.at<float>(0x30000);
  EXPECT_TRUE(slab.reached(nf4_quantize(in, nullptr))) << "quantize";
  Nf4DequantizeArgs<TypeParam> args = this->plain();
  args.codes = in.codes;
  args.absmax_B = in.absmax_B;
  args.w_OK = slab.at<TypeParam>(0x60000);
  EXPECT_TRUE(slab.reached(nf4_dequantize(args, nullptr))) << "plain";
  args.absmax_B = nullptr;
  args.absmax_codes_B = slab.at<uint8_t>(0x40000);
  args.absmax_scale_S = slab.at<float>(0x50000);
  args.absmax_mean = 0.5F;
  EXPECT_TRUE(slab.reached(nf4_dequantize(args, nullptr))) << "nested";
}

}  // namespace
}  // namespace ratchet::kernels
