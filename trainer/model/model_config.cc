#include "trainer/model/model_config.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "trainer/model/file_io.h"
#include "trainer/model/json_fields.h"
#include "trainer/model/rope_config.h"

namespace ratchet::trainer {

namespace {

using Json = nlohmann::json;

constexpr std::int64_t kMaxWindow = std::int64_t{1} << 30;

// What the configuration classes of transformers take for absent keys (configuration_*.py of
// 4.57 and 5.x agree on these), and what the model class implies without a key.
struct FamilyRow {
  Family family;
  const char* model_type;
  const char* architecture;
  std::int64_t vocab_size;
  std::int64_t intermediate_size;
  std::int64_t kv_head_count;  // 0: as many as query heads
  std::int64_t head_dim;       // 0: hidden_size / head_count
  std::int64_t max_position_embeddings;
};

constexpr std::array<FamilyRow, 4> kFamilies = {
    {{Family::kLlama, "llama", "LlamaForCausalLM", 32000, 11008, 0, 0, 2048},
     {Family::kMistral, "mistral", "MistralForCausalLM", 32000, 14336, 8, 0, 131072},
     {Family::kQwen2, "qwen2", "Qwen2ForCausalLM", 151936, 22016, 32, 0, 32768},
     {Family::kQwen3, "qwen3", "Qwen3ForCausalLM", 151936, 22016, 32, 128, 32768}}};

constexpr std::string_view kSupported =
    "Supported are Llama 2, 3, 3.1 and 3.2 (LlamaForCausalLM), Mistral (MistralForCausalLM), "
    "Qwen2 and Qwen2.5 (Qwen2ForCausalLM), and Qwen3 (Qwen3ForCausalLM).";

Error unsupported(std::string what) {
  return Error{Code::kUnsupported, cat(what, " ", kSupported)};
}

const FamilyRow* row_of_type(std::string_view model_type) {
  const auto* at = std::find_if(kFamilies.begin(), kFamilies.end(),
                                [&](const FamilyRow& row) { return model_type == row.model_type; });
  return at == kFamilies.end() ? nullptr : at;
}

const FamilyRow* row_of_architecture(std::string_view architecture) {
  const auto* at = std::find_if(kFamilies.begin(), kFamilies.end(), [&](const FamilyRow& row) {
    return architecture == row.architecture;
  });
  return at == kFamilies.end() ? nullptr : at;
}

// model_type chooses the class in transformers; architectures must be its causal language model.
Result<const FamilyRow*> find_family(const JsonFields& fields) {
  const std::string type = fields.maybe_text("model_type").value_or("");
  const std::vector<std::string> listed =
      fields.maybe_texts("architectures").value_or(std::vector<std::string>{});
  const std::string architecture = listed.empty() ? "" : listed.front();
  const FamilyRow* row = type.empty() ? row_of_architecture(architecture) : row_of_type(type);
  if (row != nullptr && (architecture.empty() || architecture == row->architecture)) return row;
  if (type.empty() && architecture.empty()) {
    return Error{Code::kInvalidArgument,
                 cat("The config names neither a model_type nor an architecture, so its model is "
                     "unknown. ",
                     kSupported)};
  }
  if (architecture.empty()) {
    return unsupported(cat("Models of the type '", type, "' are not supported."));
  }
  if (type.empty()) {
    return unsupported(cat("The architecture ", architecture, " is not supported."));
  }
  return unsupported(
      cat("The architecture ", architecture, " (model_type '", type, "') is not supported."));
}

void read_sizes(const JsonFields& fields, const FamilyRow& row, ModelConfig& config) {
  config.vocab_size = fields.integer("vocab_size", 1, 1 << 24, row.vocab_size);
  config.hidden_size = fields.integer("hidden_size", 1, 1 << 17, 4096);
  config.intermediate_size = fields.integer("intermediate_size", 1, 1 << 20, row.intermediate_size);
  config.layer_count = fields.integer("num_hidden_layers", 1, 1024, 32);
  config.head_count = fields.integer("num_attention_heads", 1, 4096, 32);
  config.max_position_embeddings =
      fields.integer("max_position_embeddings", 1, 1 << 28, row.max_position_embeddings);

  const char* kv_key = "num_key_value_heads";
  const bool kv_absent = !fields.has(kv_key) && row.kv_head_count != 0;
  config.kv_head_count = kv_absent
                             ? row.kv_head_count
                             : fields.maybe_integer(kv_key, 1, 4096).value_or(config.head_count);
  if (config.head_count % config.kv_head_count != 0) {
    fields.fault(kv_key,
                 cat("it must divide the ", config.head_count, " attention heads",
                     kv_absent ? cat(" (an absent key means ", row.kv_head_count, " here)") : ""));
  }
}

void read_head_dim(const JsonFields& fields, const FamilyRow& row, ModelConfig& config) {
  const char* key = "head_dim";
  if (!fields.has(key) && row.head_dim != 0) {
    config.head_dim = row.head_dim;
  } else if (fields.find(key) != nullptr) {
    config.head_dim = fields.maybe_integer(key, 2, 4096).value_or(2);
  } else {
    config.head_dim = config.hidden_size / config.head_count;
    if (config.hidden_size % config.head_count != 0) {
      fields.fault("hidden_size", cat("without head_dim it must be a multiple of the ",
                                      config.head_count, " attention heads"));
    }
  }
  if (config.head_dim % 2 != 0 || config.head_dim == 0) {
    fields.fault(
        key, cat("rotary embeddings need an even head size, and it comes to ", config.head_dim));
  }
}

// The Qwen classes: the size of the window, 0 when it is switched off.
std::int64_t qwen_window(const JsonFields& fields) {
  if (!fields.boolean("use_sliding_window", false)) return 0;
  if (fields.has("sliding_window") && fields.find("sliding_window") == nullptr) return 0;
  return fields.maybe_integer("sliding_window", 1, kMaxWindow).value_or(4096);
}

// The Qwen classes: the window holds from this layer on.
std::int64_t first_windowed_layer(const JsonFields& fields) {
  return fields.integer("max_window_layers", 0, 1 << 20, 28);
}

std::vector<std::int64_t> qwen_windows(const JsonFields& fields, const ModelConfig& config) {
  std::vector<std::int64_t> windows(static_cast<std::size_t>(config.layer_count), 0);
  for (std::int64_t layer = first_windowed_layer(fields); layer < config.layer_count; ++layer) {
    windows[static_cast<std::size_t>(layer)] = qwen_window(fields);
  }
  return windows;
}

std::vector<std::int64_t> family_windows(const JsonFields& fields, const ModelConfig& config) {
  const auto layers = static_cast<std::size_t>(config.layer_count);
  switch (config.family) {
    case Family::kLlama:  // its class has no window; a stray key has no meaning
      return std::vector<std::int64_t>(layers, 0);
    case Family::kMistral: {
      if (!fields.has("sliding_window")) return std::vector<std::int64_t>(layers, 4096);
      const auto window = fields.maybe_integer("sliding_window", 1, kMaxWindow);
      return std::vector<std::int64_t>(layers, window.value_or(0));
    }
    case Family::kQwen2:
    case Family::kQwen3:
      return qwen_windows(fields, config);
  }
  return {};
}

// layer_types says the same once more and must agree. Transformers 5 goes by the list alone and
// writes the default of max_window_layers beside it; a value that names no layer of the model is
// therefore no statement.
void apply_layer_types(const JsonFields& fields, ModelConfig& config) {
  const auto types = fields.maybe_texts("layer_types");
  if (!types) return;
  const char* key = "layer_types";
  if (types->size() != config.sliding_windows.size()) {
    fields.fault(key, cat("it must have one entry for each of the ", config.layer_count,
                          " layers, and has ", types->size()));
    return;
  }
  const bool qwen = config.family == Family::kQwen2 || config.family == Family::kQwen3;
  const bool list_rules = qwen && first_windowed_layer(fields) >= config.layer_count;
  const std::int64_t window = list_rules ? qwen_window(fields) : 0;
  for (std::size_t layer = 0; layer < types->size(); ++layer) {
    const std::string& type = (*types)[layer];
    if (type != "full_attention" && type != "sliding_attention") {
      fields.fault(key, "only full_attention and sliding_attention are supported");
      return;
    }
    const bool sliding = type == "sliding_attention";
    if (list_rules) config.sliding_windows[layer] = sliding ? window : 0;
    if (sliding == (config.sliding_windows[layer] > 0)) continue;
    fields.fault(key, cat("it says ", type, " for layer ", layer,
                          ", the keys about the sliding window say the opposite"));
    return;
  }
}

void read_flags(const JsonFields& fields, ModelConfig& config) {
  const bool attention_bias = fields.boolean("attention_bias", false);
  switch (config.family) {
    case Family::kLlama:
      config.qkv_bias = attention_bias;
      config.o_bias = attention_bias;
      config.mlp_bias = fields.boolean("mlp_bias", false);
      break;
    case Family::kMistral:
      break;
    case Family::kQwen2:
      config.qkv_bias = true;
      break;
    case Family::kQwen3:
      config.qkv_bias = attention_bias;
      config.o_bias = attention_bias;
      config.qk_norm = true;
      break;
  }
  config.tie_word_embeddings = fields.boolean("tie_word_embeddings", false);
  const std::string activation = fields.maybe_text("hidden_act").value_or("silu");
  if (activation != "silu" && activation != "swish") {
    fields.fault("hidden_act", "only silu is supported");
  }
}

// "bfloat16" or "torch.bfloat16" to BF16; empty for "auto" and for a word that weights never have.
std::optional<DType> dtype_of_word(std::string_view word) {
  if (word.starts_with("torch.")) word.remove_prefix(6);
  if (word == "float32" || word == "float") return DType::kF32;
  if (word == "bfloat16") return DType::kBF16;
  if (word == "float16" || word == "half") return DType::kF16;
  return std::nullopt;
}

void read_dtype(const JsonFields& fields, ModelConfig& config) {
  const auto old_word = fields.maybe_text("torch_dtype");
  const auto new_word = fields.maybe_text("dtype");
  const auto old_dtype = old_word ? dtype_of_word(*old_word) : std::nullopt;
  config.dtype = new_word ? dtype_of_word(*new_word) : old_dtype;
  if (old_word && new_word && old_dtype != config.dtype) {
    fields.fault("dtype", cat("torch_dtype says '", *old_word, "', and the two must agree"));
  }
}

void read_tokens_and_notes(const JsonFields& fields, ModelConfig& config) {
  constexpr std::int64_t kMaxId = std::numeric_limits<std::int32_t>::max();
  const std::vector<std::int64_t> bos = fields.token_ids("bos_token_id");
  if (!bos.empty()) config.bos_token_id = bos.front();
  const auto pad = fields.maybe_integer("pad_token_id", -1, kMaxId);
  if (pad && *pad >= 0) config.pad_token_id = pad;  // -1 is Llama's word for none
  config.eos_token_ids = fields.token_ids("eos_token_id");
  // The Llama and Mistral classes have 1 and 2 for absent keys, the Qwen classes none.
  const bool defaults = config.family == Family::kLlama || config.family == Family::kMistral;
  if (defaults && !fields.has("bos_token_id")) config.bos_token_id = 1;
  if (defaults && !fields.has("eos_token_id")) config.eos_token_ids = {2};

  const double dropout = fields.number("attention_dropout", -1e-300, 1.0, 0.0);
  if (dropout > 0.0) {
    config.notes.push_back(
        cat("The config asks for an attention dropout of ", dropout, "; it is not applied."));
  }
  if (fields.find("auto_map") != nullptr) {
    config.notes.emplace_back(
        "The config points at modelling code of its own (auto_map); it is not run.");
  }
}

Status refuse_what_changes_the_forward(const JsonFields& fields) {
  if (fields.find("quantization_config") != nullptr) {
    return Error{Code::kUnsupported,
                 "The model is quantized (quantization_config), which is not supported. Use the "
                 "model's unquantized weights in F32, BF16 or F16."};
  }
  return ok();
}

}  // namespace

const char* family_name(Family family) {
  return kFamilies[static_cast<std::size_t>(family)].model_type;
}

Result<ModelConfig> parse_model_config(std::string_view json) {
  Json document;
  if (Status parsed = parse_json_object(json, "The model config", document); !parsed)
    return parsed.error();
  std::vector<std::string> faults;
  const JsonFields fields(document, "", faults);

  const Result<const FamilyRow*> row = find_family(fields);
  if (!row) return row.error();
  if (Status refused = refuse_what_changes_the_forward(fields); !refused) return refused.error();

  ModelConfig config;
  config.family = (*row)->family;
  read_sizes(fields, **row, config);
  read_head_dim(fields, **row, config);
  config.rms_norm_eps = fields.number("rms_norm_eps", 0.0, 1.0, 1e-6);
  config.initializer_range = fields.number("initializer_range", 0.0, 10.0, 0.02);
  if (Status rope = read_rope(document, faults, config); !rope) return rope.error();
  config.sliding_windows = family_windows(fields, config);
  apply_layer_types(fields, config);
  read_flags(fields, config);
  read_dtype(fields, config);
  read_tokens_and_notes(fields, config);
  if (!faults.empty()) {
    return Error{Code::kInvalidArgument,
                 cat("The model config cannot be used. ", join_sentences(faults))};
  }
  return config;
}

Result<ModelConfig> load_model_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  const Result<std::string> text = read_text_file(path, kMaxConfigBytes);
  if (!text) {
    if (text.error().code != Code::kNotFound) return text.error();
    return Error{Code::kNotFound,
                 cat("There is no '", path.string(), "'. Name a Hugging Face model folder.")};
  }
  Result<ModelConfig> config = parse_model_config(*text);
  if (config) return config;
  return Error{config.error().code, cat("'", path.string(), "': ", config.error().message)};
}

Result<GenerationConfig> parse_generation_config(std::string_view json) {
  Json document;
  if (Status parsed = parse_json_object(json, "The generation config", document); !parsed)
    return parsed.error();
  std::vector<std::string> faults;
  const JsonFields fields(document, "", faults);
  GenerationConfig config;
  config.eos_token_ids = fields.token_ids("eos_token_id");
  const std::vector<std::int64_t> bos = fields.token_ids("bos_token_id");
  if (!bos.empty()) config.bos_token_id = bos.front();
  const auto pad =
      fields.maybe_integer("pad_token_id", -1, std::numeric_limits<std::int32_t>::max());
  if (pad && *pad >= 0) config.pad_token_id = pad;
  if (faults.empty()) return config;
  return Error{Code::kInvalidArgument,
               cat("The generation config cannot be used. ", join_sentences(faults))};
}

}  // namespace ratchet::trainer
