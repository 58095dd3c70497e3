#pragma once

// A frozen linear layer with a low-rank adapter (Hu et al. 2021, "LoRA", section 4.1):
//
//   y = x W^T + bias + scaling * drop(x) A^T B^T
//
// x [T, I], W [O, I], bias [O] or undefined, A [R, I], B [O, R], y [T, O]. x, W and bias have the
// compute dtype (fp32, bf16; fp64 in tests); A and B may be fp32 masters beside bf16 x: they are
// rounded to x's dtype for the products, and their gradients come back in their own dtype, summed
// over T in fp32. Differentiable in x, A and B; W and bias get no gradient.
//
// Saves x and the rank-sized x A^T, nothing else of its own. The dropout mask is made again in
// backward (dropout_mask.h); kept values are scaled by 1 / (1 - p). Throws c10::Error on a broken
// contract.

#include <ATen/core/Tensor.h>

#include "trainer/ops/dropout_mask.h"

namespace ratchet::trainer::ops {

struct LoraDropout {
  double p = 0.0;  // 0: none, and the rest is ignored
  DropoutKey key;
  TokenPlaces places;
};

struct LoraFactors {
  at::Tensor a_RI;
  at::Tensor b_OR;
  double scaling = 1.0;  // alpha / rank or alpha / sqrt(rank), not alpha
};

at::Tensor lora_linear(const at::Tensor& x_TI, const at::Tensor& w_OI, const at::Tensor& bias_O,
                       const LoraFactors& lora, const LoraDropout& dropout);

}  // namespace ratchet::trainer::ops
