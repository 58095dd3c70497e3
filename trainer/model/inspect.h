#pragma once

// What lies at a path: a model folder, an adapter folder, a safetensors file or, through a
// callback, a checkpoint folder. Bad content is a verdict, not an error.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "proto/result.h"
#include "trainer/model/digest.h"
#include "trainer/model/safetensors.h"

namespace ratchet::trainer {

enum class InspectKind { kModelFolder, kAdapterFolder, kCheckpointFolder, kSafetensors, kUnknown };

// "model_folder", ...
const char* inspect_kind_name(InspectKind kind);

struct InspectedTensor {
  TensorSpec tensor;
  std::uint64_t bytes = 0;
  std::string file;  // name inside the folder
};

struct InspectedFile {
  std::string file;
  std::uint64_t bytes = 0;
  std::optional<FileDigest> digest;
};

struct Inspection {
  std::filesystem::path path;
  InspectKind kind = InspectKind::kUnknown;
  bool valid = false;
  std::string reason;  // why it is valid or not; always a sentence
  std::vector<std::pair<std::string, std::string>> facts;  // "family" -> "llama", in print order
  std::vector<InspectedTensor> tensors;
  std::vector<InspectedFile> files;
  std::vector<std::string> notes;

  [[nodiscard]] std::uint64_t tensor_bytes() const;
  [[nodiscard]] std::int64_t parameter_count() const;
};

struct InspectOptions {
  bool digests = true;  // read every weight file once for its digests
  DigestProgress progress;
  // Fills an Inspection for a folder with a MANIFEST.json; absent: such a folder is kUnknown.
  std::function<Result<Inspection>(const std::filesystem::path&)> checkpoint;
};

// kNotFound when nothing is at `path`, kIo when it cannot be read.
Result<Inspection> inspect_path(const std::filesystem::path& path, const InspectOptions& options);

// A table for people, and the same facts for programs (pretty-printed JSON, final newline).
std::string inspection_text(const Inspection& inspection);
std::string inspection_json(const Inspection& inspection);

}  // namespace ratchet::trainer
