#pragma once

// NF4 by its definition (kernels/nf4.h, kernels/block_formats.h): plain loops, no CUDA. Used by
// tests and benchmarks alike. Computed in double and rounded to fp32 after each operation, which is
// what fp32 arithmetic does (a double holds products of two floats exactly, and its sums and
// quotients round to fp32 as if rounded once), so results compare bit by bit.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/block_formats.h"

namespace ratchet::kernels::reference {

struct Nf4 {
  std::vector<uint8_t> codes;  // [N / 2]
  std::vector<float> absmax_B;
};

inline float rounded(double value) { return static_cast<float>(value); }

inline Nf4 nf4_quantize(const std::vector<float>& x_N) {
  constexpr size_t kBlock = kNf4Block;
  Nf4 out{std::vector<uint8_t>(x_N.size() / 2),
          std::vector<float>((x_N.size() + kBlock - 1) / kBlock)};
  for (size_t b = 0; b < out.absmax_B.size(); ++b) {
    const size_t begin = b * kBlock, end = std::min(begin + kBlock, x_N.size());
    float absmax = 0.0F;
    for (size_t n = begin; n < end; ++n) {
      const float magnitude = std::fabs(x_N[n]);
      if (std::isnan(magnitude) || magnitude > absmax) absmax = magnitude;
      if (std::isnan(absmax)) break;
    }
    out.absmax_B[b] = absmax;
    const float inverse = absmax == 0.0F ? 0.0F : rounded(1.0 / double{absmax});
    for (size_t n = begin; n < end; ++n) {
      const uint8_t code = code_of(rounded(double{x_N[n]} * double{inverse}), kNf4Bounds);
      out.codes[n / 2] = static_cast<uint8_t>(out.codes[n / 2] | (n % 2 == 0 ? code << 4 : code));
    }
  }
  return out;
}

inline std::vector<float> nf4_nested_absmax(const std::vector<uint8_t>& absmax_codes_B,
                                            const std::vector<float>& absmax_scale_S, float mean) {
  std::vector<float> out;
  for (size_t b = 0; b < absmax_codes_B.size(); ++b) {
    const float value = kSignedValues[absmax_codes_B[b]];
    const float product = rounded(double{value} * double{absmax_scale_S[b / kNf4ScaleBlock]});
    out.push_back(rounded(double{product} + double{mean}));
  }
  return out;
}

// In fp32; the caller rounds to the stored type.
inline std::vector<float> nf4_dequantize(const std::vector<uint8_t>& codes,
                                         const std::vector<float>& absmax_B) {
  std::vector<float> out;
  for (size_t n = 0; n < codes.size() * 2; ++n) {
    const unsigned code = n % 2 == 0 ? codes[n / 2] >> 4U : codes[n / 2] & 15U;
    out.push_back(rounded(double{kNf4Values[code]} * double{absmax_B[n / kNf4Block]}));
  }
  return out;
}

}  // namespace ratchet::kernels::reference
