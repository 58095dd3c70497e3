#pragma once

// 16-byte loads and stores of bf16 and fp32, unpacked to fp32 in registers.
// A row kernel keeps the packed form (4 registers) and unpacks where it computes.

#include <cuda_bf16.h>

#include <cstdint>

namespace ratchet::kernels::device {

// Elements in 16 bytes: 8 of bf16, 4 of fp32.
template <class Element>
inline constexpr int kPerVector = 16 / static_cast<int>(sizeof(Element));

// REQUIRES: p is 16-byte aligned. Plain path: p may be written by this kernel.
template <class Element>
__device__ inline uint4 load_vector(const Element* p) {
  return *reinterpret_cast<const uint4*>(p);
}

// REQUIRES: as load_vector, and nothing writes p while the kernel runs (read-only cache path).
template <class Element>
__device__ inline uint4 load_vector_constant(const Element* p) {
  return __ldg(reinterpret_cast<const uint4*>(p));
}

template <class Element>
__device__ inline void store_vector(Element* p, const uint4& packed) {
  *reinterpret_cast<uint4*>(p) = packed;
}

// REQUIRES: p is 16-byte aligned device memory, not shared memory. One instruction whatever stands
// around it: the compiler takes a plain 16-byte store apart where it sees cause.
template <class Element>
__device__ inline void store_vector_global(Element* p, const uint4& packed) {
  __stwb(reinterpret_cast<uint4*>(p), packed);
}

// A bf16 is the upper half of the fp32 with the same value, so widening is a shift.
__device__ inline void unpack(const uint4& packed, float (&out)[8]) {
  const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    out[2 * i] = __uint_as_float(words[i] << 16);
    out[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000U);
  }
}

__device__ inline void unpack(const uint4& packed, float (&out)[4]) {
  out[0] = __uint_as_float(packed.x);
  out[1] = __uint_as_float(packed.y);
  out[2] = __uint_as_float(packed.z);
  out[3] = __uint_as_float(packed.w);
}

// Rounds to nearest, ties to even; NaN stays NaN.
__device__ inline uint4 pack(const float (&in)[8]) {
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(in[2 * i], in[2 * i + 1]);
    words[i] = *reinterpret_cast<const uint32_t*>(&pair);
  }
  return uint4{words[0], words[1], words[2], words[3]};
}

__device__ inline uint4 pack(const float (&in)[4]) {
  return uint4{__float_as_uint(in[0]), __float_as_uint(in[1]), __float_as_uint(in[2]),
               __float_as_uint(in[3])};
}

}  // namespace ratchet::kernels::device
