// SwiGLU, forward and backward. Formulas, layout and limits: swiglu.h.
//
// Strategy. Elementwise: a thread owns one 16-byte vector of one row, loads its inputs, and stores
// its results from registers, so that an output may lie exactly over an input. Rows have strides,
// so a block is a rectangle: `lanes` threads along a row, a power of two no wider than the row
// needs, and the rest down the rows. Shifts find a thread's place; a division by F for each vector
// would cost as much as the arithmetic. Narrow rows thus share a block, wide ones take several.
//
// With e = e^-|x|, both s(x) and 1 - s(x) are 1 / (1 + e) or e / (1 + e): nothing overflows, and
// 1 - s(x) does not cancel.

#include "kernels/swiglu.h"

#include <cstdint>

#include "kernels/device/vec.cuh"
#include "kernels/span.h"

namespace ratchet::kernels {
namespace {

using device::kPerVector;
using device::load_vector;
using device::pack;
using device::store_vector;
using device::unpack;

constexpr int kBlockThreads = 256;
constexpr int kBlockThreadsLog2 = 8;
constexpr int64_t kRowsMax = INT32_MAX;          // grid.x
constexpr int64_t kWidthMax = int64_t{1} << 20;  // grid.y stays below 65536

// ---------------------------------------------------------------------------------------------
// Device code

struct Sigmoid {
  float s, rest;  // s(x) and 1 - s(x)
};

// bf16 keeps 8 bits: the hardware's exponential and reciprocal serve. fp32 keeps all.
template <class Element>
__device__ inline Sigmoid sigmoid(float x) {
  float near, far;
  if constexpr (sizeof(Element) == 2) {
    const float e = __expf(-fabsf(x));
    near = __fdividef(1.0F, 1.0F + e);
    far = e * near;
  } else {
    const float e = expf(-fabsf(x));
    near = 1.0F / (1.0F + e);
    far = e * near;
  }
  return x >= 0.0F ? Sigmoid{near, far} : Sigmoid{far, near};
}

struct Place {
  int64_t row, column;  // column: of the vector's first element
};

template <class Element>
__device__ inline Place place_of(int lanes_log2) {
  const auto thread = static_cast<int>(threadIdx.x);
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) << (kBlockThreadsLog2 - lanes_log2);
  const int64_t first_vector = static_cast<int64_t>(blockIdx.y) << lanes_log2;
  const int lane = thread & ((1 << lanes_log2) - 1);
  return {first_row + (thread >> lanes_log2), (first_vector + lane) * kPerVector<Element>};
}

template <class Element>
__global__ void __launch_bounds__(kBlockThreads)
    swiglu_forward_kernel(const SwigluForwardArgs<Element> args, int lanes_log2) {
  constexpr int kPer = kPerVector<Element>;
  const Place at = place_of<Element>(lanes_log2);
  if (at.row >= args.T || at.column >= args.F) return;
  float gate[kPer], up[kPer];
  unpack(load_vector(args.gate_TF + at.row * args.gate_stride + at.column), gate);
  unpack(load_vector(args.up_TF + at.row * args.up_stride + at.column), up);
#pragma unroll
  for (int i = 0; i < kPer; ++i) up[i] *= gate[i] * sigmoid<Element>(gate[i]).s;
  store_vector(args.h_TF + at.row * args.h_stride + at.column, pack(up));
}

template <class Element>
__global__ void __launch_bounds__(kBlockThreads)
    swiglu_backward_kernel(const SwigluBackwardArgs<Element> args, int lanes_log2) {
  constexpr int kPer = kPerVector<Element>;
  const Place at = place_of<Element>(lanes_log2);
  if (at.row >= args.T || at.column >= args.F) return;
  float dh[kPer], gate[kPer], up[kPer];
  unpack(load_vector(args.dh_TF + at.row * args.dh_stride + at.column), dh);
  unpack(load_vector(args.gate_TF + at.row * args.gate_stride + at.column), gate);
  unpack(load_vector(args.up_TF + at.row * args.up_stride + at.column), up);
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const Sigmoid sig = sigmoid<Element>(gate[i]);
    const float slope = sig.s * (1.0F + gate[i] * sig.rest);
    const float silu = gate[i] * sig.s;
    gate[i] = dh[i] * up[i] * slope;
    up[i] = dh[i] * silu;
  }
  store_vector(args.dgate_TF + at.row * args.dgate_stride + at.column, pack(gate));
  store_vector(args.dup_TF + at.row * args.dup_stride + at.column, pack(up));
}

// ---------------------------------------------------------------------------------------------
// Contract

bool shape_is_supported(int64_t T, int64_t F) {
  return T >= 0 && T <= kRowsMax && F > 0 && F <= kWidthMax && F % 8 == 0;
}

template <class Element>
Span rows_of(Element* p, int64_t T, int64_t F, int64_t stride) {
  const auto size = static_cast<int64_t>(sizeof(Element));
  return {p, T, F * size, stride * size};
}

template <class Element>
bool contract_holds(const SwigluForwardArgs<Element>& args) {
  if (!shape_is_supported(args.T, args.F)) return false;
  if (!strides_are_supported({args.gate_stride, args.up_stride, args.h_stride}, args.F)) {
    return false;
  }
  if (args.T == 0) return true;
  if (any_null({args.gate_TF, args.up_TF, args.h_TF})) return false;
  const Span gate = rows_of(args.gate_TF, args.T, args.F, args.gate_stride);
  const Span up = rows_of(args.up_TF, args.T, args.F, args.up_stride);
  const Span h = rows_of(args.h_TF, args.T, args.F, args.h_stride);
  return gate.aligned() && up.aligned() && h.aligned() && !h.clashes(gate) && !h.clashes(up);
}

template <class Element>
bool contract_holds(const SwigluBackwardArgs<Element>& args) {
  if (!shape_is_supported(args.T, args.F)) return false;
  if (!strides_are_supported(
          {args.dh_stride, args.gate_stride, args.up_stride, args.dgate_stride, args.dup_stride},
          args.F)) {
    return false;
  }
  if (args.T == 0) return true;
  if (any_null({args.dh_TF, args.gate_TF, args.up_TF, args.dgate_TF, args.dup_TF})) return false;
  const Span dh = rows_of(args.dh_TF, args.T, args.F, args.dh_stride);
  const Span gate = rows_of(args.gate_TF, args.T, args.F, args.gate_stride);
  const Span up = rows_of(args.up_TF, args.T, args.F, args.up_stride);
  const Span dgate = rows_of(args.dgate_TF, args.T, args.F, args.dgate_stride);
  const Span dup = rows_of(args.dup_TF, args.T, args.F, args.dup_stride);
  if (!dgate.aligned() || !dup.aligned() || dgate.overlaps(dup)) return false;
  for (const Span& in : {dh, gate, up}) {
    if (!in.aligned() || dgate.clashes(in) || dup.clashes(in)) return false;
  }
  return true;
}

// ---------------------------------------------------------------------------------------------
// Launchers

struct Tile {
  int lanes_log2;
  dim3 grid;
};

template <class Element>
Tile tile_for(int64_t T, int64_t F) {
  const int64_t vectors = F / kPerVector<Element>;
  int lanes_log2 = 0;
  while (lanes_log2 < kBlockThreadsLog2 && (int64_t{1} << lanes_log2) < vectors) ++lanes_log2;
  const int64_t lanes = int64_t{1} << lanes_log2;
  const int64_t rows = kBlockThreads / lanes;
  return {lanes_log2, dim3(static_cast<unsigned>((T + rows - 1) / rows),
                           static_cast<unsigned>((vectors + lanes - 1) / lanes))};
}

template <class Element>
cudaError_t launch_forward(const SwigluForwardArgs<Element>& args, cudaStream_t stream) {
  if (!contract_holds(args)) return cudaErrorInvalidValue;
  if (args.T == 0) return cudaSuccess;
  const Tile tile = tile_for<Element>(args.T, args.F);
  swiglu_forward_kernel<Element><<<tile.grid, kBlockThreads, 0, stream>>>(args, tile.lanes_log2);
  return cudaGetLastError();
}

template <class Element>
cudaError_t launch_backward(const SwigluBackwardArgs<Element>& args, cudaStream_t stream) {
  if (!contract_holds(args)) return cudaErrorInvalidValue;
  if (args.T == 0) return cudaSuccess;
  const Tile tile = tile_for<Element>(args.T, args.F);
  swiglu_backward_kernel<Element><<<tile.grid, kBlockThreads, 0, stream>>>(args, tile.lanes_log2);
  return cudaGetLastError();
}

}  // namespace

cudaError_t swiglu_forward(const SwigluForwardArgs<__nv_bfloat16>& args, cudaStream_t stream) {
  return launch_forward(args, stream);
}
cudaError_t swiglu_forward(const SwigluForwardArgs<float>& args, cudaStream_t stream) {
  return launch_forward(args, stream);
}
cudaError_t swiglu_backward(const SwigluBackwardArgs<__nv_bfloat16>& args, cudaStream_t stream) {
  return launch_backward(args, stream);
}
cudaError_t swiglu_backward(const SwigluBackwardArgs<float>& args, cudaStream_t stream) {
  return launch_backward(args, stream);
}

}  // namespace ratchet::kernels
