// The CPU reference against central differences in double.

#include "kernels/reference/swiglu_ref.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace ratchet::kernels::reference {
namespace {

constexpr double kStep = 1e-5;       // truncation ~ kStep^2, cancellation ~ 1e-16 / kStep
constexpr double kAgreement = 1e-9;  // their sum, with a margin of ten

TEST(SwigluReference, GradientsMatchCentralDifferences) {
  for (int i = -40; i <= 40; ++i) {
    const double gate = 0.31 * i, up = std::sin(1.7 * i) + 0.3, dh = std::cos(0.9 * i) + 0.2;
    const SwigluBackward grads = swiglu_backward(std::vector<double>{dh}, std::vector<double>{gate},
                                                 std::vector<double>{up});
    const auto loss = [dh](double g, double u) {
      return dh * swiglu_forward(std::vector<double>{g}, std::vector<double>{u}).h[0];
    };
    const double by_gate = (loss(gate + kStep, up) - loss(gate - kStep, up)) / (2.0 * kStep);
    const double by_up = (loss(gate, up + kStep) - loss(gate, up - kStep)) / (2.0 * kStep);
    EXPECT_NEAR(grads.dgate[0], by_gate, kAgreement) << "gate " << gate;
    EXPECT_NEAR(grads.dup[0], by_up, kAgreement) << "gate " << gate;
  }
}

TEST(SwigluReference, KnownValues) {
  const std::vector<double> gate = {0.0, 1.0, -1.0, 800.0, -800.0};
  const std::vector<double> up(gate.size(), 2.0);
  const std::vector<double> h = swiglu_forward(gate, up).h;
  EXPECT_EQ(h[0], 0.0);
  EXPECT_NEAR(h[1], 2.0 * 0.7310585786300049, 1e-15);
  EXPECT_NEAR(h[2], -2.0 * 0.2689414213699951, 1e-15);
  EXPECT_EQ(h[3], 1600.0);
  EXPECT_EQ(h[4], 0.0);
  const SwigluBackward grads = swiglu_backward(up, gate, up);
  EXPECT_NEAR(grads.dgate[0], 2.0, 1e-15) << "slope 1/2 at zero";
  EXPECT_NEAR(grads.dgate[3], 4.0, 1e-15) << "the identity far above zero";
  EXPECT_EQ(grads.dup[0], 0.0);
}

TEST(SwigluReference, ScalesAreNoSmallerThanTheirValues) {
  for (const double gate : {-30.0, -1.278, -0.5, 0.0, 2.0, 90.0}) {
    const std::vector<double> g = {gate}, u = {-1.5}, d = {0.7};
    const SwigluForward forward = swiglu_forward(g, u);
    const SwigluBackward grads = swiglu_backward(d, g, u);
    EXPECT_GE(forward.h_scale[0], std::fabs(forward.h[0]));
    EXPECT_GE(grads.dgate_scale[0], std::fabs(grads.dgate[0]));
    EXPECT_GE(grads.dup_scale[0], std::fabs(grads.dup[0]));
  }
}

}  // namespace
}  // namespace ratchet::kernels::reference
