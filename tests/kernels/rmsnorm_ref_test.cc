// The CPU reference against central differences in double: the one gradient check that does not
// share a line with what it checks.

#include "kernels/reference/rmsnorm_ref.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

namespace ratchet::kernels::reference {
namespace {

constexpr double kStep = 1e-5;       // truncation ~ kStep^2, cancellation ~ 1e-16 / kStep
constexpr double kAgreement = 1e-8;  // their sum, for values near one, with a margin of ten

// Smooth, aperiodic, never zero: fixed values without a generator.
std::vector<double> wave(size_t count, double phase, double scale) {
  std::vector<double> out(count);
  for (size_t i = 0; i < count; ++i) {
    out[i] = scale * (std::sin(1.7 * static_cast<double>(i) + phase) + 0.3);
  }
  return out;
}

struct Case {
  int64_t T;
  size_t D;
  double eps;
};

// Loss = sum dy * y: its gradient is what backward returns for dy.
double loss(const std::vector<double>& x, const std::vector<double>& w,
            const std::vector<double>& dy, const Case& c) {
  const RmsNormForward out = rmsnorm_forward(x, w, c.T, c.eps);
  double sum = 0.0;
  for (size_t i = 0; i < dy.size(); ++i) sum += dy[i] * out.y_TD[i];
  return sum;
}

double slope(std::vector<double>& values, size_t i, const std::vector<double>& x,
             const std::vector<double>& w, const std::vector<double>& dy, const Case& c) {
  const double kept = values[i];
  values[i] = kept + kStep;
  const double above = loss(x, w, dy, c);
  values[i] = kept - kStep;
  const double below = loss(x, w, dy, c);
  values[i] = kept;
  return (above - below) / (2.0 * kStep);
}

TEST(RmsNormReference, GradientsMatchCentralDifferences) {
  for (const Case& c : {Case{1, 8, 1e-6}, Case{3, 16, 1e-5}, Case{5, 24, 0.5}}) {
    std::vector<double> x = wave(static_cast<size_t>(c.T) * c.D, 0.2, 1.3);
    std::vector<double> w = wave(c.D, 1.1, 0.8);
    const std::vector<double> dy = wave(x.size(), 2.3, 0.9);
    const RmsNormForward forward = rmsnorm_forward(x, w, c.T, c.eps);
    const RmsNormBackward grads = rmsnorm_backward(dy, x, w, forward.rstd_T, std::vector<double>{});
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(grads.dx_TD[i], slope(x, i, x, w, dy, c), kAgreement) << "dx " << i;
    }
    for (size_t d = 0; d < w.size(); ++d) {
      EXPECT_NEAR(grads.dw_D[d], slope(w, d, x, w, dy, c), kAgreement) << "dw " << d;
    }
  }
}

TEST(RmsNormReference, KnownRow) {
  // mean of squares of (3, 4) repeated is 12.5.
  const std::vector<double> x = {3, 4, 3, 4, 3, 4, 3, 4};
  const std::vector<double> w = {1, 2, 1, 2, 1, 2, 1, 2};
  const RmsNormForward out = rmsnorm_forward(x, w, 1, 0.0);
  EXPECT_NEAR(out.rstd_T[0], 1.0 / std::sqrt(12.5), 1e-15);
  EXPECT_NEAR(out.y_TD[0], 3.0 / std::sqrt(12.5), 1e-15);
  EXPECT_NEAR(out.y_TD[1], 8.0 / std::sqrt(12.5), 1e-15);
}

TEST(RmsNormReference, ResidualIsAddedOnce) {
  const Case c{2, 8, 1e-6};
  const std::vector<double> x = wave(16, 0.4, 1.0);
  const std::vector<double> w = wave(8, 0.9, 1.0);
  const std::vector<double> dy = wave(16, 1.9, 1.0);
  const std::vector<double> residual = wave(16, 3.1, 5.0);
  const std::vector<double> rstd = rmsnorm_forward(x, w, c.T, c.eps).rstd_T;
  const RmsNormBackward without = rmsnorm_backward(dy, x, w, rstd, std::vector<double>{});
  const RmsNormBackward with = rmsnorm_backward(dy, x, w, rstd, residual);
  for (size_t i = 0; i < 16; ++i) {
    EXPECT_NEAR(with.dx_TD[i], without.dx_TD[i] + residual[i], 1e-13);
    EXPECT_GE(with.dx_scale_TD[i], std::fabs(with.dx_TD[i]) * (1.0 - 1e-12));
  }
}

}  // namespace
}  // namespace ratchet::kernels::reference
