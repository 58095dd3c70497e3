// What the launchers refuse, one test a rule. No GPU is needed (kernels/reference/addresses.h).

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "kernels/reference/addresses.h"
#include "kernels/rope.h"
#include "kernels/span.h"

namespace ratchet::kernels {
namespace {

constexpr int64_t kT = 4, kQHeads = 4, kKHeads = 2, kK = 32;
constexpr int64_t kStride = 256;

template <class Element>
class RopeContract : public ::testing::Test {
 protected:
  static RopeArgs<Element> valid() {
    RopeArgs<Element> args;
    args.q_THK = at<Element>(0x10000);
    args.k_THK = at<Element>(0x20000);
    args.cos_TJ = at<float>(0x30000);
    args.sin_TJ = at<float>(0x40000);
    args.q_stride = args.k_stride = kStride;
    args.T = kT;
    args.q_heads = kQHeads;
    args.k_heads = kKHeads;
    args.K = kK;
    return args;
  }

  // Applies `change` to a valid set of arguments and expects a refusal.
  template <class Change>
  static void refuses(const char* rule, Change change) {
    RopeArgs<Element> args = valid();
    change(args);
    EXPECT_EQ(rope_forward(args, nullptr), cudaErrorInvalidValue) << rule;
    EXPECT_EQ(rope_backward(args, nullptr), cudaErrorInvalidValue) << rule;
  }
};

using Elements = ::testing::Types<__nv_bfloat16, float>;
TYPED_TEST_SUITE(RopeContract, Elements);

TYPED_TEST(RopeContract, NullPointersAreRefused) {
  this->refuses("q", [](auto& a) { a.q_THK = nullptr; });
  this->refuses("k", [](auto& a) { a.k_THK = nullptr; });
  this->refuses("cos", [](auto& a) { a.cos_TJ = nullptr; });
  this->refuses("sin", [](auto& a) { a.sin_TJ = nullptr; });
}

TYPED_TEST(RopeContract, ShapesOutsideTheRangeAreRefused) {
  for (const int64_t K : {int64_t{-16}, int64_t{0}, int64_t{8}, int64_t{24}, int64_t{1040},
                          std::numeric_limits<int64_t>::max()}) {
    this->refuses("K", [K](auto& a) { a.K = K; });
  }
  for (const int64_t T : {int64_t{-1}, int64_t{1} << 31, std::numeric_limits<int64_t>::max()}) {
    this->refuses("T", [T](auto& a) { a.T = T; });
  }
  for (const int64_t heads : {int64_t{-1}, int64_t{1025}, std::numeric_limits<int64_t>::max()}) {
    this->refuses("q_heads", [heads](auto& a) { a.q_heads = heads; });
    this->refuses("k_heads", [heads](auto& a) { a.k_heads = heads; });
  }
}

TYPED_TEST(RopeContract, StridesOutsideTheRangeAreRefused) {
  for (const int64_t stride :
       {int64_t{-256}, int64_t{0}, int64_t{56}, int64_t{252}, kStrideMax + 8}) {
    this->refuses("q", [stride](auto& a) { a.q_stride = stride; });
    this->refuses("k", [stride](auto& a) { a.k_stride = stride; });
  }
}

TYPED_TEST(RopeContract, MisalignedPointersAreRefused) {
  using Element = TypeParam;
  this->refuses("q", [](auto& a) { a.q_THK = at<Element>(0x10008); });
  this->refuses("k", [](auto& a) { a.k_THK = at<Element>(0x20004); });
  this->refuses("cos", [](auto& a) { a.cos_TJ = at<float>(0x30008); });
  this->refuses("sin", [](auto& a) { a.sin_TJ = at<float>(0x4000c); });
}

TYPED_TEST(RopeContract, OverlapIsRefused) {
  using Element = TypeParam;
  this->refuses("k is q", [](auto& a) { a.k_THK = a.q_THK; });
  this->refuses("k in q's heads", [](auto& a) { a.k_THK = a.q_THK + 3 * kK; });
  this->refuses("k over q, other stride", [](auto& a) {
    a.k_THK = a.q_THK + kQHeads * kK;
    a.k_stride = kStride + 8;
  });
  this->refuses("cos in q", [](auto& a) { a.cos_TJ = at<float>(0x10010); });
  this->refuses("sin in k", [](auto& a) { a.sin_TJ = at<float>(0x20010); });
  this->refuses("q's end in sin", [](auto& a) { a.q_THK = at<Element>(0x40000 - 16); });
}

TYPED_TEST(RopeContract, NothingToDoIsFineAndTouchesNothing) {
  RopeArgs<TypeParam> args = this->valid();
  args.T = 0;
  args.q_THK = args.k_THK = nullptr;
  args.cos_TJ = args.sin_TJ = nullptr;
  EXPECT_EQ(rope_forward(args, nullptr), cudaSuccess) << "no tokens";
  args.T = kT;
  args.q_heads = args.k_heads = 0;
  args.q_stride = args.k_stride = 0;
  EXPECT_EQ(rope_backward(args, nullptr), cudaSuccess) << "no heads";
}

TYPED_TEST(RopeContract, AllowedArgumentsReachTheDevice) {
  const Slab slab;
  RopeArgs<TypeParam> args = this->valid();
  args.q_THK = slab.at<TypeParam>(0x10000);
  args.k_THK = slab.at<TypeParam>(0x20000);
  args.cos_TJ = slab.at<float>(0x30000);
  args.sin_TJ = slab.at<float>(0x40000);
  EXPECT_TRUE(slab.reached(rope_forward(args, nullptr))) << "disjoint";
  args.k_THK = args.q_THK + kQHeads * kK;
  EXPECT_TRUE(slab.reached(rope_forward(args, nullptr))) << "one fused buffer";
  args.sin_TJ = args.cos_TJ;
  EXPECT_TRUE(slab.reached(rope_backward(args, nullptr))) << "tables are only read";
  args.k_THK = nullptr;
  args.k_heads = 0;
  EXPECT_TRUE(slab.reached(rope_backward(args, nullptr))) << "q alone";
}

}  // namespace
}  // namespace ratchet::kernels
