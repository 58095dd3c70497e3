#pragma once

// What the tests of trainer/ops share: seeded random tensors, and numeric gradients in double.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <functional>
#include <vector>

namespace ratchet::trainer::ops::testing {

inline at::Tensor randn(at::IntArrayRef shape, uint64_t seed, at::ScalarType dtype = at::kDouble) {
  auto generator = at::globalContext().defaultGenerator(at::kCPU).clone();
  generator.set_current_seed(seed);
  return at::randn(shape, generator, at::TensorOptions().dtype(at::kDouble)).to(dtype);
}

inline double max_error(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  if (a.numel() == 0) {
    return 0.0;
  }
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && at::equal(a, b);
}

// The error of `ours` against `exact` must not exceed twice that of LibTorch's own operators in
// the same dtype, plus `slack` for results that those happen to hit exactly.
inline void expect_within_twice(const at::Tensor& ours, const at::Tensor& torchs,
                                const at::Tensor& exact, double slack) {
  EXPECT_LE(max_error(ours, exact), 2.0 * max_error(torchs, exact) + slack);
}

// Analytic gradients of sum(f(inputs) * weights) against central differences, for every element of
// every input; f and inputs in double.
inline void expect_gradients(const std::function<at::Tensor(const std::vector<at::Tensor>&)>& f,
                             const std::vector<at::Tensor>& inputs, double tolerance = 1e-7) {
  constexpr double kStep = 1e-5;
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& input : inputs) {
    leaves.push_back(input.detach().clone().set_requires_grad(true));
  }
  const at::Tensor y = f(leaves);
  const at::Tensor weights = randn(y.sizes(), 99);
  (y * weights).sum().backward();
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < inputs.size(); ++i) {
    std::vector<at::Tensor> moved;
    for (const at::Tensor& input : inputs) {
      moved.push_back(input.detach().clone());
    }
    const at::Tensor flat = moved[i].view({-1});
    const at::Tensor numeric = at::empty_like(flat);
    for (int64_t e = 0; e < flat.numel(); ++e) {
      const double value = flat[e].item<double>();
      flat[e].fill_(value + kStep);
      const double up = (f(moved) * weights).sum().item<double>();
      flat[e].fill_(value - kStep);
      const double down = (f(moved) * weights).sum().item<double>();
      flat[e].fill_(value);
      numeric[e].fill_((up - down) / (2 * kStep));
    }
    ASSERT_TRUE(leaves[i].grad().defined()) << "input " << i << " got no gradient";
    EXPECT_LE(max_error(leaves[i].grad().view({-1}), numeric), tolerance) << "input " << i;
  }
}

}  // namespace ratchet::trainer::ops::testing
