#pragma once

// A frozen linear layer with a low-rank adapter (Hu et al. 2021, "LoRA", section 4.1):
//
//   y = x W^T + bias + scaling * drop(x) A^T B^T
//
// and, with a magnitude m (Liu et al. 2024, "DoRA", equations 5 and 11: the norm takes no
// gradient),
//
//   y[t,o] = g[o] * (x W^T + scaling * drop(x) A^T B^T)[t,o] + bias[o],
//   g[o] = m[o] / norm_i(W + scaling * B A)[o,i]
//
// x [T, I], W [O, I], bias [O] or undefined, A [R, I], B [O, R], m [O] or undefined, y [T, O]. x, W
// and bias have the compute dtype (fp32, bf16; fp64 in tests); A, B and m may be fp32 masters
// beside bf16 x: A and B are rounded to x's dtype for the products, and the gradients come back in
// their own dtype, summed over T in fp32. Differentiable in x, A, B and m; W and bias get no
// gradient.
//
// Saves x and the rank-sized x A^T; with m also the bracket, [T, O]. The dropout mask is made again
// in backward (dropout_mask.h); kept values are scaled by 1 / (1 - p). Throws c10::Error on a
// broken contract.

#include <ATen/core/Tensor.h>

#include "trainer/ops/dropout_mask.h"
#include "trainer/ops/linear_weight.h"

namespace ratchet::trainer::ops {

struct LoraDropout {
  double p = 0.0;  // 0: none, and the rest is ignored
  DropoutKey key;
  TokenPlaces places;
};

struct LoraFactors {
  at::Tensor a_RI;
  at::Tensor b_OR;
  double scaling = 1.0;        // alpha / rank or alpha / sqrt(rank), not alpha
  at::Tensor magnitude_O{};    // m; undefined: none
  at::Tensor row_squares_O{};  // row_squares(W), with m; of A's dtype
};

at::Tensor lora_linear(const at::Tensor& x_TI, const LinearWeight& weight, const at::Tensor& bias_O,
                       const LoraFactors& lora, const LoraDropout& dropout);

// sum_i W[o,i]^2 in `dtype`, summed in it.
at::Tensor row_squares(const LinearWeight& weight, at::ScalarType dtype);

// norm_i(W + scaling * B A)[o,i] without the product of that size: the squares of its rows are
// |w|^2 + 2 s w (B A)^T + s^2 |B A|^2, from W A^T and A A^T. In A's dtype; no gradient.
at::Tensor dora_norm(const LinearWeight& weight, const LoraFactors& lora);

}  // namespace ratchet::trainer::ops
