#include "trainer/model/random_weights.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "trainer/model/copy_folder.h"
#include "trainer/model/digest.h"
#include "trainer/model/file_io.h"
#include "trainer/model/json_fields.h"
#include "trainer/model/model_tensors.h"
#include "trainer/model/safetensors_file.h"
#include "trainer/model/shard_index.h"

namespace ratchet::trainer {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kPieceElements = std::uint64_t{1} << 20;  // of the work that threads share
constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15ULL;          // 2^64 / golden ratio

// The finaliser of SplitMix64 (Steele, Lea, Flood, 2014): a bijection that passes BigCrush when fed
// a counter times kGolden.
std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

std::uint32_t sum_of_quarters(std::uint64_t bits) {
  return static_cast<std::uint32_t>((bits & 0xffff) + ((bits >> 16) & 0xffff) +
                                    ((bits >> 32) & 0xffff) + (bits >> 48));
}

// A part of one tensor: the unit of work.
struct Piece {
  const ModelTensor* tensor = nullptr;
  const StoredTensor* target = nullptr;
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

void fill_piece(const Piece& piece, const ModelConfig& config, std::uint64_t seed,
                std::span<float> values) {
  switch (piece.tensor->role) {
    case TensorRole::kNorm:
      std::fill(values.begin(), values.end(), 1.0F);
      return;
    case TensorRole::kBias:
      std::fill(values.begin(), values.end(), 0.0F);
      return;
    case TensorRole::kEmbedding:
    case TensorRole::kMatrix:
      random_normal(seed, piece.tensor->name, piece.first, config.initializer_range, values);
      return;
  }
}

// Shares the pieces of one file among threads. The first error stops all of them.
class PieceWriter {
 public:
  PieceWriter(const ModelConfig& config, const RandomWeightsArgs& args, std::uint64_t total_bytes)
      : config_(config), args_(args), total_bytes_(total_bytes) {}

  Status write(const std::vector<Piece>& pieces, const SafetensorsWriter& writer) {
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
      std::vector<float> values;
      std::vector<std::byte> bytes;
      for (std::size_t i = next++; i < pieces.size() && !stopped_; i = next++) {
        write_piece(pieces[i], writer, values, bytes);
      }
    };
    const unsigned wanted = args_.threads > 0 ? static_cast<unsigned>(args_.threads)
                                              : std::max(1U, std::thread::hardware_concurrency());
    std::vector<std::jthread> threads;
    for (unsigned i = 1; i < std::min<std::size_t>(wanted, pieces.size()); ++i) {
      threads.emplace_back(work);
    }
    work();
    threads.clear();  // joins
    return status_;
  }

 private:
  void write_piece(const Piece& piece, const SafetensorsWriter& writer, std::vector<float>& values,
                   std::vector<std::byte>& bytes) {
    values.resize(piece.count);
    fill_piece(piece, config_, args_.seed, values);
    const std::size_t size = dtype_size(args_.dtype);
    bytes.resize(piece.count * size);
    narrow_from_float(args_.dtype, values, bytes);
    Status written = writer.write_range(*piece.target, piece.first * size, bytes);

    const std::lock_guard lock(mu_);
    done_bytes_ += bytes.size();
    if (written && args_.progress && !args_.progress(done_bytes_, total_bytes_)) {
      written = Error{Code::kFailedPrecondition, "Writing random weights was stopped."};
    }
    if (!written && !stopped_.exchange(true)) status_ = written;
  }

  const ModelConfig& config_;
  const RandomWeightsArgs& args_;
  const std::uint64_t total_bytes_;
  std::atomic<bool> stopped_{false};
  std::mutex mu_;
  Status status_ = ok();          // guarded by mu_
  std::uint64_t done_bytes_ = 0;  // guarded by mu_
};

std::vector<Piece> cut(const std::vector<const ModelTensor*>& tensors,
                       const SafetensorsHeader& header) {
  std::vector<Piece> pieces;
  for (const ModelTensor* tensor : tensors) {
    const StoredTensor* target = header.find(tensor->name);
    const auto elements = static_cast<std::uint64_t>(target->element_count());
    for (std::uint64_t first = 0; first < elements; first += kPieceElements) {
      pieces.push_back({tensor, target, first, std::min(kPieceElements, elements - first)});
    }
  }
  return pieces;
}

const char* config_dtype_word(DType dtype) {
  if (dtype == DType::kF32) return "float32";
  return dtype == DType::kBF16 ? "bfloat16" : "float16";
}

// The config's text with its dtype keys set to what the weights will have.
Result<std::string> config_with_dtype(const fs::path& path, DType dtype) {
  const Result<std::string> text = read_text_file(path, kMaxConfigBytes);
  if (!text) return text.error();
  nlohmann::json document;
  if (Status parsed = parse_json_object(*text, cat("'", path.string(), "'"), document); !parsed) {
    return parsed.error();
  }
  const bool new_spelling = document.contains("dtype");
  if (new_spelling) document["dtype"] = config_dtype_word(dtype);
  if (document.contains("torch_dtype") || !new_spelling) {
    document["torch_dtype"] = config_dtype_word(dtype);
  }
  return document.dump(2) + "\n";
}

}  // namespace

void random_normal(std::uint64_t seed, std::string_view name, std::uint64_t first, double stddev,
                   std::span<float> dst) {
  // One stream a tensor: its name enters through its hash, so that streams never overlap in use.
  const std::uint64_t key =
      mix(mix(seed + kGolden) ^ xxh3_64(std::as_bytes(std::span(name.data(), name.size()))));
  // Twelve uniforms on 0..65535 have the mean 12 * 32767.5 and the variance 2^32 - 1.
  constexpr std::int64_t kMean = 393210;
  const double scale = stddev / 65536.0;
  for (std::size_t i = 0; i < dst.size(); ++i) {
    const std::uint64_t counter = key + (first + i) * 3 * kGolden;
    const std::uint32_t sum = sum_of_quarters(mix(counter)) +
                              sum_of_quarters(mix(counter + kGolden)) +
                              sum_of_quarters(mix(counter + 2 * kGolden));
    dst[i] = static_cast<float>(static_cast<double>(std::int64_t{sum} - kMean) * scale);
  }
}

Status write_random_weights(const fs::path& folder, const ModelConfig& config,
                            const RandomWeightsArgs& args) {
  if (!is_weight_dtype(args.dtype)) {
    return Error{Code::kInvalidArgument, cat("Weights cannot be made as ", dtype_name(args.dtype),
                                             "; name F32, BF16 or F16.")};
  }
  const std::vector<ModelTensor> tensors = model_tensors(config);
  std::vector<TensorSpec> specs;
  std::map<std::string_view, const ModelTensor*> by_name;
  for (const ModelTensor& tensor : tensors) {
    specs.push_back({tensor.name, args.dtype, tensor.shape});
    by_name.emplace(tensor.name, &tensor);
  }
  const ShardPlan plan = plan_shards(specs, args.max_shard_bytes);
  const auto total = static_cast<std::uint64_t>(parameter_count(config)) * dtype_size(args.dtype);
  PieceWriter pieces(config, args, total);
  for (const ShardPlan::Shard& shard : plan.shards) {
    Result<SafetensorsWriter> writer =
        SafetensorsWriter::create(folder / shard.file, shard.tensors);
    if (!writer) return writer.error();
    std::vector<const ModelTensor*> in_shard;
    in_shard.reserve(shard.tensors.size());
    for (const TensorSpec& spec : shard.tensors) in_shard.push_back(by_name.at(spec.name));
    Status written = pieces.write(cut(in_shard, writer->header()), *writer);
    if (!written) return written;
    if (Status finished = writer->finish(); !finished) return finished;
  }
  if (plan.index_json.empty()) return ok();
  return write_text_file(folder / kShardIndexFile, plan.index_json);
}

Status make_random_model(const fs::path& out, const fs::path& config_file,
                         const fs::path& tokenizer_folder, const RandomWeightsArgs& args) {
  const Result<std::string> text = config_with_dtype(config_file, args.dtype);
  if (!text) return text.error();
  const Result<ModelConfig> config = parse_model_config(*text);
  if (!config) {
    return Error{config.error().code,
                 cat("'", config_file.string(), "': ", config.error().message)};
  }
  if (Status created = create_empty_folder(out); !created) return created;
  if (!tokenizer_folder.empty()) {
    Status copied = copy_side_files(tokenizer_folder, out, CopyConfig::kNo);
    if (!copied) return copied;
  }
  if (Status written = write_text_file(out / "config.json", *text); !written) return written;
  return write_random_weights(out, *config, args);
}

}  // namespace ratchet::trainer
