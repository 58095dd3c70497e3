#include "trainer/model/hf_folder.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "trainer/model/file_io.h"
#include "trainer/model/json_fields.h"
#include "trainer/model/shard_index.h"

namespace ratchet::trainer {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kNamesShown = 5;
constexpr const char* kSingleFile = "model.safetensors";

// "a, b, c and 12 more"
std::string name_list(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kNamesShown); ++i) {
    text += cat(i == 0 ? "" : ", ", names[i]);
  }
  if (names.size() > kNamesShown) text += cat(" and ", names.size() - kNamesShown, " more");
  return text;
}

// Buffers of old Llama files that the model computes itself.
bool is_rotary_buffer(std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq") || name == "rotary_emb.inv_freq";
}

Error no_weights(const fs::path& folder) {
  std::error_code ignored;
  for (const char* old : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (fs::exists(folder / old, ignored)) {
      return Error{Code::kUnsupported,
                   cat("'", folder.string(), "' has its weights in '", old,
                       "', a pickle, which can run code when it is read. Save the model as "
                       "safetensors first (save_pretrained does).")};
    }
  }
  return Error{Code::kNotFound, cat("'", folder.string(), "' has neither ", kSingleFile, " nor ",
                                    kShardIndexFile, ". Name a folder with the model's weights.")};
}

// Where each stored tensor of the folder was seen.
struct Place {
  std::size_t shard = 0;
  const StoredTensor* stored = nullptr;
};
using PlaceMap = std::map<std::string_view, Place>;

Result<PlaceMap> collect(const std::vector<SafetensorsFile>& shards) {
  PlaceMap places;
  for (std::size_t shard = 0; shard < shards.size(); ++shard) {
    for (const StoredTensor& stored : shards[shard].header().tensors) {
      const auto [at, fresh] = places.emplace(stored.name, Place{shard, &stored});
      if (fresh) continue;
      return Error{Code::kCorrupt,
                   cat("The tensor '", stored.name, "' is stored twice, in '",
                       shards[at->second.shard].path().filename().string(), "' and in '",
                       shards[shard].path().filename().string(), "'.")};
    }
  }
  return places;
}

Status check_against_table(const ModelTensor& wanted, const StoredTensor& stored) {
  if (stored.shape != wanted.shape) {
    return Error{Code::kCorrupt,
                 cat("The tensor '", wanted.name, "' has the shape ", shape_text(stored.shape),
                     "; config.json implies ", shape_text(wanted.shape), ".")};
  }
  if (!is_weight_dtype(stored.dtype)) {
    return Error{Code::kUnsupported,
                 cat("The tensor '", wanted.name, "' is stored as ", dtype_name(stored.dtype),
                     "; weights must be F32, BF16 or F16.")};
  }
  return ok();
}

DType biggest_dtype(const std::vector<FolderTensor>& tensors) {
  std::map<DType, std::uint64_t> bytes;
  for (const FolderTensor& tensor : tensors) bytes[tensor.dtype] += tensor.bytes();
  const auto most = std::max_element(
      bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? DType::kF32 : most->first;
}

}  // namespace

Result<HfFolder> HfFolder::open(const fs::path& path) {
  HfFolder folder;
  folder.path_ = path;
  Result<ModelConfig> config = load_model_config(path);
  if (!config) return config.error();
  folder.config_ = std::move(*config);
  folder.notes_ = folder.config_.notes;
  if (Status read = folder.read_stop_tokens(); !read) return read.error();
  if (Status opened = folder.open_shards(); !opened) return opened.error();
  if (Status matched = folder.match_tensors(); !matched) {
    return Error{matched.error().code, cat("'", path.string(), "': ", matched.error().message)};
  }
  return folder;
}

Status HfFolder::read_stop_tokens() {
  stop_token_ids_ = config_.eos_token_ids;
  const fs::path path = path_ / "generation_config.json";
  const Result<std::string> text = read_text_file(path, kMaxConfigBytes);
  if (!text) return text.error().code == Code::kNotFound ? ok() : Status(text.error());
  const Result<GenerationConfig> config = parse_generation_config(*text);
  if (!config) {
    return Error{config.error().code, cat("'", path.string(), "': ", config.error().message)};
  }
  if (!config->eos_token_ids.empty()) stop_token_ids_ = config->eos_token_ids;
  return ok();
}

Status HfFolder::open_shards() {
  std::error_code ignored;
  if (fs::exists(path_ / kSingleFile, ignored)) {
    Result<SafetensorsFile> file = SafetensorsFile::open(path_ / kSingleFile);
    if (!file) return file.error();
    shards_.push_back(std::move(*file));
    if (fs::exists(path_ / kShardIndexFile, ignored)) {
      notes_.push_back(cat("The folder has both ", kSingleFile, " and ", kShardIndexFile,
                           "; the single file is used."));
    }
    return ok();
  }
  if (!fs::exists(path_ / kShardIndexFile, ignored)) return no_weights(path_);
  const Result<ShardIndex> index = load_shard_index(path_);
  if (!index) return index.error();
  for (const std::string& file : index->files) {
    Result<SafetensorsFile> shard = SafetensorsFile::open(path_ / file);
    if (!shard && shard.error().code == Code::kNotFound) {
      return Error{Code::kNotFound, cat("The shard '", (path_ / file).string(), "', which ",
                                        kShardIndexFile, " names, is not there.")};
    }
    if (!shard) return shard.error();
    shards_.push_back(std::move(*shard));
  }
  return check_shard_index(*index, shards_, notes_);
}

Status HfFolder::match_tensors() {
  Result<PlaceMap> places = collect(shards_);
  if (!places) return places.error();
  std::vector<std::string> missing;
  for (ModelTensor& wanted : model_tensors(config_)) {
    const auto at = places->find(wanted.name);
    if (at == places->end()) {
      missing.push_back(std::move(wanted.name));
      continue;
    }
    const Place place = at->second;
    places->erase(at);
    if (Status checked = check_against_table(wanted, *place.stored); !checked) return checked;
    weight_bytes_ += place.stored->bytes();
    by_name_.emplace(wanted.name, tensors_.size());
    tensors_.push_back({std::move(wanted), place.stored->dtype, place.shard, place.stored});
  }
  if (!missing.empty()) {
    return Error{Code::kCorrupt, cat(missing.size(),
                                     " of the tensors that config.json implies are "
                                     "not stored: ",
                                     name_list(missing), ".")};
  }
  main_dtype_ = biggest_dtype(tensors_);

  std::vector<std::string> extra;
  for (const auto& [name, place] : *places) {
    if (is_rotary_buffer(name)) continue;
    if (name == kHeadName && config_.tie_word_embeddings) {
      ignored_head_ = FolderTensor{.tensor = {std::string(name), place.stored->shape},
                                   .dtype = place.stored->dtype,
                                   .shard = place.shard,
                                   .stored = place.stored};
      notes_.emplace_back(
          "The folder stores an lm_head.weight although the head is tied to the embedding; the "
          "embedding is used.");
      continue;
    }
    extra.emplace_back(name);
  }
  if (extra.empty()) return ok();
  return Error{Code::kCorrupt,
               cat(extra.size(), " stored tensors do not belong to a ", family_name(config_.family),
                   " model with this config.json: ", name_list(extra), ".")};
}

const FolderTensor* HfFolder::find(std::string_view name) const {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? nullptr : &tensors_[at->second];
}

Status HfFolder::read_tensor(const FolderTensor& tensor, std::span<std::byte> dst) const {
  return shards_[tensor.shard].read(*tensor.stored, dst);
}

Status HfFolder::read_range(const FolderTensor& tensor, std::uint64_t offset,
                            std::span<std::byte> dst) const {
  return shards_[tensor.shard].read_range(*tensor.stored, offset, dst);
}

Status HfFolder::read_tensor_as_float(const FolderTensor& tensor, std::span<float> dst) const {
  if (dst.size() != static_cast<std::size_t>(tensor.stored->element_count())) {
    return Error{Code::kInternal,
                 cat("The tensor '", tensor.tensor.name, "' has ", tensor.stored->element_count(),
                     " elements; a buffer of ", dst.size(), " was given.")};
  }
  if (tensor.dtype == DType::kF32) return read_tensor(tensor, std::as_writable_bytes(dst));
  const std::size_t size = dtype_size(tensor.dtype);
  std::vector<std::byte> piece(std::min(kPieceBytes, dst.size() * size));
  for (std::size_t done = 0; done < dst.size();) {
    const std::size_t count = std::min(piece.size() / size, dst.size() - done);
    const std::span<std::byte> bytes = std::span(piece).first(count * size);
    if (Status read = read_range(tensor, done * size, bytes); !read) return read;
    widen_to_float(tensor.dtype, bytes, dst.subspan(done, count));
    done += count;
  }
  return ok();
}

Status HfFolder::check_tied_head() const {
  if (!ignored_head_) return ok();
  const FolderTensor& embedding = *find(kEmbeddingName);
  bool equal = ignored_head_->tensor.shape == embedding.tensor.shape &&
               ignored_head_->dtype == embedding.dtype;
  std::vector<std::byte> a(kPieceBytes);
  std::vector<std::byte> b(kPieceBytes);
  for (std::uint64_t done = 0; equal && done < embedding.bytes();) {
    const auto count =
        static_cast<std::size_t>(std::min<std::uint64_t>(kPieceBytes, embedding.bytes() - done));
    Status read = read_range(embedding, done, std::span(a).first(count));
    if (read) read = read_range(*ignored_head_, done, std::span(b).first(count));
    if (!read) return read;
    equal = std::equal(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(count), b.begin());
    done += count;
  }
  if (equal) return ok();
  return Error{Code::kInvalidArgument,
               cat("'", path_.string(),
                   "': config.json ties the head to the embedding, but the "
                   "stored lm_head.weight differs from it. Set "
                   "\"tie_word_embeddings\": false to use the stored head, or "
                   "remove that tensor.")};
}

Result<std::vector<ShardDigest>> HfFolder::digest_shards(const DigestProgress& progress) const {
  std::uint64_t total = 0;
  for (const SafetensorsFile& shard : shards_) total += shard.header().file_bytes;
  std::uint64_t before = 0;
  DigestProgress inner;
  if (progress) {
    inner = [&](std::uint64_t done, std::uint64_t) { return progress(before + done, total); };
  }
  std::vector<ShardDigest> digests;
  for (const SafetensorsFile& shard : shards_) {
    Result<FileDigest> digest = digest_file(shard.path(), inner);
    if (!digest) return digest.error();
    before += digest->bytes;
    digests.push_back({shard.path().filename().string(), std::move(*digest)});
  }
  return digests;
}

}  // namespace ratchet::trainer
