#include "trainer/model/model_tensors.h"

#include <utility>

#include "trainer/model/file_io.h"

namespace ratchet::trainer {

namespace {

// Appends the tensors of one model in forward order.
class TableBuilder {
 public:
  explicit TableBuilder(const ModelConfig& config) : config_(config) {}

  std::vector<ModelTensor> build() && {
    const std::int64_t d = config_.hidden_size;
    add(std::string(kEmbeddingName), {config_.vocab_size, d}, TensorRole::kEmbedding);
    for (std::int64_t layer = 0; layer < config_.layer_count; ++layer) add_layer(layer);
    add(std::string(kFinalNormName), {d}, TensorRole::kNorm);
    if (!config_.tie_word_embeddings) {
      add(std::string(kHeadName), {config_.vocab_size, d}, TensorRole::kMatrix);
    }
    return std::move(tensors_);
  }

 private:
  void add(std::string name, std::vector<std::int64_t> shape, TensorRole role) {
    tensors_.push_back({std::move(name), std::move(shape), role});
  }

  void add_linear(const std::string& name, std::int64_t out, std::int64_t in, bool bias) {
    add(name + ".weight", {out, in}, TensorRole::kMatrix);
    if (bias) add(name + ".bias", {out}, TensorRole::kBias);
  }

  void add_layer(std::int64_t layer) {
    const std::string prefix = layer_prefix(layer);
    const std::string attention = prefix + "self_attn.";
    const std::string mlp = prefix + "mlp.";
    const std::int64_t d = config_.hidden_size;
    const std::int64_t f = config_.intermediate_size;

    add(prefix + "input_layernorm.weight", {d}, TensorRole::kNorm);
    add_linear(attention + "q_proj", config_.q_size(), d, config_.qkv_bias);
    add_linear(attention + "k_proj", config_.kv_size(), d, config_.qkv_bias);
    add_linear(attention + "v_proj", config_.kv_size(), d, config_.qkv_bias);
    if (config_.qk_norm) {
      add(attention + "q_norm.weight", {config_.head_dim}, TensorRole::kNorm);
      add(attention + "k_norm.weight", {config_.head_dim}, TensorRole::kNorm);
    }
    add_linear(attention + "o_proj", d, config_.q_size(), config_.o_bias);
    add(prefix + "post_attention_layernorm.weight", {d}, TensorRole::kNorm);
    add_linear(mlp + "gate_proj", f, d, config_.mlp_bias);
    add_linear(mlp + "up_proj", f, d, config_.mlp_bias);
    add_linear(mlp + "down_proj", d, f, config_.mlp_bias);
  }

  const ModelConfig& config_;
  std::vector<ModelTensor> tensors_;
};

}  // namespace

std::vector<ModelTensor> model_tensors(const ModelConfig& config) {
  return TableBuilder(config).build();
}

std::int64_t parameter_count(const ModelConfig& config) {
  std::int64_t count = 0;
  for (const ModelTensor& tensor : model_tensors(config)) {
    std::int64_t elements = 1;
    for (const std::int64_t dimension : tensor.shape) elements *= dimension;
    count += elements;
  }
  return count;
}

std::string layer_prefix(std::int64_t layer) { return cat("model.layers.", layer, "."); }

}  // namespace ratchet::trainer
