// Rotary position embedding. Formulas, layout and limits: rope.h.
//
// Strategy. A thread owns one 16-byte vector of the lower half of a head and its partner in the
// upper half: it turns both and nobody else reads them, so the work is in place. It keeps the
// cosines and sines of its columns in registers and walks over heads, which share them; read for
// each head anew, the fp32 tables would be twice the traffic of bf16 data. A block is a box of
// column vectors x heads x tokens, each a power of two, so that shifts find a thread's place. q and
// k are one range of heads.

#include "kernels/rope.h"

#include <cstdint>

#include "kernels/device/vec.cuh"
#include "kernels/span.h"

namespace ratchet::kernels {
namespace {

using device::kPerVector;
using device::load_vector;
using device::load_vector_constant;
using device::pack;
using device::store_vector;
using device::unpack;

constexpr int kBlockThreads = 128;
constexpr int kBlockThreadsLog2 = 7;
constexpr int64_t kRowsMax = INT32_MAX;  // grid.x
constexpr int64_t kHeadDimMax = 1024;    // 128 threads x 4 elements x 2 halves
constexpr int64_t kHeadsMax = 1024;

// Powers of two that multiply to kBlockThreads.
struct Box {
  int lanes_log2, heads_log2, tokens_log2;
};

// ---------------------------------------------------------------------------------------------
// Device code

// kPer values of the tables, from 16-byte loads.
template <int kPer>
__device__ inline void load_table(const float* p, float (&out)[kPer]) {
#pragma unroll
  for (int v = 0; v < kPer / 4; ++v) {
    float four[4];
    unpack(load_vector_constant(p + 4 * v), four);
#pragma unroll
    for (int i = 0; i < 4; ++i) out[4 * v + i] = four[i];
  }
}

// direction: 1 turns forward, -1 back.
template <class Element>
__global__ void __launch_bounds__(kBlockThreads)
    rope_kernel(const RopeArgs<Element> args, float direction, Box box) {
  constexpr int kPer = kPerVector<Element>;
  const auto thread = static_cast<int>(threadIdx.x);
  const int column = (thread & ((1 << box.lanes_log2) - 1)) * kPer;
  const int first_head = (thread >> box.lanes_log2) & ((1 << box.heads_log2) - 1);
  const int64_t token = (static_cast<int64_t>(blockIdx.x) << box.tokens_log2) +
                        (thread >> (box.lanes_log2 + box.heads_log2));
  const int half = static_cast<int>(args.K / 2);
  if (token >= args.T || column >= half) return;

  float cosine[kPer], sine[kPer];
  load_table(args.cos_TJ + token * half + column, cosine);
  load_table(args.sin_TJ + token * half + column, sine);
#pragma unroll
  for (int i = 0; i < kPer; ++i) sine[i] *= direction;

  const int q_heads = static_cast<int>(args.q_heads);
  const int heads = q_heads + static_cast<int>(args.k_heads);
  for (int head = first_head; head < heads; head += 1 << box.heads_log2) {
    Element* row = head < q_heads ? args.q_THK + token * args.q_stride + head * args.K
                                  : args.k_THK + token * args.k_stride + (head - q_heads) * args.K;
    float low[kPer], high[kPer];
    unpack(load_vector(row + column), low);
    unpack(load_vector(row + half + column), high);
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const float a = low[i], b = high[i];
      low[i] = __fsub_rn(__fmul_rn(a, cosine[i]), __fmul_rn(b, sine[i]));
      high[i] = __fadd_rn(__fmul_rn(b, cosine[i]), __fmul_rn(a, sine[i]));
    }
    store_vector(row + column, pack(low));
    store_vector(row + half + column, pack(high));
  }
}

// ---------------------------------------------------------------------------------------------
// Contract

bool shape_is_supported(int64_t T, int64_t q_heads, int64_t k_heads, int64_t K) {
  return T >= 0 && T <= kRowsMax && K > 0 && K <= kHeadDimMax && K % 16 == 0 && q_heads >= 0 &&
         q_heads <= kHeadsMax && k_heads >= 0 && k_heads <= kHeadsMax;
}

template <class Element>
bool contract_holds(const RopeArgs<Element>& args) {
  if (!shape_is_supported(args.T, args.q_heads, args.k_heads, args.K)) return false;
  const int64_t q_width = args.q_heads * args.K, k_width = args.k_heads * args.K;
  if (q_width > 0 && !strides_are_supported({args.q_stride}, q_width)) return false;
  if (k_width > 0 && !strides_are_supported({args.k_stride}, k_width)) return false;
  if (args.T == 0 || q_width + k_width == 0) return true;

  if (any_null({args.cos_TJ, args.sin_TJ})) return false;
  if ((q_width > 0 && args.q_THK == nullptr) || (k_width > 0 && args.k_THK == nullptr)) {
    return false;
  }
  const auto size = static_cast<int64_t>(sizeof(Element));
  const Span q(args.q_THK, args.T, q_width * size, args.q_stride * size);
  const Span k(args.k_THK, args.T, k_width * size, args.k_stride * size);
  const Span cosine(args.cos_TJ, args.T * args.K * 2), sine(args.sin_TJ, args.T * args.K * 2);
  for (const Span& span : {q, k, cosine, sine}) {
    if (!span.aligned()) return false;
  }
  for (const Span& out : {q, k}) {
    if (out.overlaps(cosine) || out.overlaps(sine)) return false;
  }
  return !q.overlaps(k);
}

// ---------------------------------------------------------------------------------------------
// Launchers

// The smallest power of two, as an exponent, that holds `count`; at most `limit`.
int log2_for(int64_t count, int limit) {
  int exponent = 0;
  while (exponent < limit && (int64_t{1} << exponent) < count) ++exponent;
  return exponent;
}

template <class Element>
cudaError_t launch(const RopeArgs<Element>& args, float direction, cudaStream_t stream) {
  if (!contract_holds(args)) return cudaErrorInvalidValue;
  const int64_t heads = args.q_heads + args.k_heads;
  if (args.T == 0 || heads == 0) return cudaSuccess;
  Box box{};
  box.lanes_log2 = log2_for(args.K / 2 / kPerVector<Element>, kBlockThreadsLog2);
  box.heads_log2 = log2_for(heads, kBlockThreadsLog2 - box.lanes_log2);
  box.tokens_log2 = kBlockThreadsLog2 - box.lanes_log2 - box.heads_log2;
  const int64_t tokens = int64_t{1} << box.tokens_log2;
  const auto blocks = static_cast<unsigned>((args.T + tokens - 1) / tokens);
  rope_kernel<Element><<<blocks, kBlockThreads, 0, stream>>>(args, direction, box);
  return cudaGetLastError();
}

}  // namespace

cudaError_t rope_forward(const RopeArgs<__nv_bfloat16>& args, cudaStream_t stream) {
  return launch(args, 1.0F, stream);
}
cudaError_t rope_forward(const RopeArgs<float>& args, cudaStream_t stream) {
  return launch(args, 1.0F, stream);
}
cudaError_t rope_backward(const RopeArgs<__nv_bfloat16>& args, cudaStream_t stream) {
  return launch(args, -1.0F, stream);
}
cudaError_t rope_backward(const RopeArgs<float>& args, cudaStream_t stream) {
  return launch(args, -1.0F, stream);
}

}  // namespace ratchet::kernels
