#pragma once

// model.safetensors.index.json: {"metadata": {"total_size": int}, "weight_map": {tensor: file}}.

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "trainer/model/safetensors_file.h"

namespace ratchet::trainer {

inline constexpr const char* kShardIndexFile = "model.safetensors.index.json";

struct ShardIndex {
  std::map<std::string, std::string, std::less<>> weight_map;  // tensor -> file
  std::vector<std::string> files;                              // each once, sorted
  std::optional<std::int64_t> total_bytes;                     // metadata.total_size
};

// Parses the text. File names must be plain names of .safetensors files in the same folder: no
// separators, no "..". At most 1000 files.
Result<ShardIndex> parse_shard_index(std::string_view json);

// Reads it from `folder`; messages name the file.
Result<ShardIndex> load_shard_index(const std::filesystem::path& folder);

// Every mapped tensor must lie in its shard, and every stored tensor be mapped to where it lies.
// `shards` are the opened files in the order of index.files. A total_size that is off is noted.
Status check_shard_index(const ShardIndex& index, const std::vector<SafetensorsFile>& shards,
                         std::vector<std::string>& notes);

}  // namespace ratchet::trainer
