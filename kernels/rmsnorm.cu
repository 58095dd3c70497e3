// RMSNorm, forward and backward. Formulas, layout and limits: rmsnorm.h.
//
// Strategy. Each pass over a row must cost one read of it, so a group of threads holds the whole
// row in registers, packed as loaded: all 16-byte loads are issued before the first use, one
// reduction follows, and the results are written from the same registers. The group is half a warp
// for head-sized rows (q/k norm, D = 128 in bf16 fills it exactly), a warp while four vectors a
// thread suffice, and the block beyond. A warp's sum needs no barrier; a block's needs one, hidden
// by the other blocks of the multiprocessor. A shared-memory stage was not chosen: it would add a
// round trip to data that each thread uses alone.
//
// dw sums over rows, across the grain of everything above. Two more kernels do it, only for method
// `full`: chunks of rows are summed by columns into the workspace, then the chunks in order.

#include "kernels/rmsnorm.h"

#include <cmath>
#include <cstdint>

#include "kernels/device/reduce.cuh"
#include "kernels/device/vec.cuh"
#include "kernels/span.h"

namespace ratchet::kernels {
namespace {

using device::group_sum;
using device::kPerVector;
using device::kWarpThreads;
using device::load_vector;
using device::load_vector_constant;
using device::pack;
using device::store_vector;
using device::unpack;

constexpr int kBlockThreads = 256;
constexpr int kBlockWarps = kBlockThreads / kWarpThreads;
constexpr int64_t kRowBytesMax = 65536;  // 256 threads x 16 vectors x 16 bytes
constexpr int64_t kRowsMax = INT32_MAX;  // grid.x
constexpr int64_t kChunksMax = 256;      // bounds the workspace and the last sum of dw
constexpr int64_t kChunkRowsMin = 64;    // 8 rows a warp: enough to pay for a partial's 4 D bytes

// ---------------------------------------------------------------------------------------------
// Device code

template <class Element, int kGroup, int kVectors>
__global__ void __launch_bounds__(kBlockThreads)
    forward_kernel(const RmsNormForwardArgs<Element> args) {
  constexpr int kPer = kPerVector<Element>;
  const int lane = static_cast<int>(threadIdx.x) % kGroup;
  const int64_t row =
      static_cast<int64_t>(blockIdx.x) * (kBlockThreads / kGroup) + threadIdx.x / kGroup;
  const bool live = row < args.T;  // Idle groups stay: the reduction needs every lane.
  const int vectors = static_cast<int>(args.D / kPer);
  const int64_t base = row * args.D;

  uint4 x[kVectors], w[kVectors];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int index = lane + v * kGroup;
    const bool inside = live && index < vectors;
    x[v] = inside ? load_vector(args.x_TD + base + index * kPer) : uint4{};
    w[v] = inside ? load_vector_constant(args.w_D + index * kPer) : uint4{};
  }
  float square_sum = 0.0F;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    float values[kPer];
    unpack(x[v], values);
#pragma unroll
    for (int i = 0; i < kPer; ++i) square_sum += values[i] * values[i];
  }
  square_sum = group_sum<kGroup, kBlockThreads>(square_sum);
  const float rstd = 1.0F / sqrtf(square_sum / static_cast<float>(args.D) + args.eps);
  if (live && lane == 0 && args.rstd_T != nullptr) args.rstd_T[row] = rstd;

#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int index = lane + v * kGroup;
    if (!live || index >= vectors) continue;
    float values[kPer], weights[kPer];
    unpack(x[v], values);
    unpack(w[v], weights);
#pragma unroll
    for (int i = 0; i < kPer; ++i) values[i] = values[i] * rstd * weights[i];
    store_vector(args.y_TD + base + index * kPer, pack(values));
  }
}

template <class Element, int kGroup, int kVectors>
__global__ void __launch_bounds__(kBlockThreads)
    backward_kernel(const RmsNormBackwardArgs<Element> args) {
  constexpr int kPer = kPerVector<Element>;
  const int lane = static_cast<int>(threadIdx.x) % kGroup;
  const int64_t row =
      static_cast<int64_t>(blockIdx.x) * (kBlockThreads / kGroup) + threadIdx.x / kGroup;
  const bool live = row < args.T;
  const int vectors = static_cast<int>(args.D / kPer);
  const int64_t base = row * args.D;

  uint4 x[kVectors], dy[kVectors], w[kVectors];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int index = lane + v * kGroup;
    const bool inside = live && index < vectors;
    x[v] = inside ? load_vector(args.x_TD + base + index * kPer) : uint4{};
    dy[v] = inside ? load_vector(args.dy_TD + base + index * kPer) : uint4{};
    w[v] = inside ? load_vector_constant(args.w_D + index * kPer) : uint4{};
  }
  const float rstd = live ? args.rstd_T[row] : 0.0F;
  float dot = 0.0F;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    float values[kPer], grads[kPer], weights[kPer];
    unpack(x[v], values);
    unpack(dy[v], grads);
    unpack(w[v], weights);
#pragma unroll
    for (int i = 0; i < kPer; ++i) dot += grads[i] * weights[i] * values[i];
  }
  dot = group_sum<kGroup, kBlockThreads>(dot);
  // Grouped so that no partial product is larger than the term it becomes part of: rstd * dot / D
  // is of the size of dy, rstd^3 alone may overflow for tiny rows.
  const float pull = rstd * (rstd * (dot / static_cast<float>(args.D)));

#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int index = lane + v * kGroup;
    if (!live || index >= vectors) continue;
    float values[kPer], grads[kPer], weights[kPer];
    unpack(x[v], values);
    unpack(dy[v], grads);
    unpack(w[v], weights);
#pragma unroll
    for (int i = 0; i < kPer; ++i) grads[i] = rstd * (grads[i] * weights[i] - values[i] * pull);
    if (args.residual_TD != nullptr) {
      unpack(load_vector(args.residual_TD + base + index * kPer), values);
#pragma unroll
      for (int i = 0; i < kPer; ++i) grads[i] += values[i];
    }
    store_vector(args.dx_TD + base + index * kPer, pack(grads));
  }
}

// Grid (column slabs, row chunks). A warp takes every eighth row of the chunk; a lane owns one
// vector of columns. The warps' sums meet in shared memory and leave in warp order.
template <class Element>
__global__ void __launch_bounds__(kBlockThreads)
    weight_partials_kernel(const RmsNormBackwardArgs<Element> args, int64_t chunk_rows) {
  constexpr int kPer = kPerVector<Element>;
  constexpr int kSlab = kWarpThreads * kPer;
  __shared__ float sums[kBlockWarps][kSlab];
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * kSlab;
  const int64_t column = first_column + lane * kPer;
  const int64_t begin = static_cast<int64_t>(blockIdx.y) * chunk_rows;
  const int64_t end = begin + chunk_rows < args.T ? begin + chunk_rows : args.T;

  float total[kPer] = {};
  if (column < args.D) {
    for (int64_t row = begin + warp; row < end; row += kBlockWarps) {
      float values[kPer], grads[kPer];
      unpack(load_vector(args.x_TD + row * args.D + column), values);
      unpack(load_vector(args.dy_TD + row * args.D + column), grads);
      const float rstd = args.rstd_T[row];
#pragma unroll
      for (int i = 0; i < kPer; ++i) total[i] += grads[i] * (values[i] * rstd);
    }
  }
#pragma unroll
  for (int i = 0; i < kPer; ++i) sums[warp][lane * kPer + i] = total[i];
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kSlab; i += kBlockThreads) {
    if (first_column + i >= args.D) break;
    float sum = 0.0F;
#pragma unroll
    for (int w = 0; w < kBlockWarps; ++w) sum += sums[w][i];
    args.workspace[static_cast<int64_t>(blockIdx.y) * args.D + first_column + i] = sum;
  }
}

// One thread a column; adds the chunks in order. chunks == 0 writes zeros.
__global__ void __launch_bounds__(kBlockThreads)
    weight_sum_kernel(const float* partials, float* dw_D, int64_t chunks, int64_t D) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kBlockThreads + threadIdx.x;
  if (column >= D) return;
  float sum = 0.0F;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += partials[chunk * D + column];
  dw_D[column] = sum;
}

// ---------------------------------------------------------------------------------------------
// Contract

bool shape_is_supported(int64_t T, int64_t D, int64_t element_bytes) {
  return T >= 0 && T <= kRowsMax && D > 0 && D % 8 == 0 && D <= kRowBytesMax / element_bytes;
}

template <class Element>
bool contract_holds(const RmsNormForwardArgs<Element>& args) {
  if (!shape_is_supported(args.T, args.D, sizeof(Element))) return false;
  if (!std::isfinite(args.eps) || args.eps < 0.0F) return false;
  if (args.w_D == nullptr) return false;
  if (args.T > 0 && (args.x_TD == nullptr || args.y_TD == nullptr)) return false;
  const int64_t tensor_bytes = args.T * args.D * static_cast<int64_t>(sizeof(Element));
  const Span x(args.x_TD, tensor_bytes), y(args.y_TD, tensor_bytes);
  const Span w(args.w_D, args.D * static_cast<int64_t>(sizeof(Element)));
  const Span rstd(args.rstd_T, args.T * 4);
  if (!x.aligned() || !y.aligned() || !w.aligned() || !rstd.aligned()) return false;
  return !y.clashes(x) && !y.overlaps(w) && !y.overlaps(rstd) && !rstd.overlaps(x) &&
         !rstd.overlaps(w);
}

template <class Element>
bool contract_holds(const RmsNormBackwardArgs<Element>& args) {
  if (!shape_is_supported(args.T, args.D, sizeof(Element))) return false;
  if (args.w_D == nullptr) return false;
  const bool rows_null = args.dy_TD == nullptr || args.x_TD == nullptr || args.rstd_T == nullptr ||
                         args.dx_TD == nullptr;
  if (args.T > 0 && rows_null) return false;
  const int64_t tensor_bytes = args.T * args.D * static_cast<int64_t>(sizeof(Element));
  const Span dy(args.dy_TD, tensor_bytes), x(args.x_TD, tensor_bytes);
  const Span residual(args.residual_TD, tensor_bytes), dx(args.dx_TD, tensor_bytes);
  const Span w(args.w_D, args.D * static_cast<int64_t>(sizeof(Element)));
  const Span rstd(args.rstd_T, args.T * 4), dw(args.dw_D, args.D * 4);
  for (const Span& span : {dy, x, residual, dx, w, rstd, dw}) {
    if (!span.aligned()) return false;
  }
  if (dx.clashes(dy) || dx.clashes(residual)) return false;
  if (dx.overlaps(x) || dx.overlaps(w) || dx.overlaps(rstd)) return false;
  if (args.dw_D == nullptr) return true;

  const int64_t needed = rmsnorm_backward_workspace_bytes(args.T, args.D);
  if (needed > 0 && args.workspace == nullptr) return false;
  if (args.workspace_bytes < needed) return false;
  const Span workspace(args.workspace, needed);
  if (!workspace.aligned() || workspace.overlaps(dw)) return false;
  for (const Span& span : {dy, x, residual, dx, w, rstd}) {
    if (dw.overlaps(span) || workspace.overlaps(span)) return false;
  }
  return true;
}

// ---------------------------------------------------------------------------------------------
// Launchers

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t chunk_rows_for(int64_t T) {
  const int64_t even = divide_up(T, kChunksMax);
  return even < kChunkRowsMin ? kChunkRowsMin : even;
}

int64_t chunks_for(int64_t T) { return divide_up(T, chunk_rows_for(T)); }

// Calls launch.operator()<kGroup, kVectors>() for the smallest tile that holds a row of `vectors`.
template <class Launch>
void with_tile(int64_t vectors, const Launch& launch) {
  if (vectors <= 16) return launch.template operator()<16, 1>();
  if (vectors <= 32) return launch.template operator()<32, 1>();
  if (vectors <= 64) return launch.template operator()<32, 2>();
  if (vectors <= 128) return launch.template operator()<32, 4>();
  if (vectors <= 256) return launch.template operator()<256, 1>();
  if (vectors <= 512) return launch.template operator()<256, 2>();
  if (vectors <= 1024) return launch.template operator()<256, 4>();
  if (vectors <= 2048) return launch.template operator()<256, 8>();
  return launch.template operator()<256, 16>();
}

template <class Element>
cudaError_t launch_forward(const RmsNormForwardArgs<Element>& args, cudaStream_t stream) {
  if (!contract_holds(args)) return cudaErrorInvalidValue;
  if (args.T == 0) return cudaSuccess;
  with_tile(args.D / kPerVector<Element>, [&]<int kGroup, int kVectors>() {
    const auto blocks = static_cast<unsigned>(divide_up(args.T, kBlockThreads / kGroup));
    forward_kernel<Element, kGroup, kVectors><<<blocks, kBlockThreads, 0, stream>>>(args);
  });
  return cudaGetLastError();
}

template <class Element>
cudaError_t launch_weight_gradient(const RmsNormBackwardArgs<Element>& args, cudaStream_t stream) {
  const int64_t chunks = args.T == 0 ? 0 : chunks_for(args.T);
  if (chunks > 0) {
    const int64_t slabs = divide_up(args.D, kWarpThreads * kPerVector<Element>);
    const dim3 grid(static_cast<unsigned>(slabs), static_cast<unsigned>(chunks));
    weight_partials_kernel<<<grid, kBlockThreads, 0, stream>>>(args, chunk_rows_for(args.T));
    if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
  }
  const auto blocks = static_cast<unsigned>(divide_up(args.D, kBlockThreads));
  weight_sum_kernel<<<blocks, kBlockThreads, 0, stream>>>(args.workspace, args.dw_D, chunks,
                                                          args.D);
  return cudaGetLastError();
}

template <class Element>
cudaError_t launch_backward(const RmsNormBackwardArgs<Element>& args, cudaStream_t stream) {
  if (!contract_holds(args)) return cudaErrorInvalidValue;
  if (args.dw_D != nullptr) {  // First: dx may overwrite dy.
    const cudaError_t error = launch_weight_gradient(args, stream);
    if (error != cudaSuccess) return error;
  }
  if (args.T == 0) return cudaSuccess;
  with_tile(args.D / kPerVector<Element>, [&]<int kGroup, int kVectors>() {
    const auto blocks = static_cast<unsigned>(divide_up(args.T, kBlockThreads / kGroup));
    backward_kernel<Element, kGroup, kVectors><<<blocks, kBlockThreads, 0, stream>>>(args);
  });
  return cudaGetLastError();
}

}  // namespace

int64_t rmsnorm_backward_workspace_bytes(int64_t T, int64_t D) {
  if (T <= 0 || D <= 0) return 0;
  return chunks_for(T) * D * 4;
}

cudaError_t rmsnorm_forward(const RmsNormForwardArgs<__nv_bfloat16>& args, cudaStream_t stream) {
  return launch_forward(args, stream);
}
cudaError_t rmsnorm_forward(const RmsNormForwardArgs<float>& args, cudaStream_t stream) {
  return launch_forward(args, stream);
}
cudaError_t rmsnorm_backward(const RmsNormBackwardArgs<__nv_bfloat16>& args, cudaStream_t stream) {
  return launch_backward(args, stream);
}
cudaError_t rmsnorm_backward(const RmsNormBackwardArgs<float>& args, cudaStream_t stream) {
  return launch_backward(args, stream);
}

}  // namespace ratchet::kernels
