// What the launchers refuse, one test a rule. No GPU is needed (kernels/reference/addresses.h).

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/reference/addresses.h"
#include "kernels/rmsnorm.h"

namespace ratchet::kernels {
namespace {

constexpr int64_t kT = 4;
constexpr int64_t kD = 64;

template <class Element>
class RmsNormContract : public ::testing::Test {
 protected:
  static constexpr int64_t kTensorBytes = kT * kD * static_cast<int64_t>(sizeof(Element));

  static RmsNormForwardArgs<Element> forward() {
    RmsNormForwardArgs<Element> args;
    args.x_TD = at<Element>(0x10000);
    args.w_D = at<Element>(0x20000);
    args.y_TD = at<Element>(0x30000);
    args.rstd_T = at<float>(0x40000);
    args.T = kT;
    args.D = kD;
    args.eps = 1e-6F;
    return args;
  }

  static RmsNormBackwardArgs<Element> backward() {
    RmsNormBackwardArgs<Element> args;
    args.dy_TD = at<Element>(0x10000);
    args.x_TD = at<Element>(0x20000);
    args.w_D = at<Element>(0x30000);
    args.rstd_T = at<float>(0x40000);
    args.residual_TD = at<Element>(0x50000);
    args.dx_TD = at<Element>(0x60000);
    args.dw_D = at<float>(0x70000);
    args.workspace = at<float>(0x80000);
    args.workspace_bytes = rmsnorm_backward_workspace_bytes(kT, kD);
    args.T = kT;
    args.D = kD;
    return args;
  }

  // Applies `change` to a valid set of arguments and expects a refusal.
  template <class Change>
  static void refuses_forward(const char* rule, Change change) {
    RmsNormForwardArgs<Element> args = forward();
    change(args);
    EXPECT_EQ(rmsnorm_forward(args, nullptr), cudaErrorInvalidValue) << rule;
  }
  template <class Change>
  static void refuses_backward(const char* rule, Change change) {
    RmsNormBackwardArgs<Element> args = backward();
    change(args);
    EXPECT_EQ(rmsnorm_backward(args, nullptr), cudaErrorInvalidValue) << rule;
  }
};

using Elements = ::testing::Types<__nv_bfloat16, float>;
TYPED_TEST_SUITE(RmsNormContract, Elements);

TYPED_TEST(RmsNormContract, NullPointersAreRefused) {
  this->refuses_forward("x", [](auto& a) { a.x_TD = nullptr; });
  this->refuses_forward("w", [](auto& a) { a.w_D = nullptr; });
  this->refuses_forward("y", [](auto& a) { a.y_TD = nullptr; });
  this->refuses_backward("dy", [](auto& a) { a.dy_TD = nullptr; });
  this->refuses_backward("x", [](auto& a) { a.x_TD = nullptr; });
  this->refuses_backward("w", [](auto& a) { a.w_D = nullptr; });
  this->refuses_backward("rstd", [](auto& a) { a.rstd_T = nullptr; });
  this->refuses_backward("dx", [](auto& a) { a.dx_TD = nullptr; });
  this->refuses_backward("workspace", [](auto& a) { a.workspace = nullptr; });
}

TYPED_TEST(RmsNormContract, ShapesOutsideTheRangeAreRefused) {
  for (const int64_t D : {int64_t{-8}, int64_t{0}, int64_t{4}, int64_t{63}, int64_t{65},
                          int64_t{65544}, std::numeric_limits<int64_t>::max()}) {
    this->refuses_forward("D", [D](auto& a) { a.D = D; });
    this->refuses_backward("D", [D](auto& a) { a.D = D; });
  }
  const int64_t widest = 65536 / static_cast<int64_t>(sizeof(TypeParam));
  this->refuses_forward("D over 64 KiB", [widest](auto& a) { a.D = widest + 8; });
  for (const int64_t T : {int64_t{-1}, int64_t{1} << 31, std::numeric_limits<int64_t>::max()}) {
    this->refuses_forward("T", [T](auto& a) { a.T = T; });
    this->refuses_backward("T", [T](auto& a) { a.T = T; });
  }
}

TYPED_TEST(RmsNormContract, EpsMustBeFiniteAndNotNegative) {
  for (const float eps : {-1e-6F, std::numeric_limits<float>::infinity(), std::nanf("")}) {
    this->refuses_forward("eps", [eps](auto& a) { a.eps = eps; });
  }
}

TYPED_TEST(RmsNormContract, MisalignedPointersAreRefused) {
  using Element = TypeParam;
  this->refuses_forward("x", [](auto& a) { a.x_TD = at<Element>(0x10008); });
  this->refuses_forward("w", [](auto& a) { a.w_D = at<Element>(0x20004); });
  this->refuses_forward("y", [](auto& a) { a.y_TD = at<Element>(0x3000c); });
  this->refuses_forward("rstd", [](auto& a) { a.rstd_T = at<float>(0x40004); });
  this->refuses_backward("dy", [](auto& a) { a.dy_TD = at<Element>(0x10008); });
  this->refuses_backward("x", [](auto& a) { a.x_TD = at<Element>(0x20008); });
  this->refuses_backward("w", [](auto& a) { a.w_D = at<Element>(0x30008); });
  this->refuses_backward("rstd", [](auto& a) { a.rstd_T = at<float>(0x40008); });
  this->refuses_backward("residual", [](auto& a) { a.residual_TD = at<Element>(0x50008); });
  this->refuses_backward("dx", [](auto& a) { a.dx_TD = at<Element>(0x60008); });
  this->refuses_backward("dw", [](auto& a) { a.dw_D = at<float>(0x70008); });
  this->refuses_backward("workspace", [](auto& a) { a.workspace = at<float>(0x80008); });
}

TYPED_TEST(RmsNormContract, OverlappingOutputsAreRefused) {
  using Element = TypeParam;
  const uintptr_t last = static_cast<uintptr_t>(this->kTensorBytes) - 16;
  this->refuses_forward("y in x", [](auto& a) { a.y_TD = at<Element>(0x10010); });
  this->refuses_forward("y's end in x", [last](auto& a) { a.y_TD = at<Element>(0x10000 - last); });
  this->refuses_forward("y over w", [](auto& a) { a.y_TD = at<Element>(0x20000); });
  this->refuses_forward("rstd in y", [](auto& a) { a.rstd_T = at<float>(0x30010); });
  this->refuses_forward("rstd in x", [](auto& a) { a.rstd_T = at<float>(0x10010); });
  this->refuses_forward("rstd in w", [](auto& a) { a.rstd_T = at<float>(0x20010); });
  this->refuses_backward("dx in dy", [](auto& a) { a.dx_TD = at<Element>(0x10010); });
  this->refuses_backward("dx is x", [](auto& a) { a.dx_TD = at<Element>(0x20000); });
  this->refuses_backward("dx over w", [](auto& a) { a.dx_TD = at<Element>(0x30000); });
  this->refuses_backward("dx over rstd", [](auto& a) { a.dx_TD = at<Element>(0x40000); });
  this->refuses_backward("dx in residual", [](auto& a) { a.dx_TD = at<Element>(0x50010); });
  this->refuses_backward("dw is w", [](auto& a) { a.dw_D = at<float>(0x30000); });
  this->refuses_backward("dw in dx", [](auto& a) { a.dw_D = at<float>(0x60000); });
  this->refuses_backward("workspace is dy", [](auto& a) { a.workspace = at<float>(0x10000); });
  this->refuses_backward("workspace is dw", [](auto& a) { a.workspace = at<float>(0x70000); });
}

TYPED_TEST(RmsNormContract, WorkspaceMustBeLargeEnough) {
  this->refuses_backward("one byte short", [](auto& a) { a.workspace_bytes -= 1; });
  this->refuses_backward("negative", [](auto& a) { a.workspace_bytes = -1; });
}

TYPED_TEST(RmsNormContract, WorkspaceIsBounded) {
  EXPECT_EQ(rmsnorm_backward_workspace_bytes(0, kD), 0);
  EXPECT_EQ(rmsnorm_backward_workspace_bytes(kT, 0), 0);
  EXPECT_EQ(rmsnorm_backward_workspace_bytes(1, kD), kD * 4);
  EXPECT_EQ(rmsnorm_backward_workspace_bytes(65, kD), 2 * kD * 4);
  for (const int64_t T : {int64_t{16384}, int64_t{16385}, int64_t{1000003}, int64_t{1} << 31}) {
    EXPECT_LE(rmsnorm_backward_workspace_bytes(T, kD), 256 * kD * 4) << T;
    EXPECT_GE(rmsnorm_backward_workspace_bytes(T, kD), 128 * kD * 4) << T;
  }
}

TYPED_TEST(RmsNormContract, NoRowsAreFineAndTouchNothing) {
  RmsNormForwardArgs<TypeParam> args = this->forward();
  args.T = 0;
  args.x_TD = nullptr;
  args.y_TD = nullptr;
  EXPECT_EQ(rmsnorm_forward(args, nullptr), cudaSuccess);
  RmsNormBackwardArgs<TypeParam> grad = this->backward();
  grad.T = 0;
  grad.dw_D = nullptr;
  EXPECT_EQ(rmsnorm_backward(grad, nullptr), cudaSuccess);
}

TYPED_TEST(RmsNormContract, AllowedArgumentsReachTheDevice) {
  const Slab slab;
  const auto element = [&slab](uintptr_t offset) { return slab.at<TypeParam>(offset); };
  const auto reaches = [&slab](cudaError_t error) { return slab.reached(error); };
  RmsNormForwardArgs<TypeParam> args = this->forward();
  args.x_TD = element(0x10000);
  args.w_D = element(0x20000);
  args.y_TD = element(0x30000);
  args.rstd_T = slab.at<float>(0x40000);
  EXPECT_TRUE(reaches(rmsnorm_forward(args, nullptr))) << "disjoint";
  args.y_TD = element(0x10000);
  EXPECT_TRUE(reaches(rmsnorm_forward(args, nullptr))) << "y is x";
  args.rstd_T = nullptr;
  EXPECT_TRUE(reaches(rmsnorm_forward(args, nullptr))) << "no rstd";

  RmsNormBackwardArgs<TypeParam> grad = this->backward();
  grad.dy_TD = element(0x10000);
  grad.x_TD = element(0x20000);
  grad.w_D = element(0x30000);
  grad.rstd_T = slab.at<float>(0x40000);
  grad.residual_TD = element(0x50000);
  grad.dx_TD = element(0x60000);
  grad.dw_D = slab.at<float>(0x70000);
  grad.workspace = slab.at<float>(0x80000);
  EXPECT_TRUE(reaches(rmsnorm_backward(grad, nullptr))) << "disjoint";
  grad.dx_TD = element(0x10000);
  EXPECT_TRUE(reaches(rmsnorm_backward(grad, nullptr))) << "dx is dy";
  grad.dx_TD = element(0x50000);
  EXPECT_TRUE(reaches(rmsnorm_backward(grad, nullptr))) << "dx is residual";
  grad.residual_TD = nullptr;
  grad.dw_D = nullptr;
  grad.workspace = nullptr;
  grad.workspace_bytes = 0;
  EXPECT_TRUE(reaches(rmsnorm_backward(grad, nullptr))) << "frozen weight";
}

}  // namespace
}  // namespace ratchet::kernels
