#pragma once

// Rotary position embedding (Su et al. 2021, "RoFormer"), in the half-split layout of Hugging Face
// checkpoints: dimension j < K/2 turns together with j + K/2, by the angle position * inv_freq[j].
//
//   y[t,h,j]       = x[t,h,j] * cos[t,j] - x[t,h,j+K/2] * sin[t,j]
//   y[t,h,j + K/2] = x[t,h,j+K/2] * cos[t,j] + x[t,h,j] * sin[t,j]
//
// Frequencies, angles, cosines and sines are fp32, computed by the operators that transformers
// calls, so that they have its bits.

#include <ATen/core/Tensor.h>

#include <optional>

#include "trainer/model/model_config.h"

namespace ratchet::trainer::ops {

// Inverse frequencies [head_dim / 2], fp32 on the CPU; `scaling` as Llama 3.1 defines it.
at::Tensor rope_inverse_frequencies(int64_t head_dim, double theta,
                                    const std::optional<Llama3RopeScaling>& scaling);

struct RopeTable {
  at::Tensor cos_TJ;  // [T, K/2] fp32
  at::Tensor sin_TJ;
};

// positions_T: integer [T], on the device the table shall be on.
RopeTable rope_table(const at::Tensor& inverse_frequencies_J, const at::Tensor& positions_T);

// x [T, H, K] contiguous, fp32, bf16 (computed in fp32, rounded once) or fp64. Differentiable in x;
// saves the table only. Throws c10::Error on a broken contract.
at::Tensor rope(const at::Tensor& x_THK, const RopeTable& table);

}  // namespace ratchet::trainer::ops
