#pragma once

// Global norm, clipping and AdamW by their formulas (kernels/adamw.h), in double; no CUDA. Used by
// tests and benchmarks alike; feed it the fp32 values that the kernel sees.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ratchet::kernels::reference {

struct AdamWScalars {
  int64_t step = 1;
  double learning_rate = 0.0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.0;
  double clip = 1.0;
};

// `_scale`: the sum of the magnitudes that were added to make each output, and what underflow
// costs.
struct AdamWState {
  std::vector<double> p, m, v;
  std::vector<double> p_scale, m_scale, v_scale;
};

template <class In>
AdamWState adamw_step(const std::vector<In>& p, const std::vector<In>& g, const std::vector<In>& m,
                      const std::vector<In>& v, const AdamWScalars& s) {
  const auto step = static_cast<double>(s.step);
  const double step_size = s.learning_rate / (1.0 - std::pow(s.beta1, step));
  const double root2 = std::sqrt(1.0 - std::pow(s.beta2, step));
  const double decay = 1.0 - s.learning_rate * s.weight_decay;
  const double tiny = std::ldexp(1.0, -126);
  AdamWState out;
  for (size_t i = 0; i < p.size(); ++i) {
    const double grad = double{g[i]} * s.clip;
    const double mean = double{m[i]} + (1.0 - s.beta1) * (grad - double{m[i]});
    const double square = double{v[i]} * s.beta2 + (1.0 - s.beta2) * grad * grad;
    const double root = std::sqrt(square) / root2 + s.eps;
    const double mean_scale =
        std::fabs(double{m[i]}) + (1.0 - s.beta1) * (std::fabs(grad) + std::fabs(double{m[i]}));
    out.m.push_back(mean);
    out.v.push_back(square);
    out.p.push_back(double{p[i]} * decay - step_size * (mean / root));
    out.m_scale.push_back(mean_scale + tiny);
    out.v_scale.push_back(square + tiny);
    out.p_scale.push_back(std::fabs(double{p[i]} * decay) + step_size * (mean_scale / root) + tiny);
  }
  return out;
}

template <class In>
double global_norm(const std::vector<In>& values) {
  double sum = 0.0;
  for (const In value : values) sum += double{value} * double{value};
  return std::sqrt(sum);
}

inline double clip_factor(double norm, double max_norm) {
  if (max_norm <= 0.0) return 1.0;
  const double factor = max_norm / (norm + 1e-6);
  return factor < 1.0 ? factor : 1.0;
}

}  // namespace ratchet::kernels::reference
