#pragma once

// AdamW with decoupled weight decay over flat fp32 arenas (Loshchilov & Hutter, "Decoupled Weight
// Decay Regularization", 2019, algorithm 2; update order as in torch.optim.AdamW), and the global
// gradient norm that clipping needs.
//
// Element-wise and single-threaded on purpose: adapters are small, and the result cannot depend on
// a partition. No allocation, no errors; all spans have the same length.

#include <cstdint>
#include <span>

namespace ratchet::trainer {

struct AdamWArgs {
  std::span<float> params;       // updated in place
  std::span<const float> grads;  // gradient of the mean loss, not yet clipped
  std::span<float> exp_avg;      // first moment, updated in place
  std::span<float> exp_avg_sq;   // second moment, updated in place
  int64_t step = 1;              // 1 for the first update (bias correction)
  double learning_rate = 0.0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  double grad_scale = 1.0;  // clipping factor, <= 1
};

void adamw_step(const AdamWArgs& args);

// Square root of the sum of squares, accumulated in double over fixed blocks, so that the value is
// the same whatever the machine does beside it. NaN and infinity pass through.
double global_norm(std::span<const float> values);

// Factor that brings `norm` down to `max_norm`; 1 when it is small enough or max_norm is 0 (off).
double clip_factor(double norm, double max_norm);

}  // namespace ratchet::trainer
