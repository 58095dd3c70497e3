#pragma once

// RMSNorm by its formulas (kernels/rmsnorm.h): plain loops, double accumulation, no CUDA.
// Used by tests and benchmarks alike; feed it the values that the kernel sees, already rounded to
// the stored type.

#include <cmath>
#include <cstdint>
#include <vector>

namespace ratchet::kernels::reference {

struct RmsNormForward {
  std::vector<double> y_TD;
  std::vector<double> rstd_T;
};

// `_scale` holds, for each output, the sum of the magnitudes that were added to make it: rounding
// errors are proportional to it even where the terms cancel.
struct RmsNormBackward {
  std::vector<double> dx_TD, dx_scale_TD;
  std::vector<double> dw_D, dw_scale_D;
};

template <class In>
RmsNormForward rmsnorm_forward(const std::vector<In>& x_TD, const std::vector<In>& w_D, int64_t T,
                               double eps) {
  const auto rows = static_cast<size_t>(T);
  const size_t D = w_D.size();
  RmsNormForward out{std::vector<double>(rows * D), std::vector<double>(rows)};
  for (size_t t = 0; t < rows; ++t) {
    double square_sum = 0.0;
    for (size_t d = 0; d < D; ++d) {
      const double x = x_TD[t * D + d];
      square_sum += x * x;
    }
    out.rstd_T[t] = 1.0 / std::sqrt(square_sum / static_cast<double>(D) + eps);
    for (size_t d = 0; d < D; ++d) {
      out.y_TD[t * D + d] = double{x_TD[t * D + d]} * out.rstd_T[t] * double{w_D[d]};
    }
  }
  return out;
}

// residual_TD may be empty: nothing is added. rstd_T is forward's, in double.
template <class In>
RmsNormBackward rmsnorm_backward(const std::vector<In>& dy_TD, const std::vector<In>& x_TD,
                                 const std::vector<In>& w_D, const std::vector<double>& rstd_T,
                                 const std::vector<In>& residual_TD) {
  const size_t rows = rstd_T.size();
  const size_t D = w_D.size();
  RmsNormBackward out{std::vector<double>(rows * D), std::vector<double>(rows * D),
                      std::vector<double>(D), std::vector<double>(D)};
  for (size_t t = 0; t < rows; ++t) {
    double dot = 0.0;
    double dot_scale = 0.0;
    for (size_t d = 0; d < D; ++d) {
      const double term = double{dy_TD[t * D + d]} * double{w_D[d]} * double{x_TD[t * D + d]};
      dot += term;
      dot_scale += std::fabs(term);
    }
    const double rstd = rstd_T[t];
    const double pull = rstd * rstd / static_cast<double>(D);
    for (size_t d = 0; d < D; ++d) {
      const size_t i = t * D + d;
      const double x = x_TD[i];
      const double direct = double{dy_TD[i]} * double{w_D[d]};
      const double residual = residual_TD.empty() ? 0.0 : double{residual_TD[i]};
      out.dx_TD[i] = rstd * (direct - x * pull * dot) + residual;
      out.dx_scale_TD[i] =
          rstd * (std::fabs(direct) + std::fabs(x) * pull * dot_scale) + std::fabs(residual);
      const double weight_term = double{dy_TD[i]} * x * rstd;
      out.dw_D[d] += weight_term;
      out.dw_scale_D[d] += std::fabs(weight_term);
    }
  }
  return out;
}

}  // namespace ratchet::kernels::reference
