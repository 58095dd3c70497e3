#pragma once

// CausalLm: a decoder-only model of the Llama family (Llama, Mistral, Qwen2, Qwen3), over flat
// token streams (packed_batch.h). Either the base is frozen (fp32 or bf16) with LoRA adapters, or
// every weight is trainable in fp32 (`method full`).
//
//   x = embed(ids);  per layer: x += o(attention(rope(q, k), v)) of rmsnorm(x),
//                               x += down(swiglu(gate, up)) of rmsnorm(x);
//   logits = head(rmsnorm(x))
//
// Legend: T tokens, D hidden, F feed-forward, H query heads, G key/value heads, K head dim, V
// vocabulary, R rows that bear loss.
//
// Memory: weights are read straight into the tensors that hold them. Activations are what the
// operators of trainer/ops save; with gradient checkpointing one [T, D] a layer, the rest computed
// again in backward, with the same bits (dropout is a pure function of the token's place).
//
// Deterministic: two calls with the same values, device and thread count give the same bits.
// One thread at a time. Errors of files arrive as ErrorException; broken contracts as c10::Error.

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proto/job_spec.h"
#include "trainer/model/hf_folder.h"
#include "trainer/model/lora_layout.h"
#include "trainer/model/packed_batch.h"
#include "trainer/model/param_arena.h"
#include "trainer/ops/linear_weight.h"

namespace ratchet::trainer {

// Training: dropout on, gradients as GradMode says. Evaluation: neither.
enum class Phase { kTraining, kEvaluation };

struct LoraRun {
  double dropout = 0.0;  // p, in [0, 1)
  uint64_t seed = 0;     // of the dropout masks
};

// Keys and values of the positions seen so far, for generation.
struct KvCache {
  struct Layer {
    at::Tensor k_CGK, v_CGK;  // C = capacity; undefined until first used
  };
  std::vector<Layer> layers;
  int64_t length = 0;  // positions filled
};

struct DecoderLayer;
struct BatchContext;

class CausalLm {
 public:
  // A frozen base. dtype: at::kFloat or at::kBFloat16. Reads the folder's weights to `device`. With
  // kNf4 the linear layers of the blocks are rounded to dtype and quantized while they are read,
  // one at a time (ops/linear_weight.h); embedding, head, norms and biases stay as they are.
  static CausalLm load(const HfFolder& folder, at::Device device, at::ScalarType dtype,
                       Quantization quantization = Quantization::kNone);

  // All weights are leaves of `arena`, which has the layout make_full_layout(folder.config()), and
  // are filled from the folder. `arena` must outlive the model.
  static CausalLm load_full(const HfFolder& folder, ParamArena& arena);

  CausalLm(CausalLm&&) noexcept;
  CausalLm& operator=(CausalLm&&) noexcept;
  ~CausalLm();

  // Adapters of `layout`, whose values live in `arena` (same layout, same device; must outlive the
  // model). Once per model; the base must be frozen.
  void attach_lora(const LoraLayout& layout, const ParamArena& arena, const LoraRun& run);

  // DoRA's initialisation, after attach_lora(): each magnitude becomes the norm that its row has
  // now.
  void init_magnitudes();

  // Off at first.
  void set_gradient_checkpointing(bool on) { checkpointing_ = on; }

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] at::Device device() const { return device_; }
  [[nodiscard]] at::ScalarType dtype() const { return dtype_; }

  // Sum over the targets of -log p(target), fp32 scalar on the device; 0 without a target. Call
  // backward() on it, times whatever weight the step gives a token. Nothing is computed for tokens
  // without a target that does not reach one with.
  [[nodiscard]] at::Tensor loss_sum(const PackedBatch& batch, Phase phase) const;

  // Logits of tokens [begin, end) of the batch, fp32 [end - begin, V], no dropout.
  [[nodiscard]] at::Tensor logits(const PackedBatch& batch, int64_t begin, int64_t end) const;

  // Appends `ids` to the cache and returns the last one's logits, fp32 [V] on the CPU.
  [[nodiscard]] at::Tensor next_logits(std::span<const int32_t> ids, KvCache& cache) const;

 private:
  CausalLm(ModelConfig config, at::Device device, at::ScalarType dtype);
  // Where tensors come from, by Hugging Face name; each is asked for once. `matrix` has the weights
  // of the blocks' linear layers.
  struct WeightSource {
    std::function<at::Tensor(const std::string&)> tensor;
    std::function<ops::LinearWeight(const std::string&)> matrix;
  };
  static std::unique_ptr<DecoderLayer> make_layer(const ModelConfig& config, int64_t index,
                                                  const WeightSource& source);
  static CausalLm build(const ModelConfig& config, at::Device device, at::ScalarType dtype,
                        const WeightSource& source);
  [[nodiscard]] std::shared_ptr<BatchContext> upload(const PackedBatch& batch, Phase phase) const;
  // Final hidden states after the last norm, of all tokens or of the chosen rows.
  [[nodiscard]] at::Tensor hidden(const std::shared_ptr<BatchContext>& context) const;

  ModelConfig config_;
  at::Device device_;
  at::ScalarType dtype_;
  bool checkpointing_ = false;
  LoraRun lora_run_;
  at::Tensor embedding_VD_, head_VD_, final_norm_D_, inverse_frequencies_J_;
  std::vector<std::unique_ptr<DecoderLayer>> layers_;
};

// Counts and sums a batch's trained tokens: {sum of NLL, tokens}.
struct NllSum {
  double nll = 0.0;
  int64_t tokens = 0;
  void add(const NllSum& other) {
    nll += other.nll;
    tokens += other.tokens;
  }
  // 0 without a token.
  [[nodiscard]] double mean() const {
    return tokens == 0 ? 0.0 : nll / static_cast<double>(tokens);
  }
};

// Without gradients or dropout.
NllSum evaluate(const CausalLm& model, const PackedBatch& batch);

// Tokens of the batch that bear loss.
int64_t target_count(const PackedBatch& batch);

}  // namespace ratchet::trainer
