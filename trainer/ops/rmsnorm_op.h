#pragma once

// RMS normalisation over the last dimension, differentiable in x and, when it asks for a gradient,
// in the weight:  y[t,d] = x[t,d] * rstd[t] * w[d],  rstd[t] = 1 / sqrt(mean_d x[t,d]^2 + eps).
//
// x [..., D] contiguous, w [D], same device and dtype: fp32, bf16 (sums in fp32, one rounding at
// the end), or fp64 for tests. Returns a tensor like x. Saves x, w and rstd (one float a row).
// A row with a NaN is NaN throughout and leaves other rows alone; zero rows are legal.
//
// CPU: loops of our own, rows split over LibTorch's threads; a row's value does not depend on the
// split. CUDA: kernels/rmsnorm.h for fp32 and bf16 with D % 8 == 0, LibTorch operators otherwise.
// Throws c10::Error on a broken contract.

#include <ATen/core/Tensor.h>

namespace ratchet::trainer::ops {

at::Tensor rmsnorm(const at::Tensor& x, const at::Tensor& w_D, double eps);

}  // namespace ratchet::trainer::ops
