#pragma once

// RMSNorm, forward and backward, on device pointers.
//
//   forward    rstd[t] = 1 / sqrt(mean_d x[t,d]^2 + eps)
//              y[t,d]  = x[t,d] * rstd[t] * w[d]
//   backward   dot[t]  = sum_d dy[t,d] * w[d] * x[t,d]
//              dx[t,d] = rstd[t] * (dy[t,d] * w[d] - x[t,d] * rstd[t]^2 * dot[t] / D)  (+ residual)
//              dw[d]   = sum_t dy[t,d] * x[t,d] * rstd[t]
//
// Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", equation 4, with eps
// inside the root as the Llama family has it. One rounding to the stored type, at the end: a model
// file that rounds x * rstd to bf16 before it multiplies by w differs by at most one more rounding.
//
// Fused: the residual branch's gradient is added in the backward kernel while dx is in registers.
// The weight of a frozen base model needs no gradient, so dw is asked for only by method `full`.
//
// Contract of all launchers
//  - Errors: cudaErrorInvalidValue, before the device is touched, when a rule below is broken;
//    otherwise what the launch returned. Launches are asynchronous: later faults surface at the
//    caller's next synchronisation.
//  - Shapes: T >= 0 rows, at most 2^31 - 1; D > 0, D % 8 == 0, D * sizeof(Element) <= 65536.
//    With T == 0 the row pointers may be null; only dw is written then (zeros).
//  - Layout: row-major, no padding between rows; every pointer 16-byte aligned.
//  - Aliasing: an output may be exactly the input named at its declaration, and otherwise overlaps
//    nothing.
//  - Values: a NaN or an infinity reaches its own row, and dw, which sums over rows. A row whose
//    squares overflow fp32 (|x| near 1e19) gives rstd = 0.
//  - Determinism: no atomics; the order of every sum depends on T, D and Element alone, so equal
//    inputs give equal bits on every run and on every device of one architecture.
//  - Threads: no state; any host thread, any stream.
//
// Cost: memory-bound. Bytes moved once: rmsnorm_forward_bytes(), rmsnorm_backward_bytes(). About
// 4 FLOPs an element forward and 8 backward. Target: 85 % of the device's copy bandwidth at
// T = 8192, D = 4096, bf16. Architectures: sm_80 and later, compiled for sm_90a. Unverified: never
// run on a GPU.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace ratchet::kernels {

// Element is __nv_bfloat16 or float; sums are fp32 for both.
template <class Element>
struct RmsNormForwardArgs {
  const Element* x_TD = nullptr;  // [T, D]
  const Element* w_D = nullptr;   // [D]
  Element* y_TD = nullptr;        // [T, D] overwritten; may be x_TD
  float* rstd_T = nullptr;        // [T] overwritten, for backward; null: not kept
  int64_t T = 0;
  int64_t D = 0;
  float eps = 0.0F;  // finite, >= 0
};

template <class Element>
struct RmsNormBackwardArgs {
  const Element* dy_TD = nullptr;        // [T, D]
  const Element* x_TD = nullptr;         // [T, D] forward's input
  const Element* w_D = nullptr;          // [D]
  const float* rstd_T = nullptr;         // [T] as forward wrote it
  const Element* residual_TD = nullptr;  // [T, D] added to dx; null: nothing added
  Element* dx_TD = nullptr;              // [T, D] overwritten; may be dy_TD or residual_TD
  float* dw_D = nullptr;                 // [D] overwritten; null: the weight is frozen
  float* workspace = nullptr;            // only for dw; overlaps nothing; contents undefined after
  int64_t workspace_bytes = 0;           // >= rmsnorm_backward_workspace_bytes(T, D) with dw
  int64_t T = 0;
  int64_t D = 0;
};

[[nodiscard]] cudaError_t rmsnorm_forward(const RmsNormForwardArgs<__nv_bfloat16>& args,
                                          cudaStream_t stream);
[[nodiscard]] cudaError_t rmsnorm_forward(const RmsNormForwardArgs<float>& args,
                                          cudaStream_t stream);
[[nodiscard]] cudaError_t rmsnorm_backward(const RmsNormBackwardArgs<__nv_bfloat16>& args,
                                           cudaStream_t stream);
[[nodiscard]] cudaError_t rmsnorm_backward(const RmsNormBackwardArgs<float>& args,
                                           cudaStream_t stream);

// Scratch that rmsnorm_backward needs for dw; 0 for T <= 0 or D <= 0. At most 256 * D floats.
[[nodiscard]] int64_t rmsnorm_backward_workspace_bytes(int64_t T, int64_t D);

// The fewest bytes that device memory must move: each input read once, each output written once.
[[nodiscard]] constexpr int64_t rmsnorm_forward_bytes(int64_t T, int64_t D, int64_t element_bytes) {
  return 2 * T * D * element_bytes + D * element_bytes + T * 4;
}
[[nodiscard]] constexpr int64_t rmsnorm_backward_bytes(int64_t T, int64_t D, int64_t element_bytes,
                                                       bool residual, bool weight_gradient) {
  const int64_t tensors = residual ? 4 : 3;
  const int64_t weight = D * element_bytes + (weight_gradient ? D * 4 : 0);
  return tensors * T * D * element_bytes + weight + T * 4;
}

}  // namespace ratchet::kernels
