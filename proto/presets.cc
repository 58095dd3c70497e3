#include "proto/presets.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace ratchet {

namespace {

// Rank, learning rate, batch and data epochs of conservative and aggressive are those of TRN-02;
// balanced lies between them. alpha = 2 * rank throughout, so that the scaling of the update (2) is
// the same and only rank and learning rate tell the presets apart.
constexpr std::array<Preset, 3> kPresets{{
    {.name = "conservative",
     .version = 1,
     .purpose = "Least memory and the gentlest change of the base model.",
     .rank = 8,
     .alpha = 16,
     .dropout = 0.05,
     .learning_rate = 2e-4,
     .data_epochs = 3,
     .micro_batch = 2,
     .global_batch = 16,
     .gradient_checkpointing = true},
    {.name = "balanced",
     .version = 1,
     .purpose = "The default: enough capacity for most data sets at a moderate price.",
     .rank = 16,
     .alpha = 32,
     .dropout = 0.05,
     .learning_rate = 2e-4,
     .data_epochs = 3,
     .micro_batch = 4,
     .global_batch = 16,
     .gradient_checkpointing = true},
    {.name = "aggressive",
     .version = 1,
     .purpose = "Most capacity and the largest learning rate; needs more memory and more data.",
     .rank = 32,
     .alpha = 64,
     .dropout = 0.05,
     .learning_rate = 3e-4,
     .data_epochs = 3,
     .micro_batch = 4,
     .global_batch = 16,
     .gradient_checkpointing = true},
}};

}  // namespace

std::span<const Preset> presets() { return kPresets; }

const Preset* find_preset(std::string_view reference) {
  const std::size_t at = reference.find('@');
  const std::string_view name = reference.substr(0, at);
  std::optional<std::int64_t> version;
  if (at != std::string_view::npos) {
    const std::string_view digits = reference.substr(at + 1);
    std::int64_t number = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size()) return nullptr;
    version = number;
  }
  const Preset* found = nullptr;
  for (const Preset& preset : kPresets) {
    if (preset.name == name && (!version || preset.version == *version)) found = &preset;
  }
  return found;
}

void apply_preset(const Preset& preset, JobSpec& spec) {
  spec.preset = {.name = std::string(preset.name), .version = preset.version};
  spec.lora.rank = preset.rank;
  spec.lora.alpha = preset.alpha;
  spec.lora.dropout = preset.dropout;
  spec.training.learning_rate = preset.learning_rate;
  spec.training.data_epochs = preset.data_epochs;
  spec.training.max_steps.reset();
  spec.training.micro_batch = preset.micro_batch;
  spec.training.global_batch = preset.global_batch;
  spec.training.gradient_checkpointing = preset.gradient_checkpointing;
}

}  // namespace ratchet
