#include "trainer/model/shard_index.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "trainer/model/file_io.h"
#include "trainer/model/json_fields.h"

namespace ratchet::trainer {

namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kMaxIndexBytes = std::uint64_t{64} << 20;
constexpr std::size_t kMaxFiles = 1000;  // one descriptor each; the usual limit is 1024
constexpr std::size_t kMaxNameBytes = 255;

Error bad_index(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }

// A downloaded index must not be able to name a file outside its folder.
bool is_plain_file_name(std::string_view name) {
  const bool bad_byte = std::any_of(name.begin(), name.end(), [](char c) {
    return c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20;
  });
  return !bad_byte && name.size() <= kMaxNameBytes && !name.starts_with('.') &&
         name.ends_with(".safetensors");
}

}  // namespace

Result<ShardIndex> parse_shard_index(std::string_view json) {
  Json document;
  if (Status parsed = parse_json_object(json, "The shard index", document); !parsed) {
    return parsed.error();
  }
  std::vector<std::string> faults;
  const JsonFields fields(document, "", faults);
  ShardIndex index;
  if (const Json* metadata = fields.maybe_object("metadata")) {
    const JsonFields inner(*metadata, "metadata.", faults);
    index.total_bytes =
        inner.maybe_integer("total_size", 0, std::numeric_limits<std::int64_t>::max());
  }
  const Json* map = fields.maybe_object("weight_map");
  if (map == nullptr || map->empty()) {
    fields.fault("weight_map", "an object that maps each tensor to its file is needed");
  }
  if (!faults.empty()) return bad_index(join_sentences(faults));

  std::set<std::string> files;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !is_plain_file_name(file.get_ref<const std::string&>())) {
      return bad_index(
          cat("The shard index puts the tensor '", tensor, "' into ", json_excerpt(file),
              "; the plain name of a .safetensors file in the same folder is needed."));
    }
    files.insert(file.get<std::string>());
    index.weight_map.emplace(tensor, file.get<std::string>());
  }
  if (files.size() > kMaxFiles) {
    return bad_index(cat("The shard index names ", files.size(), " files; at most ", kMaxFiles,
                         " are supported."));
  }
  index.files.assign(files.begin(), files.end());
  return index;
}

Result<ShardIndex> load_shard_index(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kShardIndexFile;
  const Result<std::string> text = read_text_file(path, kMaxIndexBytes);
  if (!text) return text.error();
  Result<ShardIndex> index = parse_shard_index(*text);
  if (index) return index;
  return Error{index.error().code, cat("'", path.string(), "': ", index.error().message)};
}

Status check_shard_index(const ShardIndex& index, const std::vector<SafetensorsFile>& shards,
                         std::vector<std::string>& notes) {
  std::map<std::string_view, const SafetensorsHeader*> headers;
  std::uint64_t stored_bytes = 0;
  for (const SafetensorsFile& shard : shards) {
    for (const StoredTensor& tensor : shard.header().tensors) {
      const auto mapped = index.weight_map.find(tensor.name);
      stored_bytes += tensor.bytes();
      if (mapped != index.weight_map.end() && mapped->second == shard.path().filename()) continue;
      return Error{Code::kCorrupt, cat("'", shard.path().string(), "' stores the tensor '",
                                       tensor.name, "', which ", kShardIndexFile,
                                       mapped == index.weight_map.end()
                                           ? " does not list."
                                           : cat(" puts into '", mapped->second, "'."))};
    }
  }
  for (std::size_t i = 0; i < shards.size(); ++i) {
    headers.emplace(index.files[i], &shards[i].header());
  }
  for (const auto& [tensor, file] : index.weight_map) {
    if (headers.at(file)->find(tensor) != nullptr) continue;
    return Error{Code::kCorrupt, cat(kShardIndexFile, " puts the tensor '", tensor, "' into '",
                                     file, "', which does not store it.")};
  }
  if (index.total_bytes && static_cast<std::uint64_t>(*index.total_bytes) != stored_bytes) {
    notes.push_back(cat(kShardIndexFile, " gives a total size of ", *index.total_bytes,
                        " bytes; the shards store ", stored_bytes, "."));
  }
  return ok();
}

}  // namespace ratchet::trainer
