#pragma once

// Where every trainable tensor lies in the flat fp32 arenas (parameters, gradients, AdamW state),
// and under which name it is stored.
//
// Legend: in = input features, out = output features of the adapted linear layer, R = rank.
// lora_A is [R, in], lora_B is [out, R]; y = W x + scaling * B (A x). DoRA's magnitude is [out].

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "trainer/model/model_config.h"

namespace ratchet::trainer {

// Linear layers of a decoder block, in the order of the forward pass.
inline constexpr std::int64_t kMaxRank = 4096;

enum class TargetModule { kQ, kK, kV, kO, kGate, kUp, kDown };

inline constexpr std::array<TargetModule, 7> kAllTargetModules = {
    TargetModule::kQ,    TargetModule::kK,  TargetModule::kV,   TargetModule::kO,
    TargetModule::kGate, TargetModule::kUp, TargetModule::kDown};

// "q_proj", ..., "down_proj".
const char* target_module_name(TargetModule module);
// "self_attn.q_proj", ..., "mlp.down_proj".
const char* target_module_path(TargetModule module);

// Input and output features of the module.
struct LinearSize {
  std::int64_t in = 0;
  std::int64_t out = 0;
};
LinearSize target_module_size(const ModelConfig& config, TargetModule module);

// Words to modules: "q" or "q_proj", ..., or the single word "all-linear". An unknown word, a word
// twice or an empty list is kInvalidArgument. The result is in forward order.
Result<std::vector<TargetModule>> parse_target_modules(std::span<const std::string> words);

// One tensor of an arena. `offset` and `size` count floats.
struct ArenaTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::int64_t offset = 0;  // multiple of kArenaAlignment
  std::int64_t size = 0;    // product of shape
};

inline constexpr std::int64_t kArenaAlignment = 16;  // floats: one 64-byte cache line

// Tensors back to back, each start aligned; the gaps and the tail are zero and stay zero.
struct ArenaLayout {
  std::vector<ArenaTensor> tensors;
  std::int64_t arena_size = 0;  // floats, a multiple of kArenaAlignment

  // Floats that are parameters (arena_size less the gaps).
  [[nodiscard]] std::int64_t parameter_count() const;
  // The tensor of that name, or null. Linear.
  [[nodiscard]] const ArenaTensor* find(std::string_view name) const;
};

// One adapted linear layer.
struct LoraSite {
  std::int64_t layer = 0;
  TargetModule module = TargetModule::kQ;

  friend auto operator<=>(const LoraSite&, const LoraSite&) = default;
};

struct LoraAdapter {
  LoraSite site;
  std::int64_t in = 0;
  std::int64_t out = 0;
  std::size_t a = 0;                     // index of lora_A in LoraLayout::arena.tensors
  std::size_t b = 0;                     // index of lora_B
  std::optional<std::size_t> magnitude;  // of lora_magnitude_vector, with DoRA
};

struct LoraLayout {
  std::int64_t rank = 0;
  double alpha = 0.0;
  bool rslora = false;
  bool dora = false;
  std::int64_t layer_count = 0;       // of the base model
  std::vector<LoraAdapter> adapters;  // by layer, then in forward order
  ArenaLayout arena;                  // names are PEFT's, base_model.model.model.layers....

  // alpha / rank, or alpha / sqrt(rank) with rsLoRA.
  [[nodiscard]] double scaling() const;
};

struct LoraLayoutArgs {
  std::int64_t rank = 0;  // 1 .. kMaxRank
  double alpha = 0.0;     // finite, > 0
  bool rslora = false;
  bool dora = false;
};

// The layout of adapters on `targets` in every layer.
Result<LoraLayout> make_lora_layout(const ModelConfig& config, const LoraLayoutArgs& args,
                                    std::span<const TargetModule> targets);

// The layout of adapters at exactly these sites (any order, no site twice).
Result<LoraLayout> make_lora_layout(const ModelConfig& config, const LoraLayoutArgs& args,
                                    std::vector<LoraSite> sites);

// Every tensor of the model under its own name, for method "full".
ArenaLayout make_full_layout(const ModelConfig& config);

// "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight"; a magnitude's name ends with
// ".lora_magnitude_vector", without ".weight".
enum class LoraFactor { kA, kB, kMagnitude };
std::string peft_tensor_name(const LoraSite& site, LoraFactor factor);

}  // namespace ratchet::trainer
