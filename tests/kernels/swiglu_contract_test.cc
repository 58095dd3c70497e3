// What the launchers refuse, one test a rule. No GPU is needed (kernels/reference/addresses.h).

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "kernels/reference/addresses.h"
#include "kernels/span.h"
#include "kernels/swiglu.h"

namespace ratchet::kernels {
namespace {

constexpr int64_t kT = 4;
constexpr int64_t kF = 64;
constexpr int64_t kStride = 80;

template <class Element>
class SwigluContract : public ::testing::Test {
 protected:
  static SwigluForwardArgs<Element> forward() {
    SwigluForwardArgs<Element> args;
    args.gate_TF = at<Element>(0x10000);
    args.up_TF = at<Element>(0x20000);
    args.h_TF = at<Element>(0x30000);
    args.gate_stride = args.up_stride = args.h_stride = kStride;
    args.T = kT;
    args.F = kF;
    return args;
  }

  static SwigluBackwardArgs<Element> backward() {
    SwigluBackwardArgs<Element> args;
    args.dh_TF = at<Element>(0x10000);
    args.gate_TF = at<Element>(0x20000);
    args.up_TF = at<Element>(0x30000);
    args.dgate_TF = at<Element>(0x40000);
    args.dup_TF = at<Element>(0x50000);
    args.dh_stride = args.gate_stride = args.up_stride = kStride;
    args.dgate_stride = args.dup_stride = kStride;
    args.T = kT;
    args.F = kF;
    return args;
  }

  // Applies `change` to a valid set of arguments and expects a refusal.
  template <class Change>
  static void refuses_forward(const char* rule, Change change) {
    SwigluForwardArgs<Element> args = forward();
    change(args);
    EXPECT_EQ(swiglu_forward(args, nullptr), cudaErrorInvalidValue) << rule;
  }
  template <class Change>
  static void refuses_backward(const char* rule, Change change) {
    SwigluBackwardArgs<Element> args = backward();
    change(args);
    EXPECT_EQ(swiglu_backward(args, nullptr), cudaErrorInvalidValue) << rule;
  }
};

using Elements = ::testing::Types<__nv_bfloat16, float>;
TYPED_TEST_SUITE(SwigluContract, Elements);

TYPED_TEST(SwigluContract, NullPointersAreRefused) {
  this->refuses_forward("gate", [](auto& a) { a.gate_TF = nullptr; });
  this->refuses_forward("up", [](auto& a) { a.up_TF = nullptr; });
  this->refuses_forward("h", [](auto& a) { a.h_TF = nullptr; });
  this->refuses_backward("dh", [](auto& a) { a.dh_TF = nullptr; });
  this->refuses_backward("gate", [](auto& a) { a.gate_TF = nullptr; });
  this->refuses_backward("up", [](auto& a) { a.up_TF = nullptr; });
  this->refuses_backward("dgate", [](auto& a) { a.dgate_TF = nullptr; });
  this->refuses_backward("dup", [](auto& a) { a.dup_TF = nullptr; });
}

TYPED_TEST(SwigluContract, ShapesOutsideTheRangeAreRefused) {
  for (const int64_t F : {int64_t{-8}, int64_t{0}, int64_t{4}, int64_t{63}, int64_t{88},
                          (int64_t{1} << 20) + 8, std::numeric_limits<int64_t>::max()}) {
    this->refuses_forward("F", [F](auto& a) { a.F = F; });
    this->refuses_backward("F", [F](auto& a) { a.F = F; });
  }
  for (const int64_t T : {int64_t{-1}, int64_t{1} << 31, std::numeric_limits<int64_t>::max()}) {
    this->refuses_forward("T", [T](auto& a) { a.T = T; });
    this->refuses_backward("T", [T](auto& a) { a.T = T; });
  }
}

TYPED_TEST(SwigluContract, StridesOutsideTheRangeAreRefused) {
  for (const int64_t stride : {int64_t{-80}, int64_t{0}, kF - 8, kF + 4, kStrideMax + 8}) {
    this->refuses_forward("gate", [stride](auto& a) { a.gate_stride = stride; });
    this->refuses_forward("up", [stride](auto& a) { a.up_stride = stride; });
    this->refuses_forward("h", [stride](auto& a) { a.h_stride = stride; });
    this->refuses_backward("dh", [stride](auto& a) { a.dh_stride = stride; });
    this->refuses_backward("gate", [stride](auto& a) { a.gate_stride = stride; });
    this->refuses_backward("up", [stride](auto& a) { a.up_stride = stride; });
    this->refuses_backward("dgate", [stride](auto& a) { a.dgate_stride = stride; });
    this->refuses_backward("dup", [stride](auto& a) { a.dup_stride = stride; });
  }
}

TYPED_TEST(SwigluContract, MisalignedPointersAreRefused) {
  using Element = TypeParam;
  this->refuses_forward("gate", [](auto& a) { a.gate_TF = at<Element>(0x10008); });
  this->refuses_forward("up", [](auto& a) { a.up_TF = at<Element>(0x20004); });
  this->refuses_forward("h", [](auto& a) { a.h_TF = at<Element>(0x3000c); });
  this->refuses_backward("dh", [](auto& a) { a.dh_TF = at<Element>(0x10008); });
  this->refuses_backward("gate", [](auto& a) { a.gate_TF = at<Element>(0x20008); });
  this->refuses_backward("up", [](auto& a) { a.up_TF = at<Element>(0x30008); });
  this->refuses_backward("dgate", [](auto& a) { a.dgate_TF = at<Element>(0x40008); });
  this->refuses_backward("dup", [](auto& a) { a.dup_TF = at<Element>(0x50008); });
}

TYPED_TEST(SwigluContract, OverlappingOutputsAreRefused) {
  using Element = TypeParam;
  this->refuses_forward("h in gate", [](auto& a) { a.h_TF = at<Element>(0x10010); });
  this->refuses_forward("h in up", [](auto& a) { a.h_TF = at<Element>(0x20010); });
  this->refuses_forward("h over gate, other stride", [](auto& a) {
    a.h_TF = at<Element>(0x10000);
    a.h_stride = kF;
  });
  this->refuses_backward("dgate in dh", [](auto& a) { a.dgate_TF = at<Element>(0x10010); });
  this->refuses_backward("dgate in gate", [](auto& a) { a.dgate_TF = at<Element>(0x20010); });
  this->refuses_backward("dgate in up", [](auto& a) { a.dgate_TF = at<Element>(0x30010); });
  this->refuses_backward("dup in dh", [](auto& a) { a.dup_TF = at<Element>(0x10010); });
  this->refuses_backward("dup in gate", [](auto& a) { a.dup_TF = at<Element>(0x20010); });
  this->refuses_backward("dup in up", [](auto& a) { a.dup_TF = at<Element>(0x30010); });
  this->refuses_backward("dup is dgate", [](auto& a) { a.dup_TF = at<Element>(0x40000); });
  this->refuses_backward("dgate and dup both over dh", [](auto& a) {
    a.dgate_TF = at<Element>(0x10000);
    a.dup_TF = at<Element>(0x10000);
  });
}

TYPED_TEST(SwigluContract, NoRowsAreFineAndTouchNothing) {
  SwigluForwardArgs<TypeParam> args = this->forward();
  args.T = 0;
  args.gate_TF = args.up_TF = args.h_TF = nullptr;
  EXPECT_EQ(swiglu_forward(args, nullptr), cudaSuccess);
  SwigluBackwardArgs<TypeParam> grad = this->backward();
  grad.T = 0;
  grad.dh_TF = grad.gate_TF = grad.up_TF = grad.dgate_TF = grad.dup_TF = nullptr;
  EXPECT_EQ(swiglu_backward(grad, nullptr), cudaSuccess);
}

TYPED_TEST(SwigluContract, AllowedArgumentsReachTheDevice) {
  const Slab slab;
  const auto element = [&slab](uintptr_t offset) { return slab.at<TypeParam>(offset); };
  SwigluForwardArgs<TypeParam> args = this->forward();
  args.gate_TF = element(0x10000);
  args.up_TF = element(0x20000);
  args.h_TF = element(0x30000);
  EXPECT_TRUE(slab.reached(swiglu_forward(args, nullptr))) << "disjoint";
  args.h_TF = element(0x10000);
  EXPECT_TRUE(slab.reached(swiglu_forward(args, nullptr))) << "h is gate";
  args.h_TF = element(0x20000);
  EXPECT_TRUE(slab.reached(swiglu_forward(args, nullptr))) << "h is up";

  // One buffer [T, 2F] holds gate and up, and takes their gradients.
  TypeParam* fused = element(0x40000);
  SwigluBackwardArgs<TypeParam> grad = this->backward();
  grad.dh_TF = element(0x10000);
  grad.gate_TF = grad.dgate_TF = fused;
  grad.up_TF = grad.dup_TF = fused + kF;
  grad.gate_stride = grad.up_stride = grad.dgate_stride = grad.dup_stride = 2 * kF;
  EXPECT_TRUE(slab.reached(swiglu_backward(grad, nullptr))) << "halves, in place";
  grad.dgate_TF = fused + kF;
  grad.dup_TF = fused;
  EXPECT_TRUE(slab.reached(swiglu_backward(grad, nullptr))) << "halves, exchanged";
  grad.dup_TF = element(0x10000);
  grad.dup_stride = kStride;
  EXPECT_TRUE(slab.reached(swiglu_backward(grad, nullptr))) << "dup is dh";
}

}  // namespace
}  // namespace ratchet::kernels
