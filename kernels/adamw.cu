// Global norm, clipping and AdamW. Formulas, layout and limits: adamw.h.
//
// Strategy. Norm: a thread block squares and adds its kNormBlock values in double (H200 adds
// doubles at half the fp32 rate, far above what memory delivers): a thread every 256th vector,
// lanes by a butterfly, warps in order. One more thread block adds the sums the same way. Squares
// of fp32 values are exact in double, so contraction cannot change a bit.
//
// Update: a thread takes 8 elements at a time, eight loads before the first use, and so stores bf16
// 16 bytes wide. It makes the clip factor itself, once, from the norm: a division in double against
// hundreds of bytes. The intrinsics that round each operation keep the compiler from contracting.

#include "kernels/adamw.h"

#include <cmath>
#include <cstdint>

#include "kernels/device/reduce.cuh"
#include "kernels/device/vec.cuh"
#include "kernels/span.h"

namespace ratchet::kernels {
namespace {

using device::group_sum;
using device::load_vector;
using device::pack;
using device::store_vector;
using device::unpack;

constexpr int kBlockThreads = 256;
constexpr int64_t kCountMax = int64_t{1} << 40;
constexpr int kPer = 8;               // elements a thread updates at a time
constexpr int64_t kBlocksMax = 4096;  // of the update: several rounds of any device we know

// What adamw_step needs besides the arenas, in the precision of trainer/train/adamw.cc.
struct Scalars {
  float decay, step_size, root2, beta1_rest, beta2, beta2_rest, eps;
};

struct Element {
  float p, m, v;
};

// ---------------------------------------------------------------------------------------------
// Device code

__global__ void __launch_bounds__(kBlockThreads)
    norm_blocks_kernel(const float* values_N, double* sums, int64_t N) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kNormBlock;
  const int64_t end = begin + kNormBlock < N ? begin + kNormBlock : N;
  const int64_t whole = begin + (end - begin) / 4 * 4;
  double sum = 0.0;
#pragma unroll 4
  for (int64_t i = begin + 4 * static_cast<int>(threadIdx.x); i < whole; i += 4 * kBlockThreads) {
    float four[4];
    unpack(load_vector(values_N + i), four);
#pragma unroll
    for (int j = 0; j < 4; ++j) sum += static_cast<double>(four[j]) * static_cast<double>(four[j]);
  }
  if (whole + threadIdx.x < end) {  // at most 3 values, of the last block
    const double value = values_N[whole + threadIdx.x];
    sum += value * value;
  }
  sum = group_sum<kBlockThreads, kBlockThreads>(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kBlockThreads)
    norm_total_kernel(const double* sums, double* norm, int64_t count) {
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < count; i += kBlockThreads) sum += sums[i];
  sum = group_sum<kBlockThreads, kBlockThreads>(sum);
  if (threadIdx.x == 0) *norm = sqrt(sum);
}

__device__ inline float clip_factor(const double* norm, double max_norm) {
  if (norm == nullptr || max_norm <= 0.0) return 1.0F;
  // The small constant keeps a zero norm from dividing by zero, as torch's clip_grad_norm_ does.
  const double factor = max_norm / (*norm + 1e-6);
  return factor < 1.0 ? static_cast<float>(factor) : 1.0F;
}

__device__ inline Element updated(const Element& old, float grad, float clip, const Scalars& s) {
  const float g = __fmul_rn(grad, clip);
  const float m = __fadd_rn(old.m, __fmul_rn(s.beta1_rest, __fsub_rn(g, old.m)));
  const float v = __fadd_rn(__fmul_rn(old.v, s.beta2), __fmul_rn(s.beta2_rest, __fmul_rn(g, g)));
  const float root = __fadd_rn(__fdiv_rn(__fsqrt_rn(v), s.root2), s.eps);
  const float p = __fsub_rn(__fmul_rn(old.p, s.decay), __fmul_rn(s.step_size, __fdiv_rn(m, root)));
  return {p, m, v};
}

__device__ inline void load_eight(const float* p, float (&out)[kPer]) {
  float low[4], high[4];
  unpack(load_vector(p), low);
  unpack(load_vector(p + 4), high);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    out[i] = low[i];
    out[4 + i] = high[i];
  }
}

__device__ inline void store_eight(float* p, const float (&in)[kPer]) {
  const float low[4] = {in[0], in[1], in[2], in[3]};
  const float high[4] = {in[4], in[5], in[6], in[7]};
  store_vector(p, pack(low));
  store_vector(p + 4, pack(high));
}

__global__ void __launch_bounds__(kBlockThreads)
    adamw_kernel(const AdamWArgs args, const Scalars scalars) {
  const float clip = clip_factor(args.norm, args.max_norm);
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kBlockThreads + threadIdx.x;
  const int64_t threads = static_cast<int64_t>(gridDim.x) * kBlockThreads;
  const int64_t groups = args.N / kPer;
  for (int64_t group = thread; group < groups; group += threads) {
    const int64_t at = group * kPer;
    float p[kPer], g[kPer], m[kPer], v[kPer];
    load_eight(args.params_N + at, p);
    load_eight(args.grads_N + at, g);
    load_eight(args.exp_avg_N + at, m);
    load_eight(args.exp_avg_sq_N + at, v);
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const Element now = updated({p[i], m[i], v[i]}, g[i], clip, scalars);
      p[i] = now.p;
      m[i] = now.m;
      v[i] = now.v;
    }
    store_eight(args.params_N + at, p);
    store_eight(args.exp_avg_N + at, m);
    store_eight(args.exp_avg_sq_N + at, v);
    if (args.publish_N != nullptr) store_vector(args.publish_N + at, pack(p));
  }
  const int64_t at = groups * kPer + thread;  // at most 7 elements, for the first threads
  if (at >= args.N) return;
  const Element old = {args.params_N[at], args.exp_avg_N[at], args.exp_avg_sq_N[at]};
  const Element now = updated(old, args.grads_N[at], clip, scalars);
  args.params_N[at] = now.p;
  args.exp_avg_N[at] = now.m;
  args.exp_avg_sq_N[at] = now.v;
  if (args.publish_N != nullptr) args.publish_N[at] = __float2bfloat16(now.p);
}

// ---------------------------------------------------------------------------------------------
// Contract

bool contract_holds(const GlobalNormArgs& args) {
  if (args.N < 0 || args.N > kCountMax || args.norm == nullptr) return false;
  const int64_t needed = global_norm_workspace_bytes(args.N);
  if (args.workspace_bytes < needed) return false;
  if (args.N > 0 && any_null({args.values_N, args.workspace})) return false;
  const Span values(args.values_N, args.N * 4), norm(args.norm, 8);
  const Span workspace(args.workspace, needed);
  return values.aligned() && norm.aligned() && workspace.aligned() && !norm.overlaps(values) &&
         !norm.overlaps(workspace) && !workspace.overlaps(values);
}

bool scalars_are_supported(const AdamWArgs& args) {
  for (const double value : {args.learning_rate, args.weight_decay, args.eps, args.max_norm}) {
    if (!std::isfinite(value)) return false;
  }
  const auto rate = [](double beta) { return beta >= 0.0 && beta < 1.0; };
  return args.step >= 1 && rate(args.beta1) && rate(args.beta2) && args.eps >= 0.0 &&
         args.max_norm >= 0.0;
}

bool contract_holds(const AdamWArgs& args) {
  if (args.N < 0 || args.N > kCountMax || !scalars_are_supported(args)) return false;
  if (args.N == 0) return true;
  if (any_null({args.params_N, args.grads_N, args.exp_avg_N, args.exp_avg_sq_N})) return false;
  const int64_t bytes = args.N * 4;
  const Span written[] = {{args.params_N, bytes},
                          {args.exp_avg_N, bytes},
                          {args.exp_avg_sq_N, bytes},
                          {args.publish_N, args.N * 2}};
  const Span read[] = {{args.grads_N, bytes}, {args.norm, 8}};
  for (const Span& span : read) {
    if (!span.aligned()) return false;
  }
  for (const Span& out : written) {
    if (!out.aligned()) return false;
    for (const Span& in : read) {
      if (out.overlaps(in)) return false;
    }
    for (const Span& other : written) {
      if (&other != &out && out.overlaps(other)) return false;
    }
  }
  return true;
}

// ---------------------------------------------------------------------------------------------
// Launchers

Scalars scalars_of(const AdamWArgs& args) {
  const auto step = static_cast<double>(args.step);
  const double correction1 = 1.0 - std::pow(args.beta1, step);
  const double correction2 = 1.0 - std::pow(args.beta2, step);
  return {.decay = static_cast<float>(1.0 - args.learning_rate * args.weight_decay),
          .step_size = static_cast<float>(args.learning_rate / correction1),
          .root2 = static_cast<float>(std::sqrt(correction2)),
          .beta1_rest = static_cast<float>(1.0 - args.beta1),
          .beta2 = static_cast<float>(args.beta2),
          .beta2_rest = static_cast<float>(1.0 - args.beta2),
          .eps = static_cast<float>(args.eps)};
}

}  // namespace

cudaError_t global_norm(const GlobalNormArgs& args, cudaStream_t stream) {
  if (!contract_holds(args)) return cudaErrorInvalidValue;
  const int64_t blocks = global_norm_workspace_bytes(args.N) / 8;
  if (blocks > 0) {
    norm_blocks_kernel<<<static_cast<unsigned>(blocks), kBlockThreads, 0, stream>>>(
        args.values_N, args.workspace, args.N);
    if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
  }
  norm_total_kernel<<<1, kBlockThreads, 0, stream>>>(args.workspace, args.norm, blocks);
  return cudaGetLastError();
}

cudaError_t adamw_step(const AdamWArgs& args, cudaStream_t stream) {
  if (!contract_holds(args)) return cudaErrorInvalidValue;
  if (args.N == 0) return cudaSuccess;
  const int64_t enough = (args.N + kBlockThreads * kPer - 1) / (kBlockThreads * kPer);
  const auto blocks = static_cast<unsigned>(enough < kBlocksMax ? enough : kBlocksMax);
  adamw_kernel<<<blocks, kBlockThreads, 0, stream>>>(args, scalars_of(args));
  return cudaGetLastError();
}

}  // namespace ratchet::kernels
