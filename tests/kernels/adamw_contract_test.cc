// What the launchers refuse, one test a rule. No GPU is needed (kernels/reference/addresses.h).

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/adamw.h"
#include "kernels/reference/addresses.h"

namespace ratchet::kernels {
namespace {

constexpr int64_t kN = 1003;

GlobalNormArgs norm_args() {
  GlobalNormArgs args;
  args.values_N = at<float>(0x10000);
  args.norm = at<double>(0x20000);
  args.workspace = at<double>(0x30000);
  args.workspace_bytes = global_norm_workspace_bytes(kN);
  args.N = kN;
  return args;
}

AdamWArgs step_args() {
  AdamWArgs args;
  args.params_N = at<float>(0x10000);
  args.grads_N = at<float>(0x20000);
  args.exp_avg_N = at<float>(0x30000);
  args.exp_avg_sq_N = at<float>(0x40000);
  args.publish_N = at<__nv_bfloat16>(0x50000);
  args.norm = at<double>(0x60000);
  args.max_norm = 1.0;
  args.N = kN;
  args.learning_rate = 1e-4;
  return args;
}

// Applies `change` to a valid set of arguments and expects a refusal.
template <class Change>
void refuses_norm(const char* rule, Change change) {
  GlobalNormArgs args = norm_args();
  change(args);
  EXPECT_EQ(global_norm(args, nullptr), cudaErrorInvalidValue) << rule;
}
template <class Change>
void refuses_step(const char* rule, Change change) {
  AdamWArgs args = step_args();
  change(args);
  EXPECT_EQ(adamw_step(args, nullptr), cudaErrorInvalidValue) << rule;
}

TEST(AdamWContract, NullPointersAreRefused) {
  refuses_norm("values", [](auto& a) { a.values_N = nullptr; });
  refuses_norm("norm", [](auto& a) { a.norm = nullptr; });
  refuses_norm("workspace", [](auto& a) { a.workspace = nullptr; });
  refuses_step("params", [](auto& a) { a.params_N = nullptr; });
  refuses_step("grads", [](auto& a) { a.grads_N = nullptr; });
  refuses_step("exp_avg", [](auto& a) { a.exp_avg_N = nullptr; });
  refuses_step("exp_avg_sq", [](auto& a) { a.exp_avg_sq_N = nullptr; });
}

TEST(AdamWContract, CountsOutsideTheRangeAreRefused) {
  for (const int64_t N :
       {int64_t{-1}, (int64_t{1} << 40) + 1, std::numeric_limits<int64_t>::max()}) {
    refuses_norm("N", [N](auto& a) {
      a.N = N;
      a.workspace_bytes = std::numeric_limits<int64_t>::max();
    });
    refuses_step("N", [N](auto& a) { a.N = N; });
  }
}

TEST(AdamWContract, WorkspaceMustBeLargeEnough) {
  refuses_norm("one byte short", [](auto& a) { a.workspace_bytes -= 1; });
  EXPECT_EQ(global_norm_workspace_bytes(0), 0);
  EXPECT_EQ(global_norm_workspace_bytes(1), 8);
  EXPECT_EQ(global_norm_workspace_bytes(kNormBlock), 8);
  EXPECT_EQ(global_norm_workspace_bytes(kNormBlock + 1), 16);
}

TEST(AdamWContract, ScalarsOutsideTheRangeAreRefused) {
  refuses_step("step", [](auto& a) { a.step = 0; });
  for (const double bad : {-0.1, 1.0, std::nan("")}) {
    refuses_step("beta1", [bad](auto& a) { a.beta1 = bad; });
    refuses_step("beta2", [bad](auto& a) { a.beta2 = bad; });
  }
  for (const double bad : {-1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    refuses_step("eps", [bad](auto& a) { a.eps = bad; });
    refuses_step("max_norm", [bad](auto& a) { a.max_norm = bad; });
  }
  refuses_step("learning_rate", [](auto& a) { a.learning_rate = std::nan(""); });
  refuses_step("weight_decay", [](auto& a) { a.weight_decay = std::nan(""); });
}

TEST(AdamWContract, MisalignedPointersAreRefused) {
  refuses_norm("values", [](auto& a) { a.values_N = at<float>(0x10004); });
  refuses_norm("norm", [](auto& a) { a.norm = at<double>(0x20008); });
  refuses_norm("workspace", [](auto& a) { a.workspace = at<double>(0x30008); });
  refuses_step("params", [](auto& a) { a.params_N = at<float>(0x10004); });
  refuses_step("grads", [](auto& a) { a.grads_N = at<float>(0x20008); });
  refuses_step("exp_avg", [](auto& a) { a.exp_avg_N = at<float>(0x30008); });
  refuses_step("exp_avg_sq", [](auto& a) { a.exp_avg_sq_N = at<float>(0x4000c); });
  refuses_step("publish", [](auto& a) { a.publish_N = at<__nv_bfloat16>(0x50002); });
  refuses_step("norm", [](auto& a) { a.norm = at<double>(0x60008); });
}

TEST(AdamWContract, OverlapIsRefused) {
  refuses_norm("norm in values", [](auto& a) { a.norm = at<double>(0x10010); });
  refuses_norm("norm in workspace", [](auto& a) { a.norm = at<double>(0x30000); });
  refuses_norm("workspace in values", [](auto& a) { a.workspace = at<double>(0x10010); });
  refuses_step("grads are params", [](auto& a) { a.grads_N = a.params_N; });
  refuses_step("exp_avg in params", [](auto& a) { a.exp_avg_N = a.params_N + 4; });
  refuses_step("moments are one", [](auto& a) { a.exp_avg_sq_N = a.exp_avg_N; });
  refuses_step("publish in grads", [](auto& a) { a.publish_N = at<__nv_bfloat16>(0x20010); });
  refuses_step("norm in exp_avg_sq", [](auto& a) { a.norm = at<double>(0x40010); });
}

TEST(AdamWContract, NoParametersAreFineAndTouchNothing) {
  AdamWArgs args = step_args();
  args.N = 0;
  args.params_N = args.exp_avg_N = args.exp_avg_sq_N = nullptr;
  args.grads_N = nullptr;
  EXPECT_EQ(adamw_step(args, nullptr), cudaSuccess);
}

TEST(AdamWContract, AllowedArgumentsReachTheDevice) {
  const Slab slab;
  GlobalNormArgs norm = norm_args();
  norm.values_N = slab.at<float>(0x10000);
  norm.norm = slab.at<double>(0x20000);
  norm.workspace = slab.at<double>(0x30000);
  EXPECT_TRUE(slab.reached(global_norm(norm, nullptr))) << "norm";
  norm.N = 0;
  norm.values_N = nullptr;
  norm.workspace = nullptr;
  EXPECT_TRUE(slab.reached(global_norm(norm, nullptr))) << "norm of nothing";

  AdamWArgs args = step_args();
  args.params_N = slab.at<float>(0x10000);
  args.grads_N = slab.at<float>(0x20000);
  args.exp_avg_N = slab.at<float>(0x30000);
  args.exp_avg_sq_N = slab.at<float>(0x40000);
  args.publish_N = slab.at<__nv_bfloat16>(0x50000);
  args.norm = slab.at<double>(0x60000);
  EXPECT_TRUE(slab.reached(adamw_step(args, nullptr))) << "all arguments";
  args.publish_N = nullptr;
  args.norm = nullptr;
  EXPECT_TRUE(slab.reached(adamw_step(args, nullptr))) << "neither copy nor clipping";
}

}  // namespace
}  // namespace ratchet::kernels
