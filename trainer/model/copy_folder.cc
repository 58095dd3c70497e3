#include "trainer/model/copy_folder.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "trainer/model/file_io.h"
#include "trainer/model/shard_index.h"

namespace ratchet::trainer {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kMaxSideFileBytes = std::uint64_t{64} << 20;

std::uint64_t spec_bytes(const TensorSpec& tensor) {
  std::uint64_t bytes = dtype_size(tensor.dtype);
  for (const std::int64_t dimension : tensor.shape) bytes *= static_cast<std::uint64_t>(dimension);
  return bytes;
}

bool is_side_file(const fs::path& path, CopyConfig config) {
  const std::string name = path.filename().string();
  const std::string extension = path.extension().string();
  if (name == "config.json") return config == CopyConfig::kYes;
  if (name.ends_with(".index.json") || name.starts_with("adapter_")) return false;
  if (name.starts_with("LICENSE") || name.starts_with("NOTICE")) return true;
  return extension == ".json" || extension == ".txt" || extension == ".model" ||
         extension == ".jinja" || extension == ".md";
}

// "model-00002-of-00007.safetensors", as transformers names shards.
std::string shard_name(std::size_t index, std::size_t count) {
  const auto five = [](std::size_t value) {
    std::string digits = std::to_string(value);
    return digits.size() < 5 ? std::string(5 - digits.size(), '0') + digits : digits;
  };
  return cat("model-", five(index + 1), "-of-", five(count), ".safetensors");
}

std::string index_text(const ShardPlan& plan, std::uint64_t total_bytes) {
  nlohmann::json map = nlohmann::json::object();
  for (const ShardPlan::Shard& shard : plan.shards) {
    for (const TensorSpec& tensor : shard.tensors) map[tensor.name] = shard.file;
  }
  const nlohmann::json index = {{"metadata", {{"total_size", total_bytes}}},
                                {"weight_map", std::move(map)}};
  return index.dump(2) + "\n";
}

// Writes the tensors of one copy, shard by shard.
class FolderCopier {
 public:
  FolderCopier(const HfFolder& source, const CopyFolderArgs& args) : source_(source), args_(args) {}

  Status copy_tensor(const FolderTensor& tensor, const SafetensorsWriter& writer) {
    const StoredTensor& target = *writer.header().find(tensor.tensor.name);
    if (!args_.selects || !args_.selects(tensor)) return copy_bytes(tensor, target, writer);
    std::vector<float> values(static_cast<std::size_t>(tensor.stored->element_count()));
    if (Status read = source_.read_tensor_as_float(tensor, values); !read) return read;
    if (Status changed = args_.transform(tensor, values); !changed) return changed;
    return write_values(values, target, writer);
  }

 private:
  Status copy_bytes(const FolderTensor& tensor, const StoredTensor& target,
                    const SafetensorsWriter& writer) {
    for (std::uint64_t done = 0; done < tensor.bytes();) {
      const std::span<std::byte> piece =
          std::span(piece_).first(std::min<std::uint64_t>(kPieceBytes, tensor.bytes() - done));
      if (Status read = source_.read_range(tensor, done, piece); !read) return read;
      if (Status written = writer.write_range(target, done, piece); !written) return written;
      done += piece.size();
      if (Status told = tell(piece.size()); !told) return told;
    }
    return ok();
  }

  Status write_values(std::span<const float> values, const StoredTensor& target,
                      const SafetensorsWriter& writer) {
    const std::size_t size = dtype_size(target.dtype);
    for (std::size_t done = 0; done < values.size();) {
      const std::size_t count = std::min(kPieceBytes / size, values.size() - done);
      const std::span<std::byte> piece = std::span(piece_).first(count * size);
      narrow_from_float(target.dtype, values.subspan(done, count), piece);
      if (Status written = writer.write_range(target, done * size, piece); !written) return written;
      done += count;
      if (Status told = tell(piece.size()); !told) return told;
    }
    return ok();
  }

  Status tell(std::uint64_t bytes) {
    done_ += bytes;
    if (!args_.progress || args_.progress(done_, source_.weight_bytes())) return ok();
    return Error{Code::kFailedPrecondition, "Writing the model was stopped."};
  }

  const HfFolder& source_;
  const CopyFolderArgs& args_;
  std::vector<std::byte> piece_ = std::vector<std::byte>(kPieceBytes);
  std::uint64_t done_ = 0;
};

}  // namespace

ShardPlan plan_shards(const std::vector<TensorSpec>& tensors, std::uint64_t max_shard_bytes) {
  ShardPlan plan;
  std::uint64_t total = 0;
  std::uint64_t in_shard = 0;
  for (const TensorSpec& tensor : tensors) {
    const std::uint64_t bytes = spec_bytes(tensor);
    if (plan.shards.empty() || (in_shard > 0 && in_shard + bytes > max_shard_bytes)) {
      plan.shards.emplace_back();
      in_shard = 0;
    }
    plan.shards.back().tensors.push_back(tensor);
    in_shard += bytes;
    total += bytes;
  }
  if (plan.shards.size() == 1) {
    plan.shards.front().file = "model.safetensors";
    return plan;
  }
  for (std::size_t i = 0; i < plan.shards.size(); ++i) {
    plan.shards[i].file = shard_name(i, plan.shards.size());
  }
  plan.index_json = index_text(plan, total);
  return plan;
}

Status copy_side_files(const fs::path& from, const fs::path& to, CopyConfig config) {
  std::error_code error;
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(from, error)) {
    if (entry.is_regular_file(error) && is_side_file(entry.path(), config)) {
      files.push_back(entry.path());
    }
  }
  if (error) return io_error("list the folder", from, error.value());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    const Result<std::string> text = read_text_file(file, kMaxSideFileBytes);
    if (!text) return text.error();
    if (Status written = write_text_file(to / file.filename(), *text); !written) return written;
  }
  return ok();
}

Status copy_model_folder(const HfFolder& source, const fs::path& out, const CopyFolderArgs& args) {
  if (Status created = create_empty_folder(out); !created) return created;
  std::vector<TensorSpec> specs;
  for (const FolderTensor& tensor : source.tensors()) {
    specs.push_back({tensor.tensor.name, tensor.dtype, tensor.tensor.shape});
  }
  const ShardPlan plan = plan_shards(specs, args.max_shard_bytes);
  if (Status copied = copy_side_files(source.path(), out, CopyConfig::kYes); !copied) return copied;

  FolderCopier copier(source, args);
  for (const ShardPlan::Shard& shard : plan.shards) {
    Result<SafetensorsWriter> writer = SafetensorsWriter::create(out / shard.file, shard.tensors);
    if (!writer) return writer.error();
    for (const TensorSpec& tensor : shard.tensors) {
      Status copied = copier.copy_tensor(*source.find(tensor.name), *writer);
      if (!copied) return copied;
    }
    if (Status finished = writer->finish(); !finished) return finished;
  }
  // The index goes last: without it a half-written sharded folder is no model.
  if (plan.index_json.empty()) return ok();
  return write_text_file(out / kShardIndexFile, plan.index_json);
}

}  // namespace ratchet::trainer
