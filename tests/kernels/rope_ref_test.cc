// The CPU reference against central differences in double, and against what a rotation keeps.

#include "kernels/reference/rope_ref.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace ratchet::kernels::reference {
namespace {

constexpr size_t kHeads = 3, kK = 16, kTokens = 4;

struct Tables {
  std::vector<double> cosine, sine;
};

Tables tables() {
  Tables out;
  for (size_t i = 0; i < kTokens * kK / 2; ++i) {
    const double angle = 0.37 * static_cast<double>(i) - 1.1;
    out.cosine.push_back(std::cos(angle));
    out.sine.push_back(std::sin(angle));
  }
  return out;
}

std::vector<double> wave(double phase) {
  std::vector<double> out(kTokens * kHeads * kK);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = std::sin(1.7 * static_cast<double>(i) + phase) + 0.3;
  }
  return out;
}

std::vector<double> turned(const std::vector<double>& x, double direction) {
  const Tables t = tables();
  return rope(x, t.cosine, t.sine, kHeads, kK, direction).y_THK;
}

TEST(RopeReference, GradientMatchesCentralDifferences) {
  std::vector<double> x = wave(0.2);
  const std::vector<double> dy = wave(2.3);
  const std::vector<double> dx = turned(dy, -1.0);
  const auto loss = [&] {
    const std::vector<double> y = turned(x, 1.0);
    double sum = 0.0;
    for (size_t i = 0; i < y.size(); ++i) sum += dy[i] * y[i];
    return sum;
  };
  constexpr double kStep = 1e-4;  // the loss is linear in x: no truncation
  for (size_t i = 0; i < x.size(); ++i) {
    const double kept = x[i];
    x[i] = kept + kStep;
    const double above = loss();
    x[i] = kept - kStep;
    const double below = loss();
    x[i] = kept;
    EXPECT_NEAR(dx[i], (above - below) / (2.0 * kStep), 1e-8) << i;
  }
}

TEST(RopeReference, BackwardUndoesForward) {
  const std::vector<double> x = wave(0.9);
  const std::vector<double> back = turned(turned(x, 1.0), -1.0);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(back[i], x[i], 1e-14) << i;
}

TEST(RopeReference, AQuarterTurnExchangesTheHalves) {
  std::vector<double> x(16, 0.0);
  x[3] = 2.0;
  const std::vector<double> cosine(8, 0.0), sine(8, 1.0);
  const std::vector<double> y = rope(x, cosine, sine, 1, 16, 1.0).y_THK;
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(y[i], i == 3 + 8 ? 2.0 : 0.0) << i;
}

}  // namespace
}  // namespace ratchet::kernels::reference
