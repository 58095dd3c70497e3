#pragma once

// SwiGLU by its formulas (kernels/swiglu.h), element by element in double; no CUDA. Used by tests
// and benchmarks alike; feed it the values that the kernel sees, already rounded to the stored
// type.

#include <cmath>
#include <vector>

namespace ratchet::kernels::reference {

// `_scale` holds, for each output, the magnitudes that its rounding errors are proportional to,
// even where terms cancel; and what underflow costs: below 2^-126 fp32 keeps the absolute precision
// of that number, here times what multiplies the exponential.
struct SwigluForward {
  std::vector<double> h, h_scale;
};

struct SwigluBackward {
  std::vector<double> dgate, dgate_scale;
  std::vector<double> dup, dup_scale;
};

inline double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

template <class In>
SwigluForward swiglu_forward(const std::vector<In>& gate, const std::vector<In>& up) {
  SwigluForward out;
  for (size_t i = 0; i < gate.size(); ++i) {
    const double g = gate[i], u = up[i];
    const double h = g * sigmoid(g) * u;
    out.h.push_back(h);
    out.h_scale.push_back(std::fabs(h) +
                          std::ldexp(1.0 + (1.0 + std::fabs(g)) * std::fabs(u), -126));
  }
  return out;
}

template <class In>
SwigluBackward swiglu_backward(const std::vector<In>& dh, const std::vector<In>& gate,
                               const std::vector<In>& up) {
  SwigluBackward out;
  for (size_t i = 0; i < gate.size(); ++i) {
    const double d = dh[i], g = gate[i], u = up[i];
    const double s = sigmoid(g), rest = sigmoid(-g);
    const double outer = d * u;
    out.dgate.push_back(outer * s * (1.0 + g * rest));
    out.dup.push_back(d * g * s);
    const auto lost = [g](double factor) {
      return std::ldexp(1.0 + (1.0 + std::fabs(g)) * std::fabs(factor), -126);
    };
    out.dgate_scale.push_back(std::fabs(outer) * s * (1.0 + std::fabs(g) * rest) + lost(outer));
    out.dup_scale.push_back(std::fabs(d * g) * s + lost(d));
  }
  return out;
}

}  // namespace ratchet::kernels::reference
