#pragma once

// adapter_config.json, as PEFT writes and reads it, for LoRA and DoRA. What a file asks for
// beyond that (rank patterns, saved modules, ...) is refused by name.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"

namespace ratchet::trainer {

struct AdapterConfig {
  std::string base_model;  // base_model_name_or_path; may be empty
  std::optional<std::string> revision;
  std::int64_t rank = 8;
  double alpha = 8.0;  // lora_alpha
  bool rslora = false;
  bool dora = false;
  double dropout = 0.0;

  enum class Targets {
    kList,       // target_modules: each entry matches a module path by suffix
    kAllLinear,  // every linear layer of the blocks
    kPattern,    // a regular expression: the stored tensors say what it matched
  };
  Targets targets = Targets::kList;
  std::vector<std::string> target_modules;  // for kList, sorted; one pattern for kPattern
  bool restricted = false;                  // exclude_modules or layers_to_transform is set
  std::string peft_version;                 // as read; the writer states its own
  std::vector<std::string> notes;           // what a user should know, one sentence each
};

// kUnsupported names the feature and why; kInvalidArgument is a wrong type or range.
Result<AdapterConfig> parse_adapter_config(std::string_view json);

// The text of adapter_config.json: the key set of PEFT 0.19, keys sorted, indent 2, no final
// newline. Numbers without a fraction are written as integers.
std::string adapter_config_json(const AdapterConfig& config);

}  // namespace ratchet::trainer
