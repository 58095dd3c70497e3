#pragma once

// Causal self-attention over a flat stream of segments that do not see each other, with grouped
// query heads and an optional sliding window:
//
//   o[i,h] = sum_j softmax_j(q[i,h] . k[j,h/G] / sqrt(K)) v[j,h/G]   over the j of i's segment with
//            j <= i, and i - j < window when window > 0;   G = H / Hkv.
//
// q [T, H, K], k and v [T, Hkv, K] contiguous, one dtype (fp32, bf16; fp64 for tests) and device;
// returns [T, H, K]. Differentiable in all three. Saves q, k, v, o and one log-sum-exp a row and
// head: memory is linear in T, also with a window.
//
// Routes: CPU, and what the others do not cover: LibTorch's CPU flash kernel, one call for all
// neighbouring segments of one length; CUDA bf16 with K % 8 == 0: LibTorch's variable-length flash
// kernel (bit-reproducible backward only under at::globalContext().setDeterministicAlgorithms);
// other CUDA tensors: matrix products and a softmax per segment. All routes are deterministic on
// the CPU for a fixed number of threads.
//
// A NaN in k or v reaches every row that sees it. A row whose own q is NaN may come out as zeros
// (the library's kernel drops rows whose scores are all NaN); the residual stream keeps the NaN.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace ratchet::trainer::ops {

// Where the segments of a batch lie. Made once a batch, used by every layer.
struct AttentionPlan {
  at::Tensor runs_R3;     // int64 on the CPU: {first token, length, neighbours of that length}
  at::Tensor offsets_S1;  // int32 [S + 1] on the batch's device, without empty segments
  int64_t longest = 0;    // tokens of the longest segment
  int64_t tokens = 0;     // T
};

// `segment_offsets` [S + 1]: ascending from 0 to T. Throws c10::Error otherwise.
AttentionPlan make_attention_plan(std::span<const int32_t> segment_offsets, at::Device device);

// window = 0: none.
at::Tensor attention(const at::Tensor& q_THK, const at::Tensor& k_TGK, const at::Tensor& v_TGK,
                     const AttentionPlan& plan, int64_t window);

// Attention of the last n = q.size(0) of m = k.size(0) positions, for generation. No gradient.
at::Tensor attention_over_cache(const at::Tensor& q_NHK, const at::Tensor& k_MGK,
                                const at::Tensor& v_MGK, int64_t window);

// The same function by matrix products and a softmax, O(length^2) memory: the reference of the
// tests, and the route of CUDA tensors that no flash kernel takes.
at::Tensor attention_by_products(const at::Tensor& q_THK, const at::Tensor& k_TGK,
                                 const at::Tensor& v_TGK, const AttentionPlan& plan,
                                 int64_t window);

}  // namespace ratchet::trainer::ops
