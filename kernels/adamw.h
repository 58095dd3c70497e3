#pragma once

// The optimizer step over flat fp32 arenas: global gradient norm, clipping and AdamW.
//
//   norm     = sqrt(sum_n values[n]^2), in double
//   clip     = min(1, max_norm / (norm + 1e-6));  1 when max_norm is 0 (off)
//   g        = grad[n] * clip
//   m[n]     = m[n] + (1 - beta1) * (g - m[n])
//   v[n]     = v[n] * beta2 + (1 - beta2) * (g * g)
//   p[n]     = p[n] * (1 - lr * decay) - lr / (1 - beta1^step) * (m[n] / (sqrt(v[n]) / r2 + eps))
//              where r2 = sqrt(1 - beta2^step)
//
// Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2, in the
// update order of torch.optim.AdamW. Scalars are made in double and rounded to fp32 once; then each
// operation is rounded to fp32 by itself, in the order above: trainer/train/adamw.cc's, whose bits
// come out for equal clip factors. Its norm adds in another order, and agrees to a few 2^-53.
//
// Fused: clipping into the update, the factor computed from the norm where it lies, so that nothing
// waits for the host; and the bf16 copy of the parameters that the next forward reads.
//
// Contract of all launchers
//  - Errors: cudaErrorInvalidValue, before the device is touched, when a rule below is broken;
//    otherwise what the launch returned. Launches are asynchronous: later faults surface at the
//    caller's next synchronisation.
//  - Shapes: 0 <= N <= 2^40, any N. With N == 0 the arenas may be null; the norm is then written
//  (0).
//  - Layout: contiguous; every pointer 16-byte aligned.
//  - Aliasing: none of the arguments overlap, but for what is only read.
//  - Values: NaN and infinity reach the norm. A clip factor of a NaN norm is 1, of an infinite norm
//    0, as on the CPU: the caller looks at the norm before it trusts a step.
//  - Determinism: no atomics. The norm adds blocks of kNormBlock values, each in a fixed order, and
//    their sums in a fixed order, so that N alone decides; the update is elementwise.
//  - Threads: no state; any host thread, any stream.
//
// Cost: memory-bound. Bytes moved once: global_norm_bytes(), adamw_bytes(). Target: 85 % of the
// device's copy bandwidth at N = 42 million. Architectures: sm_80 and later, compiled for sm_90a.
// Unverified: never run on a GPU.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace ratchet::kernels {

inline constexpr int64_t kNormBlock = 16384;  // values

struct GlobalNormArgs {
  const float* values_N = nullptr;  // [N]
  double* norm = nullptr;           // [1] overwritten
  double* workspace = nullptr;      // contents undefined after; null: N == 0
  int64_t workspace_bytes = 0;      // >= global_norm_workspace_bytes(N)
  int64_t N = 0;
};

struct AdamWArgs {
  float* params_N = nullptr;           // [N] updated
  const float* grads_N = nullptr;      // [N] of the mean loss, not yet clipped
  float* exp_avg_N = nullptr;          // [N] first moment, updated
  float* exp_avg_sq_N = nullptr;       // [N] second moment, updated
  __nv_bfloat16* publish_N = nullptr;  // [N] overwritten with the new parameters; null: not wanted
  const double* norm = nullptr;        // [1] as global_norm wrote it; null: nothing is clipped
  double max_norm = 0.0;               // finite, >= 0; 0: nothing is clipped
  int64_t N = 0;
  int64_t step = 1;  // >= 1; 1 for the first update
  double learning_rate = 0.0;
  double beta1 = 0.9;  // [0, 1)
  double beta2 = 0.999;
  double eps = 1e-8;          // finite, >= 0
  double weight_decay = 0.0;  // finite, as the learning rate
};

// Two launches: the sums of blocks, and their sum.
[[nodiscard]] cudaError_t global_norm(const GlobalNormArgs& args, cudaStream_t stream);
[[nodiscard]] cudaError_t adamw_step(const AdamWArgs& args, cudaStream_t stream);

// Scratch that global_norm needs: one double a block.
[[nodiscard]] constexpr int64_t global_norm_workspace_bytes(int64_t N) {
  return N <= 0 ? 0 : (N + kNormBlock - 1) / kNormBlock * 8;
}

// The fewest bytes that device memory must move: each input read once, each output written once.
[[nodiscard]] constexpr int64_t global_norm_bytes(int64_t N) { return N * 4; }
[[nodiscard]] constexpr int64_t adamw_bytes(int64_t N, bool publish) {
  return N * (publish ? 30 : 28);
}

}  // namespace ratchet::kernels
