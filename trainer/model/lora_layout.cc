#include "trainer/model/lora_layout.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "trainer/model/file_io.h"
#include "trainer/model/model_tensors.h"

namespace ratchet::trainer {

namespace {

struct ModuleRow {
  const char* word;  // what a job spec may say
  const char* name;
  const char* path;
};

constexpr std::array<ModuleRow, 7> kModules = {{{"q", "q_proj", "self_attn.q_proj"},
                                                {"k", "k_proj", "self_attn.k_proj"},
                                                {"v", "v_proj", "self_attn.v_proj"},
                                                {"o", "o_proj", "self_attn.o_proj"},
                                                {"gate", "gate_proj", "mlp.gate_proj"},
                                                {"up", "up_proj", "mlp.up_proj"},
                                                {"down", "down_proj", "mlp.down_proj"}}};

const ModuleRow& row(TargetModule module) { return kModules[static_cast<std::size_t>(module)]; }

Error bad_layout(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }

// Appends a tensor at the next aligned offset and returns its index.
std::size_t append(ArenaLayout& arena, std::string name, std::vector<std::int64_t> shape) {
  std::int64_t size = 1;
  for (const std::int64_t dimension : shape) size *= dimension;
  arena.tensors.push_back({std::move(name), std::move(shape), arena.arena_size, size});
  arena.arena_size += (size + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
  return arena.tensors.size() - 1;
}

Status check_args(const LoraLayoutArgs& args) {
  if (args.rank < 1 || args.rank > kMaxRank) {
    return bad_layout(
        cat("A LoRA rank of ", args.rank, " was asked for; it must be 1 to ", kMaxRank, "."));
  }
  if (!std::isfinite(args.alpha) || args.alpha <= 0.0) {
    return bad_layout(cat("A LoRA alpha of ", args.alpha, " was asked for; it must be above 0."));
  }
  return ok();
}

}  // namespace

const char* target_module_name(TargetModule module) { return row(module).name; }

const char* target_module_path(TargetModule module) { return row(module).path; }

LinearSize target_module_size(const ModelConfig& config, TargetModule module) {
  const std::int64_t d = config.hidden_size;
  switch (module) {
    case TargetModule::kQ:
      return {.in = d, .out = config.q_size()};
    case TargetModule::kK:
    case TargetModule::kV:
      return {.in = d, .out = config.kv_size()};
    case TargetModule::kO:
      return {.in = config.q_size(), .out = d};
    case TargetModule::kGate:
    case TargetModule::kUp:
      return {.in = d, .out = config.intermediate_size};
    case TargetModule::kDown:
      return {.in = config.intermediate_size, .out = d};
  }
  return {};
}

Result<std::vector<TargetModule>> parse_target_modules(std::span<const std::string> words) {
  if (words.size() == 1 && words[0] == "all-linear") {
    return std::vector<TargetModule>(kAllTargetModules.begin(), kAllTargetModules.end());
  }
  if (words.empty()) {
    return bad_layout(
        "No target module is named. Name some of q, k, v, o, gate, up, down, or "
        "\"all-linear\".");
  }
  std::set<TargetModule> modules;
  for (const std::string& word : words) {
    const auto* at = std::find_if(kModules.begin(), kModules.end(), [&](const ModuleRow& module) {
      return word == module.word || word == module.name;
    });
    if (at == kModules.end()) {
      return bad_layout(
          cat("'", word,
              "' is not a module that LoRA can be put on. Name some of q, k, v, o, gate, "
              "up, down, or \"all-linear\" alone."));
    }
    if (!modules.insert(static_cast<TargetModule>(at - kModules.begin())).second) {
      return bad_layout(cat("The target module '", word, "' is named twice."));
    }
  }
  return std::vector<TargetModule>(modules.begin(), modules.end());
}

std::int64_t ArenaLayout::parameter_count() const {
  std::int64_t count = 0;
  for (const ArenaTensor& tensor : tensors) count += tensor.size;
  return count;
}

const ArenaTensor* ArenaLayout::find(std::string_view name) const {
  const auto at = std::find_if(tensors.begin(), tensors.end(),
                               [&](const ArenaTensor& tensor) { return tensor.name == name; });
  return at == tensors.end() ? nullptr : &*at;
}

double LoraLayout::scaling() const {
  const auto r = static_cast<double>(rank);
  return rslora ? alpha / std::sqrt(r) : alpha / r;
}

Result<LoraLayout> make_lora_layout(const ModelConfig& config, const LoraLayoutArgs& args,
                                    std::span<const TargetModule> targets) {
  std::vector<LoraSite> sites;
  for (std::int64_t layer = 0; layer < config.layer_count; ++layer) {
    for (const TargetModule module : targets) sites.push_back({layer, module});
  }
  return make_lora_layout(config, args, std::move(sites));
}

Result<LoraLayout> make_lora_layout(const ModelConfig& config, const LoraLayoutArgs& args,
                                    std::vector<LoraSite> sites) {
  if (Status checked = check_args(args); !checked) return checked.error();
  if (sites.empty()) return bad_layout("A LoRA layout needs at least one adapted module.");
  std::sort(sites.begin(), sites.end());
  const auto twice = std::adjacent_find(sites.begin(), sites.end());
  if (twice != sites.end()) {
    return bad_layout(cat("The module ", target_module_path(twice->module), " of layer ",
                          twice->layer, " is adapted twice."));
  }
  LoraLayout layout;
  layout.rank = args.rank;
  layout.alpha = args.alpha;
  layout.rslora = args.rslora;
  layout.dora = args.dora;
  layout.layer_count = config.layer_count;
  for (const LoraSite& site : sites) {
    if (site.layer < 0 || site.layer >= config.layer_count) {
      return bad_layout(cat("Layer ", site.layer, " cannot be adapted: the model has ",
                            config.layer_count, " layers, counted from 0."));
    }
    const LinearSize size = target_module_size(config, site.module);
    LoraAdapter adapter;
    adapter.site = site;
    adapter.in = size.in;
    adapter.out = size.out;
    adapter.a = append(layout.arena, peft_tensor_name(site, LoraFactor::kA), {args.rank, size.in});
    adapter.b = append(layout.arena, peft_tensor_name(site, LoraFactor::kB), {size.out, args.rank});
    if (args.dora) {
      adapter.magnitude =
          append(layout.arena, peft_tensor_name(site, LoraFactor::kMagnitude), {size.out});
    }
    layout.adapters.push_back(adapter);
  }
  return layout;
}

ArenaLayout make_full_layout(const ModelConfig& config) {
  ArenaLayout arena;
  for (ModelTensor& tensor : model_tensors(config)) {
    append(arena, std::move(tensor.name), std::move(tensor.shape));
  }
  return arena;
}

std::string peft_tensor_name(const LoraSite& site, LoraFactor factor) {
  constexpr std::array<const char*, 3> kEndings{".lora_A.weight", ".lora_B.weight",
                                                ".lora_magnitude_vector"};
  return cat("base_model.model.", layer_prefix(site.layer), target_module_path(site.module),
             kEndings.at(static_cast<std::size_t>(factor)));
}

}  // namespace ratchet::trainer
