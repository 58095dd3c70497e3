#pragma once

// Streams a model folder into a new one, replacing the content of chosen tensors (`merge`). Holds
// one replaced tensor at a time, never the model.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "proto/result.h"
#include "trainer/model/digest.h"
#include "trainer/model/hf_folder.h"

namespace ratchet::trainer {

struct CopyFolderArgs {
  // Which tensors are rewritten.
  std::function<bool(const FolderTensor&)> selects;
  // Changes the content of a selected tensor in place: row-major fp32, rounded to the stored dtype
  // afterwards.
  std::function<Status(const FolderTensor&, std::span<float> values)> transform;
  std::uint64_t max_shard_bytes = 5'000'000'000;
  DigestProgress progress;  // bytes written, bytes in all
};

// Copies weights (same dtypes, shards cut anew) and the small files beside them (config,
// tokenizer, templates, licences). `out` must be new or empty; on failure it is left without
// a model.safetensors or an index.
Status copy_model_folder(const HfFolder& source, const std::filesystem::path& out,
                         const CopyFolderArgs& args);

// Copies the files of a model folder that are not weights: *.json (without the weight index),
// *.txt, *.model, *.jinja, *.md, LICENSE*, each at most 64 MiB. config.json only when asked for.
enum class CopyConfig { kNo, kYes };
Status copy_side_files(const std::filesystem::path& from, const std::filesystem::path& to,
                       CopyConfig config);

// A cut of tensors into files of at most `max_shard_bytes` (a larger tensor gets its own).
struct ShardPlan {
  struct Shard {
    std::string file;
    std::vector<TensorSpec> tensors;
  };
  std::vector<Shard> shards;
  std::string index_json;  // text of model.safetensors.index.json; empty for a single file
};
ShardPlan plan_shards(const std::vector<TensorSpec>& tensors, std::uint64_t max_shard_bytes);

}  // namespace ratchet::trainer
