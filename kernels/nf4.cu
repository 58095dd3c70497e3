// NF4 quantize and dequantize. Formulas, layout and limits: nf4.h.
//
// Strategy. A warp works on a tile of 1024 weights: 512 bytes of codes, one 16-byte vector a lane.
// A vector of codes holds 32 weights, a vector of weights 8 or 4, so lanes that kept their own
// codes would write 64 bytes apart. The tile's codes therefore pass through shared memory, 4 or 2
// bytes for each vector of weights, and both sides are contiguous across the warp. Each lane holds
// one of the 16 values and a weight is a shuffle away: no bank conflict, nothing to set up. A
// tile's absmax values, at most 17, are one load, spread by shuffles too; the 256 dynamic values
// lie in shared memory. Dequantizer tiles do not cross rows, so a row is found once a tile.

#include "kernels/nf4.h"

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/block_formats.h"
#include "kernels/device/reduce.cuh"
#include "kernels/device/vec.cuh"
#include "kernels/span.h"

namespace ratchet::kernels {
namespace {

using device::kPerVector;
using device::kWarpThreads;
using device::load_vector;
using device::pack;
using device::store_vector;
using device::store_vector_global;
using device::unpack;

constexpr int kBlockThreads = 256;
constexpr int kBlockWarps = kBlockThreads / kWarpThreads;
constexpr int kTile = 1024;  // weights a warp works on at a time
constexpr int kTileBytes = kTile / 2;
constexpr int kTilesPerWarp = 4;  // pays for the dynamic table
constexpr int64_t kWidthMax = int64_t{1} << 20;
constexpr int64_t kCountMax = int64_t{1} << 40;
constexpr unsigned kAllLanes = 0xffffffffU;

// The tables of block_formats.h as device memory: std::array's operators are host functions.
template <std::size_t kCount>
struct Table {
  float values[kCount];
};
template <std::size_t kCount>
constexpr Table<kCount> table_of(const std::array<float, kCount>& values) {
  Table<kCount> table{};
  for (std::size_t i = 0; i < kCount; ++i) table.values[i] = values[i];
  return table;
}
__device__ const Table<kNf4Codes> kValueTable = table_of(kNf4Values);
__device__ const Table<kDynamicCodes> kDynamicTable = table_of(kSignedValues);

// The bounds as constants of the code.
template <std::size_t kBound>
constexpr float kBoundAt = kNf4Bounds[kBound];

// ---------------------------------------------------------------------------------------------
// Device code

// How many bounds x passes; NaN passes all.
template <std::size_t kBound = 0>
__device__ inline uint32_t nf4_code(float x) {
  if constexpr (kBound == kNf4Codes - 1) {
    return 0;
  } else {
    return (x <= kBoundAt<kBound> ? 0U : 1U) + nf4_code<kBound + 1>(x);
  }
}

// The larger magnitude; a NaN wins.
__device__ inline float larger(float a, float b) { return b > a || b != b ? b : a; }

// Codes of the weights of one 16-byte vector, packed as they lie in memory.
template <class Element>
struct PackedCodes {
  using Word = uint32_t;  // 8 codes
};
template <>
struct PackedCodes<float> {
  using Word = uint16_t;  // 4 codes
};

// Weight i of a vector is in byte i / 2: the even one in its upper half.
__device__ inline int shift_of(int i) { return i / 2 * 8 + (i % 2 == 0 ? 4 : 0); }

template <class Element>
__global__ void __launch_bounds__(kBlockThreads)
    nf4_quantize_kernel(const Nf4QuantizeArgs<Element> args) {
  constexpr int kPer = kPerVector<Element>;
  constexpr int kGroup = kNf4Block / kPer;  // lanes that hold one block
  constexpr int kVectors = kTile / kPer / kWarpThreads;
  using Word = typename PackedCodes<Element>::Word;
  __shared__ __align__(16) unsigned char staged[kBlockWarps][kTileBytes];
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  const int64_t base = (static_cast<int64_t>(blockIdx.x) * kBlockWarps + warp) * kTile;
  auto* words = reinterpret_cast<Word*>(staged[warp]);

#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int64_t at = base + (v * kWarpThreads + lane) * kPer;
    const bool inside = at < args.N;  // Idle lanes stay: the maximum needs every lane.
    float x[kPer];
    unpack(inside ? load_vector(args.x_N + at) : uint4{}, x);
    float absmax = 0.0F;
#pragma unroll
    for (int i = 0; i < kPer; ++i) absmax = larger(absmax, fabsf(x[i]));
#pragma unroll
    for (int offset = kGroup / 2; offset > 0; offset /= 2) {
      absmax = larger(absmax, __shfl_xor_sync(kAllLanes, absmax, offset));
    }
    if (inside && lane % kGroup == 0) args.absmax_B[at / kNf4Block] = absmax;
    const float inverse = absmax == 0.0F ? 0.0F : __fdiv_rn(1.0F, absmax);
    uint32_t codes = 0;
#pragma unroll
    for (int i = 0; i < kPer; ++i) codes |= nf4_code(__fmul_rn(x[i], inverse)) << shift_of(i);
    words[v * kWarpThreads + lane] = static_cast<Word>(codes);
  }
  __syncwarp();
  const int64_t byte = base / 2 + lane * 16;
  if (byte < args.N / 2) store_vector(args.codes + byte, load_vector(staged[warp] + lane * 16));
}

template <class Element, bool kNested>
__global__ void __launch_bounds__(kBlockThreads)
    nf4_dequantize_kernel(const Nf4DequantizeArgs<Element> args, uint32_t row_tiles,
                          uint32_t tiles) {
  constexpr int kPer = kPerVector<Element>;
  constexpr int kVectors = kTile / kPer / kWarpThreads;
  using Word = typename PackedCodes<Element>::Word;
  __shared__ __align__(16) unsigned char staged[kBlockWarps][kTileBytes];
  __shared__ float dynamic[kNested ? kDynamicCodes : 1];
  if constexpr (kNested) {
    static_assert(kBlockThreads == kDynamicCodes);
    dynamic[threadIdx.x] = kDynamicTable.values[threadIdx.x];
    __syncthreads();
  }
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  const float value = kValueTable.values[lane % static_cast<int>(kNf4Codes)];
  const int64_t blocks = (args.O * args.K + kNf4Block - 1) / kNf4Block;
  const auto* words = reinterpret_cast<const Word*>(staged[warp]);

  for (int round = 0; round < kTilesPerWarp; ++round) {
    const uint32_t tile = (blockIdx.x * kTilesPerWarp + round) * kBlockWarps + warp;
    if (tile >= tiles) break;  // the whole warp
    const int64_t row = tile / row_tiles;
    const int64_t column = static_cast<int64_t>(tile % row_tiles) * kTile;
    const int64_t base =
        row * args.K + column;  // a multiple of 32: half a block at most is skipped
    const int64_t first_block = base / kNf4Block;
    const int skipped = static_cast<int>(base % kNf4Block);

    if (column + lane * 32 < args.K) {
      store_vector(staged[warp] + lane * 16, load_vector(args.codes + base / 2 + lane * 16));
    }
    float absmax = 0.0F;
    const int64_t block = first_block + lane;
    if (lane <= kTile / kNf4Block && block < blocks) {
      if constexpr (kNested) {
        const float scale = args.absmax_scale_S[block / kNf4ScaleBlock];
        absmax = __fadd_rn(__fmul_rn(dynamic[args.absmax_codes_B[block]], scale), args.absmax_mean);
      } else {
        absmax = args.absmax_B[block];
      }
    }
    __syncwarp();
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int index = v * kWarpThreads + lane;
      const uint32_t codes = words[index];
      const float scale = __shfl_sync(kAllLanes, absmax, (skipped + index * kPer) / kNf4Block);
      float w[kPer];
#pragma unroll
      for (int i = 0; i < kPer; ++i) {
        const auto code = static_cast<int>(codes >> shift_of(i)) & 15;
        w[i] = __fmul_rn(__shfl_sync(kAllLanes, value, code), scale);
      }
      const int64_t at = column + index * kPer;
      if (at < args.K) store_vector_global(args.w_OK + row * args.w_stride + at, pack(w));
    }
    __syncwarp();  // the next tile overwrites the codes
  }
}

// ---------------------------------------------------------------------------------------------
// Contract

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class Element>
bool contract_holds(const Nf4QuantizeArgs<Element>& args) {
  if (args.N < 0 || args.N > kCountMax || args.N % 32 != 0) return false;
  if (args.N == 0) return true;
  if (any_null({args.x_N, args.codes, args.absmax_B})) return false;
  const Span x(args.x_N, args.N * static_cast<int64_t>(sizeof(Element)));
  const Span codes(args.codes, args.N / 2);
  const Span absmax(args.absmax_B, divide_up(args.N, kNf4Block) * 4);
  return x.aligned() && codes.aligned() && absmax.aligned() && !codes.overlaps(x) &&
         !absmax.overlaps(x) && !absmax.overlaps(codes);
}

bool shape_is_supported(int64_t O, int64_t K) {
  return O >= 0 && O <= INT32_MAX && K > 0 && K <= kWidthMax && K % 32 == 0 &&
         O * divide_up(K, kTile) <= INT32_MAX;
}

template <class Element>
bool contract_holds(const Nf4DequantizeArgs<Element>& args) {
  if (!shape_is_supported(args.O, args.K)) return false;
  if (!strides_are_supported({args.w_stride}, args.K)) return false;
  if (args.O == 0) return true;
  if (any_null({args.codes, args.w_OK})) return false;
  const bool plain = args.absmax_B != nullptr;
  if ((args.absmax_codes_B == nullptr) != plain || (args.absmax_scale_S == nullptr) != plain) {
    return false;
  }
  if (!plain && !std::isfinite(args.absmax_mean)) return false;
  const int64_t blocks = divide_up(args.O * args.K, kNf4Block);
  const auto size = static_cast<int64_t>(sizeof(Element));
  const Span w(args.w_OK, args.O, args.K * size, args.w_stride * size);
  const Span codes(args.codes, args.O * args.K / 2), absmax(args.absmax_B, blocks * 4);
  const Span absmax_codes(args.absmax_codes_B, blocks);
  const Span scale(args.absmax_scale_S, divide_up(blocks, kNf4ScaleBlock) * 4);
  if (!w.aligned()) return false;
  for (const Span& in : {codes, absmax, absmax_codes, scale}) {
    if (!in.aligned() || w.overlaps(in)) return false;
  }
  return true;
}

// ---------------------------------------------------------------------------------------------
// Launchers

template <class Element>
cudaError_t launch_quantize(const Nf4QuantizeArgs<Element>& args, cudaStream_t stream) {
  if (!contract_holds(args)) return cudaErrorInvalidValue;
  if (args.N == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>(divide_up(args.N, kTile * kBlockWarps));
  nf4_quantize_kernel<Element><<<blocks, kBlockThreads, 0, stream>>>(args);
  return cudaGetLastError();
}

template <class Element>
cudaError_t launch_dequantize(const Nf4DequantizeArgs<Element>& args, cudaStream_t stream) {
  if (!contract_holds(args)) return cudaErrorInvalidValue;
  if (args.O == 0) return cudaSuccess;
  const auto row_tiles = static_cast<uint32_t>(divide_up(args.K, kTile));
  const auto tiles = static_cast<uint32_t>(args.O) * row_tiles;
  const auto blocks = static_cast<unsigned>(divide_up(tiles, kBlockWarps * kTilesPerWarp));
  if (args.absmax_B != nullptr) {
    nf4_dequantize_kernel<Element, false>
        <<<blocks, kBlockThreads, 0, stream>>>(args, row_tiles, tiles);
  } else {
    nf4_dequantize_kernel<Element, true>
        <<<blocks, kBlockThreads, 0, stream>>>(args, row_tiles, tiles);
  }
  return cudaGetLastError();
}

}  // namespace

cudaError_t nf4_quantize(const Nf4QuantizeArgs<__nv_bfloat16>& args, cudaStream_t stream) {
  return launch_quantize(args, stream);
}
cudaError_t nf4_quantize(const Nf4QuantizeArgs<float>& args, cudaStream_t stream) {
  return launch_quantize(args, stream);
}
cudaError_t nf4_dequantize(const Nf4DequantizeArgs<__nv_bfloat16>& args, cudaStream_t stream) {
  return launch_dequantize(args, stream);
}
cudaError_t nf4_dequantize(const Nf4DequantizeArgs<float>& args, cudaStream_t stream) {
  return launch_dequantize(args, stream);
}

}  // namespace ratchet::kernels
