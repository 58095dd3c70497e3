#pragma once

// Comparison of a kernel's output with its double reference.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/reference/device_array.h"
#include "kernels/reference/tolerance.h"

namespace ratchet::kernels::reference {

template <class Element>
constexpr DType dtype_of() {
  return sizeof(Element) == 2 ? DType::kBf16 : DType::kF32;
}

inline std::vector<double> magnitudes(std::vector<double> values) {
  for (double& value : values) value = std::fabs(value);
  return values;
}

// Index of the first element outside the tolerance, or -1. NaN is always outside.
template <class T>
int64_t first_outside(const std::vector<T>& got, const std::vector<double>& exact,
                      const std::vector<double>& scale, OpClass op, DType dtype, int64_t length) {
  if (got.size() != exact.size()) return 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double allowed = tolerance(op, dtype, length, exact[i], scale[i]);
    const double error = std::fabs(double{widen(got[i])} - exact[i]);
    if (!(error <= allowed)) return static_cast<int64_t>(i);
  }
  return -1;
}

}  // namespace ratchet::kernels::reference
