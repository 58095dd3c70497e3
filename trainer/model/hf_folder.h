#pragma once

// HfFolder: a Hugging Face model folder, opened and validated from its headers alone.
//
// config.json gives the tensor table (model_tensors.h); model.safetensors, or the shards that
// model.safetensors.index.json names, must hold exactly these tensors with these shapes, in F32,
// BF16 or F16. With tied embeddings a stored lm_head.weight is tolerated and ignored, as are the
// rotary inv_freq buffers of old files. No weight is read before read_tensor().

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "trainer/model/digest.h"
#include "trainer/model/model_config.h"
#include "trainer/model/model_tensors.h"
#include "trainer/model/safetensors_file.h"

namespace ratchet::trainer {

struct FolderTensor {
  ModelTensor tensor;
  DType dtype = DType::kF32;
  std::size_t shard = 0;                 // index into HfFolder::shards()
  const StoredTensor* stored = nullptr;  // in that shard's header

  [[nodiscard]] std::uint64_t bytes() const { return stored->bytes(); }
};

struct ShardDigest {
  std::string file;  // name inside the folder
  FileDigest digest;
};

// Move-only. Const methods are thread-safe.
class HfFolder {
 public:
  static Result<HfFolder> open(const std::filesystem::path& folder);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] const ModelConfig& config() const { return config_; }

  // In the order of model_tensors().
  [[nodiscard]] const std::vector<FolderTensor>& tensors() const { return tensors_; }
  [[nodiscard]] const std::vector<SafetensorsFile>& shards() const { return shards_; }

  // The tensor of that name, or null.
  [[nodiscard]] const FolderTensor* find(std::string_view name) const;

  // Stored bytes of tensors() (without what is ignored).
  [[nodiscard]] std::uint64_t weight_bytes() const { return weight_bytes_; }

  // The dtype that holds most of the bytes.
  [[nodiscard]] DType main_dtype() const { return main_dtype_; }

  // Token ids that end a generated text: generation_config.json's, else config.json's.
  [[nodiscard]] const std::vector<std::int64_t>& stop_token_ids() const { return stop_token_ids_; }

  // Things a user should know that do not stop the load (config's notes included).
  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }

  // Reads a whole tensor, or bytes from `offset` on, straight into `dst`: the bytes as stored.
  Status read_tensor(const FolderTensor& tensor, std::span<std::byte> dst) const;
  Status read_range(const FolderTensor& tensor, std::uint64_t offset,
                    std::span<std::byte> dst) const;

  // Reads a whole tensor as fp32 through a buffer of at most 4 MiB; dst.size() = element count.
  Status read_tensor_as_float(const FolderTensor& tensor, std::span<float> dst) const;

  // kInvalidArgument when embeddings are tied but the folder stores an lm_head.weight of other
  // content (transformers would then not tie them). Reads both tensors in pieces.
  Status check_tied_head() const;

  // Digest of every shard, in the order of shards(). `progress` sees the bytes of all shards.
  Result<std::vector<ShardDigest>> digest_shards(const DigestProgress& progress = {}) const;

 private:
  HfFolder() = default;
  Status read_stop_tokens();
  Status open_shards();
  Status match_tensors();

  std::filesystem::path path_;
  ModelConfig config_;
  std::vector<std::int64_t> stop_token_ids_;
  std::vector<std::string> notes_;
  std::vector<SafetensorsFile> shards_;
  std::vector<FolderTensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
  std::optional<FolderTensor> ignored_head_;
  std::uint64_t weight_bytes_ = 0;
  DType main_dtype_ = DType::kF32;
};

}  // namespace ratchet::trainer
