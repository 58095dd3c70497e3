#include "trainer/model/inspect.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "trainer/model/file_io.h"
#include "trainer/model/hf_folder.h"
#include "trainer/model/peft_folder.h"
#include "trainer/model/peft_names.h"
#include "trainer/model/shard_index.h"

namespace ratchet::trainer {

namespace fs = std::filesystem;

namespace {

void add_fact(Inspection& inspection, std::string key, std::string value) {
  inspection.facts.emplace_back(std::move(key), std::move(value));
}

void add_tensors(Inspection& inspection, const SafetensorsFile& file) {
  for (const StoredTensor& tensor : file.header().tensors) {
    inspection.tensors.push_back({tensor, tensor.bytes(), file.path().filename().string()});
  }
}

// A verdict for content that could not be read through.
Inspection rejected(Inspection inspection, const Error& error) {
  inspection.valid = false;
  inspection.reason = error.message;
  return inspection;
}

// Adds the file with its size and, if asked for, its digest.
Status add_file(Inspection& inspection, const fs::path& path, const InspectOptions& options) {
  InspectedFile file{.file = path.filename().string(), .bytes = 0, .digest = {}};
  if (options.digests) {
    Result<FileDigest> digest = digest_file(path, options.progress);
    if (!digest) return digest.error();
    file.bytes = digest->bytes;
    file.digest = std::move(*digest);
  } else {
    std::error_code error;
    file.bytes = fs::file_size(path, error);
    if (error) return io_error("look at", path, error.value());
  }
  inspection.files.push_back(std::move(file));
  return ok();
}

void add_config_facts(Inspection& inspection, const ModelConfig& config) {
  add_fact(inspection, "family", family_name(config.family));
  add_fact(inspection, "layers", cat(config.layer_count));
  add_fact(inspection, "hidden_size", cat(config.hidden_size));
  add_fact(inspection, "intermediate_size", cat(config.intermediate_size));
  add_fact(
      inspection, "heads",
      cat(config.head_count, " query, ", config.kv_head_count, " key/value, of ", config.head_dim));
  add_fact(inspection, "vocabulary", cat(config.vocab_size));
  add_fact(inspection, "max_positions", cat(config.max_position_embeddings));
  add_fact(
      inspection, "rope",
      cat("theta ", config.rope_theta,
          config.rope_scaling ? cat(", llama3 scaling by ", config.rope_scaling->factor) : ""));
  const auto windowed = std::count_if(config.sliding_windows.begin(), config.sliding_windows.end(),
                                      [](std::int64_t window) { return window > 0; });
  if (windowed > 0) {
    add_fact(inspection, "sliding_window",
             cat(*std::max_element(config.sliding_windows.begin(), config.sliding_windows.end()),
                 " in ", windowed, " layers"));
  }
  add_fact(inspection, "head", config.tie_word_embeddings ? "tied to the embedding" : "own");
}

Result<Inspection> inspect_model(Inspection inspection, const InspectOptions& options) {
  inspection.kind = InspectKind::kModelFolder;
  const Result<HfFolder> folder = HfFolder::open(inspection.path);
  if (!folder) return rejected(std::move(inspection), folder.error());
  add_config_facts(inspection, folder->config());
  add_fact(inspection, "dtype", dtype_name(folder->main_dtype()));
  inspection.notes = folder->notes();
  for (const SafetensorsFile& shard : folder->shards()) {
    add_tensors(inspection, shard);
    if (Status added = add_file(inspection, shard.path(), options); !added) return added.error();
  }
  if (options.digests) {
    const Status tied = folder->check_tied_head();
    if (!tied) return rejected(std::move(inspection), tied.error());
  }
  inspection.valid = true;
  inspection.reason = cat("A ", family_name(folder->config().family),
                          " model: every tensor that config.json implies is stored, in its shape.");
  return inspection;
}

// The base model is not known here, so that what can be said without it is checked: the config,
// the file's rules, names, pairs and ranks.
Status check_adapter(const AdapterConfig& config, const SafetensorsHeader& header) {
  std::map<LoraSite, std::vector<LoraFactor>> factors;
  for (const StoredTensor& tensor : header.tensors) {
    const std::optional<PeftName> name = parse_peft_name(tensor.name);
    if (!name) {
      return Error{Code::kUnsupported, cat("The tensor '", tensor.name,
                                           "' is not a LoRA tensor on q, k, v, o, gate, up or down "
                                           "of a supported model.")};
    }
    const bool is_magnitude = name->factor == LoraFactor::kMagnitude;
    const bool is_a = name->factor == LoraFactor::kA;
    const std::int64_t rank =
        tensor.shape.size() == 2 ? tensor.shape[is_a ? 0 : 1] : std::int64_t{-1};
    if (is_magnitude ? tensor.shape.size() != 1 : rank != config.rank) {
      return Error{Code::kCorrupt,
                   cat("The tensor '", tensor.name, "' has the shape ", shape_text(tensor.shape),
                       ", which does not fit the rank ", config.rank, " of adapter_config.json.")};
    }
    factors[name->site].push_back(name->factor);
  }
  std::vector<LoraFactor> wanted{LoraFactor::kA, LoraFactor::kB};
  if (config.dora) wanted.push_back(LoraFactor::kMagnitude);
  for (auto& [site, seen] : factors) {
    std::sort(seen.begin(), seen.end());
    if (seen == wanted) continue;
    return Error{Code::kCorrupt,
                 cat(config.dora ? "lora_A, lora_B or lora_magnitude_vector" : "lora_A or lora_B",
                     " is missing, or a tensor is stored twice or too much, for ",
                     target_module_path(site.module), " of layer ", site.layer, ".")};
  }
  if (!factors.empty()) return ok();
  return Error{Code::kCorrupt, "The adapter holds no LoRA tensors."};
}

Status check_finite(const SafetensorsFile& file) {
  std::vector<std::byte> bytes;
  std::vector<float> values;
  for (const StoredTensor& tensor : file.header().tensors) {
    if (!is_weight_dtype(tensor.dtype)) continue;
    bytes.resize(tensor.bytes());
    values.resize(static_cast<std::size_t>(tensor.element_count()));
    if (Status read = file.read(tensor, bytes); !read) return read;
    widen_to_float(tensor.dtype, bytes, values);
    for (const float value : values) {
      if (value - value == 0.0F) continue;  // false for infinities and NaN
      return Error{Code::kCorrupt, cat("The tensor '", tensor.name,
                                       "' holds a value that is not a finite number.")};
    }
  }
  return ok();
}

Result<Inspection> inspect_adapter(Inspection inspection, const InspectOptions& options) {
  inspection.kind = InspectKind::kAdapterFolder;
  const Result<std::string> text =
      read_text_file(inspection.path / kAdapterConfigFile, kMaxConfigBytes);
  if (!text) return rejected(std::move(inspection), text.error());
  const Result<AdapterConfig> config = parse_adapter_config(*text);
  if (!config) return rejected(std::move(inspection), config.error());
  add_fact(inspection, "base_model", config->base_model);
  add_fact(inspection, "rank", cat(config->rank));
  add_fact(inspection, "alpha", cat(config->alpha));
  add_fact(inspection, "scaling", config->rslora ? "alpha / sqrt(rank)" : "alpha / rank");
  if (config->dora) add_fact(inspection, "magnitude", "apart (DoRA)");
  add_fact(inspection, "dropout", cat(config->dropout));
  std::string targets = config->targets == AdapterConfig::Targets::kAllLinear ? "all-linear" : "";
  for (const std::string& target : config->target_modules) {
    targets += cat(targets.empty() ? "" : ", ", target);
  }
  add_fact(inspection, "targets", targets);

  const Result<SafetensorsFile> file = SafetensorsFile::open(inspection.path / kAdapterWeightsFile);
  if (!file) return rejected(std::move(inspection), file.error());
  add_tensors(inspection, *file);
  if (Status added = add_file(inspection, file->path(), options); !added) return added.error();
  Status checked = check_adapter(*config, file->header());
  if (checked && options.digests) checked = check_finite(*file);
  if (!checked) return rejected(std::move(inspection), checked.error());
  inspection.valid = true;
  inspection.reason =
      "A LoRA adapter: names, pairs and ranks fit its config. Whether it fits a base "
      "model shows when it is loaded onto one.";
  return inspection;
}

Result<Inspection> inspect_file(Inspection inspection, const InspectOptions& options) {
  inspection.kind = InspectKind::kSafetensors;
  const Result<SafetensorsFile> file = SafetensorsFile::open(inspection.path);
  if (!file && file.error().code == Code::kIo) return file.error();
  if (!file) return rejected(std::move(inspection), file.error());
  add_tensors(inspection, *file);
  for (const auto& [key, value] : file->header().metadata) {
    add_fact(inspection, cat("metadata.", key), value);
  }
  if (Status added = add_file(inspection, inspection.path, options); !added) return added.error();
  inspection.valid = true;
  inspection.reason = "A safetensors file that keeps all the rules of the format.";
  return inspection;
}

}  // namespace

const char* inspect_kind_name(InspectKind kind) {
  switch (kind) {
    case InspectKind::kModelFolder:
      return "model_folder";
    case InspectKind::kAdapterFolder:
      return "adapter_folder";
    case InspectKind::kCheckpointFolder:
      return "checkpoint_folder";
    case InspectKind::kSafetensors:
      return "safetensors";
    case InspectKind::kUnknown:
      return "unknown";
  }
  return "unknown";
}

std::uint64_t Inspection::tensor_bytes() const {
  std::uint64_t sum = 0;
  for (const InspectedTensor& tensor : tensors) sum += tensor.bytes;
  return sum;
}

std::int64_t Inspection::parameter_count() const {
  std::int64_t sum = 0;
  for (const InspectedTensor& tensor : tensors) {
    sum += static_cast<std::int64_t>(tensor.bytes / dtype_size(tensor.tensor.dtype));
  }
  return sum;
}

Result<Inspection> inspect_path(const fs::path& path, const InspectOptions& options) {
  Inspection inspection;
  inspection.path = path;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    return Error{Code::kNotFound, cat("There is nothing at '", path.string(), "'.")};
  }
  if (error) return io_error("look at", path, error.value());
  if (status.type() != fs::file_type::directory) return inspect_file(inspection, options);

  const auto has = [&](const char* name) { return fs::exists(path / name, error); };
  // A checkpoint holds an adapter, or a model, beside its manifest: the manifest decides.
  if (has("MANIFEST.json") && options.checkpoint) return options.checkpoint(path);
  if (has(kAdapterConfigFile)) return inspect_adapter(inspection, options);
  if (has("config.json") || has("model.safetensors") || has(kShardIndexFile)) {
    return inspect_model(inspection, options);
  }
  inspection.reason = cat("The folder has no config.json of a model, no ", kAdapterConfigFile,
                          " of an adapter and no MANIFEST.json of a checkpoint.");
  return inspection;
}

}  // namespace ratchet::trainer
