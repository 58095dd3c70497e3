#pragma once

// Sums over a group of threads, in float or double, in an order that the group's size alone fixes.

namespace ratchet::kernels::device {

inline constexpr int kWarpThreads = 32;

// Sum of `value` over each aligned group of kGroup lanes of a warp; every lane gets the result.
// REQUIRES: all 32 lanes call it (lanes without data pass 0).
template <int kGroup, class Real>
__device__ inline Real warp_group_sum(Real value) {
  static_assert(kGroup >= 1 && kGroup <= kWarpThreads && (kGroup & (kGroup - 1)) == 0);
#pragma unroll
  for (int offset = kGroup / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffU, value, offset);
  }
  return value;
}

// Sum over groups of kGroup threads: a warp or a part of it, or the whole block.
// REQUIRES: all threads of the block call it, at most once a launch when the group is the block
// (the scratch of a second call would race with readers of the first).
template <int kGroup, int kBlock, class Real>
__device__ inline Real group_sum(Real value) {
  if constexpr (kGroup <= kWarpThreads) {
    return warp_group_sum<kGroup>(value);
  } else {
    static_assert(kGroup == kBlock && kBlock % kWarpThreads == 0);
    constexpr int kWarps = kBlock / kWarpThreads;
    __shared__ Real warp_sums[kWarps];
    value = warp_group_sum<kWarpThreads>(value);
    if (threadIdx.x % kWarpThreads == 0) warp_sums[threadIdx.x / kWarpThreads] = value;
    __syncthreads();
    Real total = 0;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) total += warp_sums[warp];
    return total;
  }
}

}  // namespace ratchet::kernels::device
