#include "trainer/train/adamw.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace ratchet::trainer {

void adamw_step(const AdamWArgs& args) {
  const double step = static_cast<double>(args.step);
  const double correction1 = 1.0 - std::pow(args.beta1, step);
  const double correction2 = 1.0 - std::pow(args.beta2, step);
  const float decay = static_cast<float>(1.0 - args.learning_rate * args.weight_decay);
  const float step_size = static_cast<float>(args.learning_rate / correction1);
  const float root2 = static_cast<float>(std::sqrt(correction2));
  const float beta1_rest = static_cast<float>(1.0 - args.beta1);
  const float beta2 = static_cast<float>(args.beta2);
  const float beta2_rest = static_cast<float>(1.0 - args.beta2);
  const float eps = static_cast<float>(args.eps);
  const float scale = static_cast<float>(args.grad_scale);

  float* __restrict p = args.params.data();
  const float* __restrict g = args.grads.data();
  float* __restrict m = args.exp_avg.data();
  float* __restrict v = args.exp_avg_sq.data();
  const size_t count = args.params.size();
  for (size_t i = 0; i < count; ++i) {
    const float grad = g[i] * scale;
    const float mean = m[i] + beta1_rest * (grad - m[i]);
    const float square = v[i] * beta2 + beta2_rest * (grad * grad);
    m[i] = mean;
    v[i] = square;
    p[i] = p[i] * decay - step_size * (mean / (std::sqrt(square) / root2 + eps));
  }
}

double global_norm(std::span<const float> values) {
  constexpr size_t kBlock = 4096;
  double total = 0.0;
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const auto block = values.subspan(begin, std::min(kBlock, values.size() - begin));
    double sum = 0.0;
    for (const float value : block) {
      sum += static_cast<double>(value) * static_cast<double>(value);
    }
    total += sum;
  }
  return std::sqrt(total);
}

double clip_factor(double norm, double max_norm) {
  if (max_norm <= 0.0) {
    return 1.0;
  }
  // The small constant keeps a zero norm from dividing by zero, as torch's clip_grad_norm_ does.
  const double factor = max_norm / (norm + 1e-6);
  return factor < 1.0 ? factor : 1.0;
}

}  // namespace ratchet::trainer
