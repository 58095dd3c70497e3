#pragma once

// The names of LoRA tensors in adapter files, in the spellings that are met. Internal to
// peft_folder.cc.

#include <optional>
#include <string>
#include <string_view>

#include "trainer/model/lora_layout.h"

namespace ratchet::trainer {

// A tensor name taken apart: <prefix>layers.<n>.<module path>.lora_A[.<adapter>].weight; after
// lora_magnitude_vector the last ".weight" may be missing.
struct PeftName {
  LoraSite site;
  LoraFactor factor = LoraFactor::kA;
  std::string prefix;   // "base_model.model.model." in PEFT's own files
  std::string adapter;  // "" in PEFT's own files, often "default" in hand-made ones
};

// Empty for a name that is not a LoRA tensor of a supported module with a known prefix.
std::optional<PeftName> parse_peft_name(std::string_view name);

inline constexpr std::string_view kPeftPrefix = "base_model.model.model.";

}  // namespace ratchet::trainer
