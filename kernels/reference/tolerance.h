#pragma once

// The one place that says how far a kernel may be from its double reference.
//
//   |got - reference| <= roundoff(stored type) * |reference| + 2^-24 * operations * scale
//
// First term: the single rounding of the result to the type it is stored in (half an ulp: 2^-8 for
// the 8 significand bits of bf16, 2^-24 for fp32; below 2^-126, where ulps stop shrinking, that of
// 2^-126). Second term: fp32 arithmetic on the way; each operation on the longest dependent chain
// errs by at most 2^-24 of the magnitudes that it adds (Higham, "Accuracy and Stability of
// Numerical Algorithms", section 3.1), and `scale` is the sum of those magnitudes. Inputs are
// exact: references are fed the rounded values.

#include <cmath>
#include <cstdint>

namespace ratchet::kernels::reference {

enum class DType { kBf16, kF32 };

// Longest chain of dependent fp32 operations behind one output.
//  kRow: a sum along a row, then elementwise work. A thread adds at most 128 elements (16 vectors
//        of 8), a tree of 5 and 8 warps follow; products, division and root round off the bound.
//  kColumn: a sum over rows. A warp takes every eighth row of a chunk, then 8 warps and at most
//        256 chunks are added; products of three round off the bound.
//  kElement: no sum. An exponential (2 ulp), a division, and fewer than 12 products and sums.
//  kFastExp: the same over the hardware's exponential, which errs by 2 + 1.16 |x| ulp (CUDA C++
//        Programming Guide, intrinsic functions); e^-|x| is 0 from |x| = 104 on. And over its
//        reciprocal, 2 ulp.
enum class OpClass { kRow, kColumn, kElement, kFastExp };

inline double chain_operations(OpClass op, int64_t reduction_length) {
  if (op == OpClass::kRow) {
    return std::fmin(static_cast<double>(reduction_length), 128.0) + 5.0 + 8.0 + 11.0;
  }
  if (op == OpClass::kElement) return 16.0;
  if (op == OpClass::kFastExp) return 16.0 + 2.0 + 1.16 * 104.0 + 2.0;
  const double chunk_rows =
      std::fmax(64.0, std::ceil(static_cast<double>(reduction_length) / 256.0));
  return chunk_rows / 8.0 + 8.0 + 256.0 + 8.0;
}

inline double roundoff(DType dtype) {
  return dtype == DType::kBf16 ? std::ldexp(1.0, -8) : std::ldexp(1.0, -24);
}

inline double tolerance(OpClass op, DType dtype, int64_t reduction_length, double reference,
                        double scale) {
  return roundoff(dtype) * std::fmax(std::fabs(reference), std::ldexp(1.0, -126)) +
         std::ldexp(1.0, -24) * chain_operations(op, reduction_length) * scale;
}

}  // namespace ratchet::kernels::reference
