#pragma once

// The tensor table that a ModelConfig implies: names and shapes as transformers saves them.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/model/model_config.h"

namespace ratchet::trainer {

enum class TensorRole { kEmbedding, kMatrix, kBias, kNorm };

struct ModelTensor {
  std::string name;                 // "model.layers.0.self_attn.q_proj.weight"
  std::vector<std::int64_t> shape;  // linear weights are [out, in]
  TensorRole role = TensorRole::kMatrix;
};

// All tensors of the model, in the order of the forward pass: embedding, layers, final norm, and
// lm_head unless it is tied to the embedding.
std::vector<ModelTensor> model_tensors(const ModelConfig& config);

// Elements of all tensors of model_tensors().
std::int64_t parameter_count(const ModelConfig& config);

inline constexpr std::string_view kEmbeddingName = "model.embed_tokens.weight";
inline constexpr std::string_view kFinalNormName = "model.norm.weight";
inline constexpr std::string_view kHeadName = "lm_head.weight";

// "model.layers.<layer>."
std::string layer_prefix(std::int64_t layer);

}  // namespace ratchet::trainer
