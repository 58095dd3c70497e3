#pragma once

// ModelConfig: what a Hugging Face config.json says about a decoder-only model of a supported
// family, in one spelling. Both transformers 4 (rope_theta, rope_scaling, torch_dtype,
// use_sliding_window, max_window_layers) and transformers 5 (rope_parameters, dtype, layer_types)
// are read; where a file has both they must agree. Absent keys take the defaults of the family's
// configuration class; unknown keys are ignored.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "trainer/model/dtype.h"

namespace ratchet::trainer {

enum class Family { kLlama, kMistral, kQwen2, kQwen3 };

// The model_type word: "llama", "mistral", "qwen2", "qwen3".
const char* family_name(Family family);

// Llama 3.1's rope scaling. With wavelength w = 2 pi / f of an unscaled inverse frequency f:
// w < original / high_freq_factor keeps f; w > original / low_freq_factor takes f / factor; in
// between, a linear blend in original / w.
struct Llama3RopeScaling {
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  std::int64_t original_max_position_embeddings = 0;
};

struct ModelConfig {
  Family family = Family::kLlama;

  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;        // D
  std::int64_t intermediate_size = 0;  // F
  std::int64_t layer_count = 0;
  std::int64_t head_count = 0;     // H, query heads
  std::int64_t kv_head_count = 0;  // divides head_count
  std::int64_t head_dim = 0;       // K, even; need not be hidden_size / head_count
  std::int64_t max_position_embeddings = 0;

  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  std::optional<Llama3RopeScaling> rope_scaling;  // empty: plain rope

  // One entry a layer; 0 = full causal attention, w > 0 = position i sees j with i - w < j <= i.
  std::vector<std::int64_t> sliding_windows;

  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;  // RMS norm over head_dim of q and k, before rope
  bool tie_word_embeddings = false;

  double initializer_range = 0.02;
  std::optional<DType> dtype;  // what the file says; the tensors' own dtype is the truth
  std::optional<std::int64_t> bos_token_id;
  std::optional<std::int64_t> pad_token_id;
  std::vector<std::int64_t> eos_token_ids;  // as listed; may be empty

  // Things a user should know that do not stop the load, one sentence each.
  std::vector<std::string> notes;

  [[nodiscard]] std::int64_t q_size() const { return head_count * head_dim; }
  [[nodiscard]] std::int64_t kv_size() const { return kv_head_count * head_dim; }
};

// Parses the text of a config.json. An unsupported architecture is kUnsupported, its name and the
// supported ones in the message; everything else that is wrong is kInvalidArgument.
Result<ModelConfig> parse_model_config(std::string_view json);

// Reads `folder`/config.json; messages name the file.
Result<ModelConfig> load_model_config(const std::filesystem::path& folder);

// What generation_config.json adds.
struct GenerationConfig {
  std::vector<std::int64_t> eos_token_ids;
  std::optional<std::int64_t> bos_token_id;
  std::optional<std::int64_t> pad_token_id;
};

Result<GenerationConfig> parse_generation_config(std::string_view json);

}  // namespace ratchet::trainer
