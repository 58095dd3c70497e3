#pragma once

// Rotary position embedding by its formulas (kernels/rope.h): plain loops in double, no CUDA. Used
// by tests and benchmarks alike; feed it the values that the kernel sees.

#include <cmath>
#include <cstddef>
#include <vector>

namespace ratchet::kernels::reference {

// `scale_THK`: the sum of the magnitudes that were added to make each output.
struct Rope {
  std::vector<double> y_THK, scale_THK;
};

// x dense [T, heads, K], tables [T, K / 2]; direction 1 turns forward, -1 back.
template <class In, class Angle>
Rope rope(const std::vector<In>& x_THK, const std::vector<Angle>& cos_TJ,
          const std::vector<Angle>& sin_TJ, size_t heads, size_t K, double direction) {
  const size_t half = K / 2;
  Rope out{std::vector<double>(x_THK.size()), std::vector<double>(x_THK.size())};
  for (size_t row = 0; row * K < x_THK.size(); ++row) {
    const size_t token = row / heads;
    for (size_t j = 0; j < half; ++j) {
      const size_t low = row * K + j, high = low + half;
      const double c = cos_TJ[token * half + j], s = direction * sin_TJ[token * half + j];
      const double a = x_THK[low], b = x_THK[high];
      out.y_THK[low] = a * c - b * s;
      out.y_THK[high] = b * c + a * s;
      out.scale_THK[low] = std::fabs(a * c) + std::fabs(b * s);
      out.scale_THK[high] = std::fabs(b * c) + std::fabs(a * s);
    }
  }
  return out;
}

}  // namespace ratchet::kernels::reference
