#pragma once

// One decoder block, and what all blocks need to know of a batch. Internal to CausalLm.

#include <ATen/core/Tensor.h>

#include <array>
#include <memory>

#include "trainer/model/causal_lm.h"
#include "trainer/model/model_config.h"
#include "trainer/ops/attention_op.h"
#include "trainer/ops/linear_weight.h"
#include "trainer/ops/lora_linear_op.h"
#include "trainer/ops/rope_op.h"

namespace ratchet::trainer {

// A batch on the model's device.
struct BatchContext {
  int64_t tokens = 0;   // T
  at::Tensor ids_T;     // int64
  at::Tensor rows_R;    // int64, the tokens whose logits count; undefined: all
  at::Tensor target_R;  // int64
  ops::RopeTable rope;
  ops::AttentionPlan attention;
  ops::LoraDropout dropout;       // its key says seed and data_epoch; layer and module are added
  ops::TokenPlaces row_places_R;  // dropout.places of rows_R
};

struct Linear {
  ops::LinearWeight weight;
  at::Tensor bias_O;      // undefined: none
  ops::LoraFactors lora;  // a_RI undefined: no adapter
};

struct DecoderLayer {
  uint32_t index = 0;
  int64_t head_dim = 0;
  double eps = 0.0;
  int64_t window = 0;  // 0: full causal attention
  at::Tensor input_norm_D, attention_norm_D;
  at::Tensor q_norm_K, k_norm_K;  // undefined: none
  std::array<Linear, 7> linears;  // by TargetModule

  // [T, D] to [T, D]; to [R, D] when this is the last layer and the context chooses rows.
  [[nodiscard]] at::Tensor forward(const at::Tensor& x_TD, const BatchContext& context,
                                   bool last) const;

  // The same without a gradient for n new positions after `past` cached ones.
  [[nodiscard]] at::Tensor forward_cached(const at::Tensor& x_ND, const ops::RopeTable& rope,
                                          int64_t past, KvCache::Layer& cache) const;
};

// forward(), keeping only x for backward, which runs the layer again. `anchor` is any leaf that
// asks for a gradient (it receives none): it makes backward reach a layer whose x asks for none.
// The layer must outlive the graph.
at::Tensor forward_checkpointed(const DecoderLayer& layer, const at::Tensor& x_TD,
                                const at::Tensor& anchor,
                                const std::shared_ptr<const BatchContext>& context, bool last);

}  // namespace ratchet::trainer
