#pragma once

// The language-model head and its loss in one:  sum_r -log softmax(h[r] W^T)[target[r]].
//
// h [R, D] are the hidden states of the rows that bear loss (callers drop the others beforehand),
// W [V, D], both fp32 or bf16 (fp64 in tests); target int64 [R] in [0, V). Returns a scalar, fp32
// (fp64 for fp64), the SUM of the rows' negative log likelihoods, accumulated in fp64.
//
// Logits never exist whole: rows go through in chunks of about 4 million logits (CPU), and the
// gradients of h, and of W when it asks for one, are made chunk by chunk in the forward pass, so
// that backward only scales them. The softmax is fp32. Saves dh [R, D] (and dW [V, D]).
// R = 0 gives 0. Throws c10::Error on a broken contract; a target out of range is the caller's
// bug and is checked on the CPU only.

#include <ATen/core/Tensor.h>

namespace ratchet::trainer::ops {

at::Tensor linear_cross_entropy(const at::Tensor& h_RD, const at::Tensor& w_VD,
                                const at::Tensor& target_R);

}  // namespace ratchet::trainer::ops
