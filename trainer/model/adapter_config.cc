#include "trainer/model/adapter_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "trainer/model/file_io.h"
#include "trainer/model/json_fields.h"
#include "trainer/model/lora_layout.h"

namespace ratchet::trainer {

namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxTargets = 10'000;

// The key set of this PEFT version is what the writer produces (formats seen in its output).
constexpr const char* kWrittenPeftVersion = "0.19.1";

struct Feature {
  const char* key;
  const char* why;
};

// Booleans that must be false.
constexpr std::array<Feature, 3> kMustBeFalse = {
    {{"use_qalora", "QA-LoRA pools its input by groups, which is not built"},
     {"lora_bias", "a bias beside lora_B is not built"},
     {"fan_in_fan_out",
      "it means transposed weights (GPT-2's Conv1D), which no supported model has"}}};

// Keys that must be null or empty.
constexpr std::array<Feature, 13> kMustBeEmpty = {
    {{"rank_pattern", "ranks that differ between modules are not built"},
     {"alpha_pattern", "alphas that differ between modules are not built"},
     {"modules_to_save", "fully trained modules beside the adapter are not built"},
     {"layer_replication", "it changes the number of layers, which is not built"},
     {"trainable_token_indices", "trained embedding rows are not built"},
     {"target_parameters", "adapters on bare parameters are not built"},
     {"alora_invocation_tokens", "activated LoRA starts inside a text, which is not built"},
     {"arrow_config", "Arrow routes between several adapters, which is not built"},
     {"use_bdlora", "block-diagonal LoRA is not built"},
     {"velora_config", "VeLoRA is not built"},
     {"monteclora_config", "MonteCLoRA is not built"},
     {"kasa_config", "KaSA is not built"},
     {"megatron_config", "Megatron's parallel layers are not built"}}};

// Initialisations that leave the base weights as they are.
constexpr std::array<std::string_view, 3> kPlainInits = {"gaussian", "eva", "orthogonal"};

bool is_empty(const Json& value) {
  return value.is_null() || (value.is_structured() && value.empty()) ||
         (value.is_boolean() && !value.get<bool>());
}

Status refuse_features(const Json& document) {
  const auto refuse = [&](const Feature& feature) {
    return Error{Code::kUnsupported, cat("The adapter config asks for '", feature.key,
                                         "': ", json_excerpt(document.at(feature.key)),
                                         ". This is not supported: ", feature.why, ".")};
  };
  for (const Feature& feature : kMustBeFalse) {
    const auto at = document.find(feature.key);
    if (at != document.end() && !is_empty(*at)) return refuse(feature);
  }
  for (const Feature& feature : kMustBeEmpty) {
    const auto at = document.find(feature.key);
    if (at != document.end() && !is_empty(*at)) return refuse(feature);
  }
  return ok();
}

Status refuse_kinds(const Json& document, const JsonFields& fields) {
  const auto unsupported = [](std::string message) {
    return Error{Code::kUnsupported, std::move(message)};
  };
  const auto type = fields.maybe_text("peft_type");
  if (type && *type != "LORA") {
    return unsupported(
        cat("The adapter is of the PEFT type '", *type, "'; only LORA is supported."));
  }
  const auto task = fields.maybe_text("task_type");
  if (task && *task != "CAUSAL_LM") {
    return unsupported(
        cat("The adapter is made for the task '", *task, "'; only CAUSAL_LM is supported."));
  }
  const std::string bias = fields.maybe_text("bias").value_or("none");
  if (bias != "none") {
    return unsupported(cat("The adapter config has the bias mode '", bias,
                           "'; trained biases are not built, only 'none' is supported."));
  }
  const Json* init = fields.find("init_lora_weights");
  const bool plain =
      init == nullptr || init->is_boolean() ||
      (init->is_string() && std::find(kPlainInits.begin(), kPlainInits.end(),
                                      init->get<std::string>()) != kPlainInits.end());
  if (!plain) {
    return unsupported(cat("The adapter was initialised with ", json_excerpt(*init),
                           ", which changes the base model's weights as well; this is not "
                           "supported. PEFT can convert such an adapter to a plain one when it "
                           "saves it (path_initial_model_for_weight_conversion)."));
  }
  return refuse_features(document);
}

void read_targets(const JsonFields& fields, AdapterConfig& config) {
  const char* key = "target_modules";
  const Json* value = fields.find(key);
  if (value == nullptr) {
    fields.fault(key, "a list of module names, a pattern or \"all-linear\" is needed");
    return;
  }
  if (value->is_string()) {
    const auto text = value->get<std::string>();
    config.targets = text == "all-linear" ? AdapterConfig::Targets::kAllLinear
                                          : AdapterConfig::Targets::kPattern;
    if (config.targets == AdapterConfig::Targets::kPattern) config.target_modules = {text};
    return;
  }
  const std::vector<std::string> listed =
      fields.maybe_texts(key).value_or(std::vector<std::string>{});
  if (listed.empty() || listed.size() > kMaxTargets) {
    if (value->is_array()) fields.fault(key, "between 1 and 10000 module names are needed");
    return;
  }
  // PEFT keeps a set and writes it in any order.
  const std::set<std::string> unique(listed.begin(), listed.end());
  config.targets = AdapterConfig::Targets::kList;
  config.target_modules.assign(unique.begin(), unique.end());
}

Json number(double value) {
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (std::floor(value) == value && std::abs(value) < kExact) {
    return static_cast<std::int64_t>(value);
  }
  return value;
}

Json written_targets(const AdapterConfig& config) {
  switch (config.targets) {
    case AdapterConfig::Targets::kAllLinear:
      return "all-linear";
    case AdapterConfig::Targets::kPattern:
      return config.target_modules.front();
    case AdapterConfig::Targets::kList:
      break;
  }
  return config.target_modules;
}

}  // namespace

Result<AdapterConfig> parse_adapter_config(std::string_view json) {
  Json document;
  if (Status parsed = parse_json_object(json, "The adapter config", document); !parsed) {
    return parsed.error();
  }
  std::vector<std::string> faults;
  const JsonFields fields(document, "", faults);
  if (Status refused = refuse_kinds(document, fields); !refused) return refused.error();

  AdapterConfig config;
  if (fields.find("peft_type") == nullptr) fields.fault("peft_type", "\"LORA\" is needed");
  config.base_model = fields.maybe_text("base_model_name_or_path").value_or("");
  config.revision = fields.maybe_text("revision");
  config.rank = fields.integer("r", 1, kMaxRank, 8);  // PEFT's own default for an absent key
  config.alpha = fields.number("lora_alpha", 0.0, 1e9, 8.0);
  config.rslora = fields.boolean("use_rslora", false);
  config.dora = fields.boolean("use_dora", false);
  config.dropout = fields.number("lora_dropout", -1e-300, 1.0, 0.0);
  config.peft_version = fields.maybe_text("peft_version").value_or("");
  read_targets(fields, config);
  for (const char* key : {"exclude_modules", "layers_to_transform"}) {
    const Json* value = fields.find(key);
    config.restricted = config.restricted || (value != nullptr && !is_empty(*value));
  }
  if (!faults.empty()) {
    return Error{Code::kInvalidArgument,
                 cat("The adapter config cannot be used. ", join_sentences(faults))};
  }
  return config;
}

std::string adapter_config_json(const AdapterConfig& config) {
  const Json empty = Json::object();
  Json out = {{"alora_invocation_tokens", nullptr},
              {"alpha_pattern", empty},
              {"arrow_config", nullptr},
              {"auto_mapping", nullptr},
              {"base_model_name_or_path", config.base_model},
              {"bias", "none"},
              {"corda_config", nullptr},
              {"ensure_weight_tying", false},
              {"eva_config", nullptr},
              {"exclude_modules", nullptr},
              {"fan_in_fan_out", false},
              {"inference_mode", true},
              {"init_lora_weights", true},
              {"layer_replication", nullptr},
              {"layers_pattern", nullptr},
              {"layers_to_transform", nullptr},
              {"loftq_config", empty},
              {"lora_alpha", number(config.alpha)},
              {"lora_bias", false},
              {"lora_dropout", number(config.dropout)},
              {"lora_ga_config", nullptr},
              {"megatron_config", nullptr},
              {"megatron_core", "megatron.core"},
              {"modules_to_save", nullptr},
              {"peft_type", "LORA"},
              {"peft_version", kWrittenPeftVersion},
              {"qalora_group_size", 16},
              {"r", config.rank},
              {"rank_pattern", empty},
              {"revision", nullptr},
              {"target_modules", written_targets(config)},
              {"target_parameters", nullptr},
              {"task_type", "CAUSAL_LM"},
              {"trainable_token_indices", nullptr},
              {"use_bdlora", nullptr},
              {"use_dora", config.dora},
              {"use_qalora", false},
              {"use_rslora", config.rslora}};
  if (config.revision) out["revision"] = *config.revision;
  return out.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace ratchet::trainer
