#pragma once

// Rotary position embedding of queries and keys, forward and backward, in place on device pointers.
// For x of q and k, with J = K / 2 and j < J:
//
//   forward    y[t,h,j]     = x[t,h,j]     * cos[t,j] - x[t,h,j + J] * sin[t,j]
//              y[t,h,j + J] = x[t,h,j + J] * cos[t,j] + x[t,h,j]     * sin[t,j]
//   backward   the same with -sin: a rotation's transpose turns back. dx from dy.
//
// Source: Su et al. 2021, "RoFormer", equation 34, in the half-split ("rotate half") layout of
// Hugging Face checkpoints. The tables are trainer/ops/rope_op.h's: a row for each token, so that
// packed documents and any scaling of frequencies are the table's business. Each product and each
// sum is rounded to fp32 by itself and the result once to the stored type, as by the CPU operator
// compiled without contraction: the two give the same bits.
//
// Fused: q and k in one launch, where they stand in the projection's output [T, q | k | v].
//
// Contract of both launchers
//  - Errors: cudaErrorInvalidValue, before the device is touched, when a rule below is broken;
//    otherwise what the launch returned. Launches are asynchronous: later faults surface at the
//    caller's next synchronisation.
//  - Shapes: T >= 0 tokens, at most 2^31 - 1; 0 < K <= 1024, K % 16 == 0; q_heads and k_heads
//    >= 0, at most 1024 each. With no heads a pointer may be null, with T == 0 all may.
//  - Layout: heads of one token are contiguous, K elements each; tokens are a stride apart, in
//    elements: >= heads * K, % 8 == 0, at most kStrideMax (not looked at without heads). Tables are
//    contiguous. Every pointer 16-byte aligned. Elements between rows are neither read nor written.
//  - Aliasing: in place; q, k and the tables overlap nothing. Rows of q and k may interleave when
//    their strides are equal, as in a fused buffer.
//  - Values: a NaN or an infinity reaches its own pair only; one in the tables its column of a
//  token.
//  - Determinism: pair by pair; equal inputs give equal bits wherever they stand.
//  - Threads: no state; any host thread, any stream. No workspace.
//
// Cost: memory-bound. Bytes moved once: rope_bytes(). 3 FLOPs an element. Target: 85 % of the
// device's copy bandwidth at T = 8192, 32 + 8 heads, K = 128, bf16. Architectures: sm_80 and later,
// compiled for sm_90a. Unverified: never run on a GPU.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace ratchet::kernels {

// Element is __nv_bfloat16 or float; arithmetic is fp32 for both.
template <class Element>
struct RopeArgs {
  Element* q_THK = nullptr;       // [T, q_heads, K] read and overwritten; null: q_heads == 0
  Element* k_THK = nullptr;       // [T, k_heads, K] read and overwritten; null: k_heads == 0
  const float* cos_TJ = nullptr;  // [T, K / 2]
  const float* sin_TJ = nullptr;  // [T, K / 2]
  int64_t q_stride = 0;           // elements from a token to the next
  int64_t k_stride = 0;
  int64_t T = 0;
  int64_t q_heads = 0;
  int64_t k_heads = 0;
  int64_t K = 0;
};

[[nodiscard]] cudaError_t rope_forward(const RopeArgs<__nv_bfloat16>& args, cudaStream_t stream);
[[nodiscard]] cudaError_t rope_forward(const RopeArgs<float>& args, cudaStream_t stream);
// q_THK and k_THK hold the gradients.
[[nodiscard]] cudaError_t rope_backward(const RopeArgs<__nv_bfloat16>& args, cudaStream_t stream);
[[nodiscard]] cudaError_t rope_backward(const RopeArgs<float>& args, cudaStream_t stream);

// The fewest bytes that device memory must move: q and k read and written once, the tables read
// once.
[[nodiscard]] constexpr int64_t rope_bytes(int64_t T, int64_t heads, int64_t K,
                                           int64_t element_bytes) {
  return 2 * T * heads * K * element_bytes + T * K * 4;
}

}  // namespace ratchet::kernels
