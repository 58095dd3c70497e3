#pragma once

// A PEFT adapter folder: adapter_config.json and adapter_model.safetensors.

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "proto/result.h"
#include "trainer/model/adapter_config.h"
#include "trainer/model/lora_layout.h"
#include "trainer/model/safetensors_file.h"

namespace ratchet::trainer {

inline constexpr const char* kAdapterConfigFile = "adapter_config.json";
inline constexpr const char* kAdapterWeightsFile = "adapter_model.safetensors";

// An adapter folder, validated against a base model: names, shapes and completeness. Move-only.
class PeftFolder {
 public:
  // Tensor names may carry PEFT's usual prefix, one "model." less, none, or an adapter name
  // (".lora_A.default.weight"), the same way in the whole file; a difference is noted.
  static Result<PeftFolder> open(const std::filesystem::path& folder, const ModelConfig& base);

  [[nodiscard]] const AdapterConfig& config() const { return config_; }
  [[nodiscard]] const LoraLayout& layout() const { return layout_; }
  [[nodiscard]] const SafetensorsFile& file() const { return file_; }
  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }

  // Reads the weights as fp32 into `arena` (layout().arena.arena_size floats; gaps are zeroed).
  // A value that is not finite is kCorrupt.
  Status read_into(std::span<float> arena) const;

 private:
  explicit PeftFolder(SafetensorsFile file) : file_(std::move(file)) {}
  Status match(const ModelConfig& base);
  void note_differences(const std::string& prefix, const std::string& adapter);

  AdapterConfig config_;
  LoraLayout layout_;
  SafetensorsFile file_;
  std::vector<const StoredTensor*> stored_;  // one for each of layout().arena.tensors
  std::vector<std::string> notes_;
};

// The AdapterConfig that describes a layout. `dropout` is the training dropout.
AdapterConfig adapter_config_for(const LoraLayout& layout, std::string base_model, double dropout);

// Writes the folder (created when absent; the two files are replaced when present), fp32. PEFT
// loads it without a change.
Status write_peft_folder(const std::filesystem::path& folder, const AdapterConfig& config,
                         const LoraLayout& layout, std::span<const float> arena);

}  // namespace ratchet::trainer
