#pragma once

// A model folder with an optional adapter, as eval and generate take it.

#include <memory>
#include <string>

#include "proto/result.h"
#include "trainer/model/hf_folder.h"
#include "trainer/train/inference.h"

namespace CLI {  // NOLINT(readability-identifier-naming): theirs
class App;
}

namespace ratchet::trainer::cli {

struct ModelFlags {
  std::string folder;
  std::string adapter;
  std::string precision = "auto";  // auto: as stored, fp32 for fp16
  std::string quantization = "none";
  std::string device = "auto";
};

void add_model_flags(CLI::App& command, ModelFlags& flags);
Result<std::unique_ptr<InferenceModel>> open_model(const ModelFlags& flags, const HfFolder& folder);

}  // namespace ratchet::trainer::cli
