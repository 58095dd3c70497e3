#pragma once

// 4-bit NormalFloat weights: quantize and dequantize, on device pointers. The format, its 16 values
// and its bounds are kernels/block_formats.h's; blocks are 64 weights of the flattened matrix.
//
//   quantize     absmax[b] = max over block b of |x|
//                code[n]   = number of bounds below x[n] * (1 / absmax[b]); 7 where absmax is 0
//   dequantize   w[n]      = value[code[n]] * absmax[b]
//   nested       absmax[b] = dynamic[absmax_code[b]] * scale[b / 256] + mean,
//                dynamic: the 256 signed values of block_formats.h
//
// Source: Dettmers et al. 2023, "QLoRA", sections 3 and 4, equations 4 and 5. Every product, sum
// and quotient is rounded to fp32 by itself and the weight once more to its stored type, so a host
// that does the same has the same bits.
//
// Fused: both levels of dequantization, and the place of the result: rows are a stride apart, so
// that weights land beside what else a wider block holds.
//
// Contract of both launchers
//  - Errors: cudaErrorInvalidValue, before the device is touched, when a rule below is broken;
//    otherwise what the launch returned. Launches are asynchronous: later faults surface at the
//    caller's next synchronisation.
//  - Shapes: O >= 0 rows, at most 2^31 - 1; 0 < K <= 2^20, K % 32 == 0; O * ceil(K / 1024) below
//    2^31. A flattened matrix of 64 n + 32 weights ends in half a block. With O == 0 the pointers
//    may be null. The quantizer takes the flattened matrix: N weights, N % 32 == 0, N <= 2^40.
//  - Layout: codes two a byte, the earlier weight in the upper half, no padding. w in rows of
//    w_stride elements: >= K, % 8 == 0, at most kStrideMax; elements between rows are neither read
//    nor written. All other arrays contiguous. Every pointer 16-byte aligned.
//  - Aliasing: none; an output overlaps nothing.
//  - Values: a NaN makes its block's absmax NaN and its codes 15; the whole block comes back as
//    NaN. An infinity makes absmax infinite, and the block comes back as infinities and NaN. Below
//    2^-128 the reciprocal of absmax is infinite: codes are 0 or 15, as published.
//  - Determinism: a block's result depends on its weights alone.
//  - Threads: no state; any host thread, any stream. No workspace.
//
// Cost: memory-bound. Bytes moved once: nf4_quantize_bytes(), nf4_dequantize_bytes(). Target: 85 %
// of the device's copy bandwidth at 28672 x 4096 to bf16. Architectures: sm_80 and later, compiled
// for sm_90a. Unverified: never run on a GPU.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace ratchet::kernels {

// B = ceil(N / 64) blocks; S = ceil(B / 256) scale blocks. Element is __nv_bfloat16 or float.
template <class Element>
struct Nf4QuantizeArgs {
  const Element* x_N = nullptr;  // [N]
  uint8_t* codes = nullptr;      // [N / 2] overwritten
  float* absmax_B = nullptr;     // [B] overwritten
  int64_t N = 0;
};

template <class Element>
struct Nf4DequantizeArgs {
  const uint8_t* codes = nullptr;           // [O * K / 2]
  const float* absmax_B = nullptr;          // [B]; null: the three below give it
  const uint8_t* absmax_codes_B = nullptr;  // [B]; null exactly when absmax_B is given
  const float* absmax_scale_S = nullptr;    // [S]; null exactly when absmax_B is given
  float absmax_mean = 0.0F;                 // finite; not looked at when absmax_B is given
  Element* w_OK = nullptr;                  // [O, K] overwritten
  int64_t w_stride = 0;                     // elements from a row to the next
  int64_t O = 0;
  int64_t K = 0;
};

[[nodiscard]] cudaError_t nf4_quantize(const Nf4QuantizeArgs<__nv_bfloat16>& args,
                                       cudaStream_t stream);
[[nodiscard]] cudaError_t nf4_quantize(const Nf4QuantizeArgs<float>& args, cudaStream_t stream);
[[nodiscard]] cudaError_t nf4_dequantize(const Nf4DequantizeArgs<__nv_bfloat16>& args,
                                         cudaStream_t stream);
[[nodiscard]] cudaError_t nf4_dequantize(const Nf4DequantizeArgs<float>& args, cudaStream_t stream);

// The fewest bytes that device memory must move: each input read once, each output written once.
[[nodiscard]] constexpr int64_t nf4_quantize_bytes(int64_t N, int64_t element_bytes) {
  return N * element_bytes + N / 2 + (N + 63) / 64 * 4;
}
[[nodiscard]] constexpr int64_t nf4_dequantize_bytes(int64_t N, int64_t element_bytes,
                                                     bool nested) {
  const int64_t blocks = (N + 63) / 64;
  return N * element_bytes + N / 2 + (nested ? blocks + (blocks + 255) / 256 * 4 : blocks * 4);
}

}  // namespace ratchet::kernels
