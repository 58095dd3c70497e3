#pragma once

// SwiGLU (Shazeer 2020, "GLU Variants Improve Transformer"):  h = silu(gate) * up,
// silu(e) = e / (1 + exp(-e)). Differentiable in both. Saves gate and up; h and silu(gate) are
// computed again in backward. gate, up: same shape, dtype (fp32, bf16, fp64) and device.
// Throws c10::Error on a broken contract.

#include <ATen/core/Tensor.h>

namespace ratchet::trainer::ops {

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

}  // namespace ratchet::trainer::ops
