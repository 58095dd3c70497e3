#include "trainer/model/peft_folder.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "trainer/model/file_io.h"
#include "trainer/model/model_tensors.h"
#include "trainer/model/peft_names.h"

namespace ratchet::trainer {

namespace fs = std::filesystem;

namespace {

Error bad_adapter(std::string message) { return Error{Code::kCorrupt, std::move(message)}; }

struct Factors {
  const StoredTensor* a = nullptr;
  const StoredTensor* b = nullptr;
  const StoredTensor* magnitude = nullptr;
};

// The adapter file's tensors, sorted out by the module that they adapt.
struct Sorted {
  std::map<LoraSite, Factors> sites;
  std::string prefix;
  std::string adapter;
};

Status refuse_name(const std::string& name) {
  const auto unsupported = [&](std::string_view what) {
    return Error{Code::kUnsupported,
                 cat("The adapter stores '", name, "': ", what, " is not supported.")};
  };
  if (name.find("lora_embedding_") != std::string::npos ||
      name.find("embed_tokens") != std::string::npos) {
    return unsupported("an adapter on the embedding");
  }
  if (name.find("lm_head") != std::string::npos) return unsupported("an adapter on the head");
  return bad_adapter(
      cat("The adapter stores '", name,
          "', which is not the name of a LoRA tensor on q, k, v, o, gate, up or down."));
}

Result<Sorted> sort_tensors(const SafetensorsHeader& header) {
  Sorted sorted;
  bool first = true;
  for (const StoredTensor& stored : header.tensors) {
    std::optional<PeftName> name = parse_peft_name(stored.name);
    if (!name) return refuse_name(stored.name).error();
    if (!is_weight_dtype(stored.dtype)) {
      return Error{Code::kUnsupported,
                   cat("The adapter tensor '", stored.name, "' is stored as ",
                       dtype_name(stored.dtype), "; F32, BF16 or F16 is needed.")};
    }
    if (std::exchange(first, false)) {
      sorted.prefix = name->prefix;
      sorted.adapter = name->adapter;
    }
    if (name->prefix != sorted.prefix || name->adapter != sorted.adapter) {
      return bad_adapter(cat("The adapter's tensors are named in two ways ('", stored.name,
                             "' and '", header.tensors.front().name,
                             "'), so it may be two adapters in one file."));
    }
    Factors& factors = sorted.sites[name->site];
    const StoredTensor*& place = name->factor == LoraFactor::kA   ? factors.a
                                 : name->factor == LoraFactor::kB ? factors.b
                                                                  : factors.magnitude;
    place = &stored;
  }
  if (first) return bad_adapter("The adapter file holds no tensors.");
  for (const auto& [site, factors] : sorted.sites) {
    if (factors.a != nullptr && factors.b != nullptr) continue;
    return bad_adapter(cat("The adapter has only one of lora_A and lora_B for ",
                           target_module_path(site.module), " of layer ", site.layer, "."));
  }
  return sorted;
}

// Every adapted module has a magnitude with DoRA, and none has one without.
Status check_magnitudes(const AdapterConfig& config, const Sorted& sorted) {
  for (const auto& [site, factors] : sorted.sites) {
    if ((factors.magnitude != nullptr) == config.dora) continue;
    return bad_adapter(cat("adapter_config.json says ", config.dora ? "use_dora" : "no use_dora",
                           ", and the file has ", config.dora ? "no" : "a",
                           " lora_magnitude_vector for ", target_module_path(site.module),
                           " of layer ", site.layer, "."));
  }
  return ok();
}

// PEFT's rule for a list: the entry is the module path or ends it after a dot.
bool list_matches(const AdapterConfig& config, const LoraSite& site) {
  const std::string path = layer_prefix(site.layer) + target_module_path(site.module);
  return std::any_of(
      config.target_modules.begin(), config.target_modules.end(),
      [&](const std::string& entry) { return path == entry || path.ends_with("." + entry); });
}

// What the config says is adapted must be what is stored: a module without tensors would silently
// stay unadapted, tensors without a target would be ignored by PEFT.
Status check_targets(const AdapterConfig& config, const ModelConfig& base, const Sorted& sorted) {
  for (const char* outside : {"lm_head", "embed_tokens"}) {
    if (std::find(config.target_modules.begin(), config.target_modules.end(), outside) !=
        config.target_modules.end()) {
      return Error{Code::kUnsupported, cat("The adapter targets '", outside,
                                           "'; adapters on embedding or head are not supported.")};
    }
  }
  if (config.targets == AdapterConfig::Targets::kPattern) return ok();
  for (std::int64_t layer = 0; layer < base.layer_count; ++layer) {
    for (const TargetModule module : kAllTargetModules) {
      const LoraSite site{layer, module};
      const bool wanted =
          config.targets == AdapterConfig::Targets::kAllLinear || list_matches(config, site);
      const bool stored = sorted.sites.contains(site);
      if (wanted == stored || (wanted && config.restricted)) continue;
      return bad_adapter(cat("adapter_config.json ", wanted ? "targets " : "does not target ",
                             target_module_path(module), " of layer ", layer, ", and the file ",
                             stored ? "stores tensors for it." : "stores no tensors for it."));
    }
  }
  return ok();
}

Error in_folder(const fs::path& folder, const Error& error) {
  return Error{error.code, cat("'", folder.string(), "': ", error.message)};
}

Result<AdapterConfig> load_config(const fs::path& folder) {
  const fs::path path = folder / kAdapterConfigFile;
  const Result<std::string> text = read_text_file(path, kMaxConfigBytes);
  if (!text && text.error().code == Code::kNotFound) {
    return Error{Code::kNotFound,
                 cat("There is no '", path.string(), "'. Name an adapter folder.")};
  }
  if (!text) return text.error();
  return parse_adapter_config(*text);
}

Result<SafetensorsFile> open_weights(const fs::path& folder) {
  Result<SafetensorsFile> file = SafetensorsFile::open(folder / kAdapterWeightsFile);
  std::error_code ignored;
  if (!file && file.error().code == Code::kNotFound &&
      fs::exists(folder / "adapter_model.bin", ignored)) {
    return Error{Code::kUnsupported, cat("'", folder.string(),
                                         "' has its weights in adapter_model.bin, a pickle, which "
                                         "can run code when it is read. Save the adapter as "
                                         "safetensors first.")};
  }
  return file;
}

}  // namespace

Result<PeftFolder> PeftFolder::open(const fs::path& path, const ModelConfig& base) {
  Result<AdapterConfig> config = load_config(path);
  if (!config) return in_folder(path, config.error());
  Result<SafetensorsFile> file = open_weights(path);
  if (!file) return file.error();
  PeftFolder folder(std::move(*file));
  folder.config_ = std::move(*config);
  if (Status matched = folder.match(base); !matched) return in_folder(path, matched.error());
  return folder;
}

Status PeftFolder::match(const ModelConfig& base) {
  const Result<Sorted> sorted = sort_tensors(file_.header());
  if (!sorted) return sorted.error();
  std::vector<LoraSite> sites;
  sites.reserve(sorted->sites.size());
  for (const auto& [site, factors] : sorted->sites) sites.push_back(site);
  Result<LoraLayout> layout = make_lora_layout(base,
                                               {.rank = config_.rank,
                                                .alpha = config_.alpha,
                                                .rslora = config_.rslora,
                                                .dora = config_.dora},
                                               sites);
  if (!layout) return layout.error();
  if (Status checked = check_magnitudes(config_, *sorted); !checked) return checked;
  if (Status checked = check_targets(config_, base, *sorted); !checked) return checked;
  layout_ = std::move(*layout);

  stored_.resize(layout_.arena.tensors.size());
  for (const LoraAdapter& adapter : layout_.adapters) {
    stored_[adapter.a] = sorted->sites.at(adapter.site).a;
    stored_[adapter.b] = sorted->sites.at(adapter.site).b;
    if (adapter.magnitude) {
      stored_[*adapter.magnitude] = sorted->sites.at(adapter.site).magnitude;
    }
  }
  for (std::size_t i = 0; i < stored_.size(); ++i) {
    if (stored_[i]->shape == layout_.arena.tensors[i].shape) continue;
    return bad_adapter(cat("The adapter tensor '", stored_[i]->name, "' has the shape ",
                           shape_text(stored_[i]->shape), "; rank ", config_.rank,
                           " and the base model need ", shape_text(layout_.arena.tensors[i].shape),
                           "."));
  }
  note_differences(sorted->prefix, sorted->adapter);
  return ok();
}

void PeftFolder::note_differences(const std::string& prefix, const std::string& adapter) {
  if (prefix != kPeftPrefix) {
    notes_.push_back(cat("The adapter's tensor names start with '", prefix, "' instead of '",
                         kPeftPrefix, "'; PEFT itself would not find them."));
  }
  if (!adapter.empty()) {
    notes_.push_back(cat("The adapter's tensor names carry the adapter name '", adapter,
                         "', which PEFT leaves out of its files."));
  }
  if (config_.targets == AdapterConfig::Targets::kPattern) {
    notes_.push_back(cat("target_modules is the pattern '", config_.target_modules.front(),
                         "'; the stored tensors say which modules it matched."));
  }
}

Status PeftFolder::read_into(std::span<float> arena) const {
  if (arena.size() != static_cast<std::size_t>(layout_.arena.arena_size)) {
    return Error{Code::kInternal, cat("An arena of ", arena.size(), " floats was given; ",
                                      layout_.arena.arena_size, " are needed.")};
  }
  std::fill(arena.begin(), arena.end(), 0.0F);
  std::vector<std::byte> piece(kPieceBytes);
  for (std::size_t i = 0; i < stored_.size(); ++i) {
    const ArenaTensor& tensor = layout_.arena.tensors[i];
    const std::size_t size = dtype_size(stored_[i]->dtype);
    const std::span<float> values = arena.subspan(static_cast<std::size_t>(tensor.offset),
                                                  static_cast<std::size_t>(tensor.size));
    for (std::size_t done = 0; done < values.size();) {
      const std::size_t count = std::min(piece.size() / size, values.size() - done);
      const std::span<std::byte> bytes = std::span(piece).first(count * size);
      if (Status read = file_.read_range(*stored_[i], done * size, bytes); !read) return read;
      widen_to_float(stored_[i]->dtype, bytes, values.subspan(done, count));
      done += count;
    }
    const auto bad = std::find_if(values.begin(), values.end(),
                                  [](float value) { return !std::isfinite(value); });
    if (bad != values.end()) {
      return bad_adapter(cat("'", file_.path().string(), "': element ", bad - values.begin(),
                             " of '", stored_[i]->name,
                             "' is not a finite number; the adapter is broken."));
    }
  }
  return ok();
}

AdapterConfig adapter_config_for(const LoraLayout& layout, std::string base_model, double dropout) {
  AdapterConfig config;
  config.base_model = std::move(base_model);
  config.rank = layout.rank;
  config.alpha = layout.alpha;
  config.rslora = layout.rslora;
  config.dora = layout.dora;
  config.dropout = dropout;
  std::set<TargetModule> modules;
  for (const LoraAdapter& adapter : layout.adapters) modules.insert(adapter.site.module);
  std::set<std::string> names;
  if (layout.adapters.size() == modules.size() * static_cast<std::size_t>(layout.layer_count)) {
    for (const TargetModule module : modules) names.insert(target_module_name(module));
  } else {
    // A layout on some layers only: full paths, which PEFT matches as suffixes.
    for (const LoraAdapter& adapter : layout.adapters) {
      names.insert(layer_prefix(adapter.site.layer) + target_module_path(adapter.site.module));
    }
  }
  config.target_modules.assign(names.begin(), names.end());
  return config;
}

Status write_peft_folder(const fs::path& folder, const AdapterConfig& config,
                         const LoraLayout& layout, std::span<const float> arena) {
  if (arena.size() != static_cast<std::size_t>(layout.arena.arena_size)) {
    return Error{Code::kInternal, cat("An arena of ", arena.size(), " floats was given; ",
                                      layout.arena.arena_size, " are needed.")};
  }
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return io_error("create the folder", folder, error.value());

  std::vector<TensorSpec> specs;
  for (const ArenaTensor& tensor : layout.arena.tensors) {
    specs.push_back({tensor.name, DType::kF32, tensor.shape});
  }
  Result<SafetensorsWriter> writer =
      SafetensorsWriter::create(folder / kAdapterWeightsFile, std::move(specs));
  if (!writer) return writer.error();
  for (const ArenaTensor& tensor : layout.arena.tensors) {
    const std::span<const float> values = arena.subspan(static_cast<std::size_t>(tensor.offset),
                                                        static_cast<std::size_t>(tensor.size));
    const Status written =
        writer->write(*writer->header().find(tensor.name), std::as_bytes(values));
    if (!written) return written;
  }
  if (Status finished = writer->finish(); !finished) return finished;
  return write_text_file(folder / kAdapterConfigFile, adapter_config_json(config));
}

}  // namespace ratchet::trainer
