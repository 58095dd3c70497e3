#pragma once

// SwiGLU, forward and backward, on device pointers.
//
//   forward    h[t,f]     = silu(gate[t,f]) * up[t,f],   silu(x) = x * s(x),  s(x) = 1 / (1 + e^-x)
//   backward   dup[t,f]   = dh[t,f] * silu(gate[t,f])
//              dgate[t,f] = dh[t,f] * up[t,f] * s(gate) * (1 + gate * (1 - s(gate)))
//
// Source: Shazeer 2020, "GLU Variants Improve Transformer", equation 6, without the linear maps.
// One rounding to the stored type, at the end; the CPU operator (trainer/ops/swiglu_op.cc) also
// rounds silu(gate) and dh * up to it.
//
// Fused: the activation, its derivative and both products; neither silu(gate) nor dh * up reaches
// memory.
//
// Contract of all launchers
//  - Errors: cudaErrorInvalidValue, before the device is touched, when a rule below is broken;
//    otherwise what the launch returned. Launches are asynchronous: later faults surface at the
//    caller's next synchronisation.
//  - Shapes: T >= 0 rows, at most 2^31 - 1; 0 < F <= 2^20, F % 8 == 0. With T == 0 the pointers may
//    be null.
//  - Layout: row-major; each tensor has a row stride of its own, in elements: >= F, % 8 == 0 and at
//    most kStrideMax. So gate and up may be the halves of one [T, 2F] buffer. Every pointer 16-byte
//    aligned. Elements between rows are neither read nor written.
//  - Aliasing: an output may be exactly an input (same pointer, same stride): h may be gate or up;
//    dgate and dup may each be any of dh, gate and up. Otherwise an output overlaps nothing, and
//    dgate and dup do not overlap each other. Rows of equal stride may interleave; overlap of
//    unequal strides is judged by address range.
//  - Values: a NaN or an infinity reaches its own element only. s is computed without overflow, so
//    gates far below zero fade to zero through the denormal numbers; gate = -infinity gives NaN.
//  - Determinism: elementwise; equal inputs give equal bits wherever they stand.
//  - Threads: no state; any host thread, any stream. No workspace.
//
// Cost: memory-bound. Bytes moved once: swiglu_forward_bytes(), swiglu_backward_bytes(). About
// 10 FLOPs an element forward and 20 backward. Target: 85 % of the device's copy bandwidth at
// T = 8192, F = 14336, bf16. Architectures: sm_80 and later, compiled for sm_90a. Unverified: never
// run on a GPU.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace ratchet::kernels {

// Element is __nv_bfloat16 or float; arithmetic is fp32 for both.
template <class Element>
struct SwigluForwardArgs {
  const Element* gate_TF = nullptr;  // [T, F]
  const Element* up_TF = nullptr;    // [T, F]
  Element* h_TF = nullptr;           // [T, F] overwritten; may be gate_TF or up_TF
  int64_t gate_stride = 0;           // elements from a row to the next
  int64_t up_stride = 0;
  int64_t h_stride = 0;
  int64_t T = 0;
  int64_t F = 0;
};

template <class Element>
struct SwigluBackwardArgs {
  const Element* dh_TF = nullptr;    // [T, F]
  const Element* gate_TF = nullptr;  // [T, F] forward's input
  const Element* up_TF = nullptr;    // [T, F] forward's input
  Element* dgate_TF = nullptr;       // [T, F] overwritten; may be dh_TF, gate_TF or up_TF
  Element* dup_TF = nullptr;         // [T, F] overwritten; may be dh_TF, gate_TF or up_TF
  int64_t dh_stride = 0;             // elements from a row to the next
  int64_t gate_stride = 0;
  int64_t up_stride = 0;
  int64_t dgate_stride = 0;
  int64_t dup_stride = 0;
  int64_t T = 0;
  int64_t F = 0;
};

[[nodiscard]] cudaError_t swiglu_forward(const SwigluForwardArgs<__nv_bfloat16>& args,
                                         cudaStream_t stream);
[[nodiscard]] cudaError_t swiglu_forward(const SwigluForwardArgs<float>& args, cudaStream_t stream);
[[nodiscard]] cudaError_t swiglu_backward(const SwigluBackwardArgs<__nv_bfloat16>& args,
                                          cudaStream_t stream);
[[nodiscard]] cudaError_t swiglu_backward(const SwigluBackwardArgs<float>& args,
                                          cudaStream_t stream);

// The fewest bytes that device memory must move: each input read once, each output written once.
[[nodiscard]] constexpr int64_t swiglu_forward_bytes(int64_t T, int64_t F, int64_t element_bytes) {
  return 3 * T * F * element_bytes;
}
[[nodiscard]] constexpr int64_t swiglu_backward_bytes(int64_t T, int64_t F, int64_t element_bytes) {
  return 5 * T * F * element_bytes;
}

}  // namespace ratchet::kernels
