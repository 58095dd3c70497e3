#include "controlplane/cli/spec_source.h"

#include <CLI/CLI.hpp>
#include <array>
#include <filesystem>

#include "controlplane/cli/files.h"
#include "controlplane/cli/json_values.h"

namespace ratchet::control::cli {
namespace {

constexpr std::size_t kSpecBytesMax = 1 << 20;
constexpr std::size_t kDepthMax = 8;

struct FlagOfKey {
  const char* flag;
  const char* key;
  const char* help;
};

constexpr std::array<FlagOfKey, 16> kFlags{{
    {"--name", "name", "short name of the job"},
    {"--base-model", "base_model", "Hugging Face folder"},
    {"--data", "data.train", "JSONL file to train on"},
    {"--validation", "data.validation", "JSONL file to measure with"},
    {"--preset", "preset", "conservative, balanced or aggressive"},
    {"--method", "method", "lora or full"},
    {"--rank", "lora.rank", "LoRA's inner width"},
    {"--learning-rate", "training.learning_rate", "peak learning rate"},
    {"--epochs", "training.data_epochs", "passes over the data"},
    {"--max-steps", "training.max_steps", "steps, instead of passes"},
    {"--global-batch", "training.global_batch", "rows a step"},
    {"--micro-batch", "training.micro_batch", "rows a forward pass on one device"},
    {"--sequence-length", "data.sequence_length", "most tokens of a row"},
    {"--seed", "training.seed", "seed of everything random"},
    {"--checkpoint-every", "checkpoint.interval_steps", "steps between checkpoints"},
    {"--budget-usd", "budget_usd", "most money to spend"},
}};

// JSON where it is JSON; else a text, so that --set name=demo needs no quotes.
Json value_of(const std::string& text) {
  Json value = Json::parse(text, nullptr, false);
  return value.is_discarded() ? Json(text) : value;
}

// Numbers as names and paths are texts all the same.
bool is_text_key(const std::string& key) {
  return key == "name" || key == "base_model" || key == "data.train" || key == "data.validation" ||
         key == "preset" || key == "method" || key == "notes" || key == "client";
}

Status put(Json& root, const std::string& key, Json value) {
  Json* at = &root;
  std::size_t depth = 0;
  for (std::size_t begin = 0;;) {
    const std::size_t dot = key.find('.', begin);
    const std::string part = key.substr(begin, dot - begin);
    if (part.empty() || !at->is_object() || ++depth > kDepthMax) {
      return Error{Code::kInvalidArgument,
                   "'" + key +
                       "' is no key of a job spec. Write it as in the file, with dots: "
                       "--set training.learning_rate=1e-4. Every key: proto/README.md."};
    }
    if (dot == std::string::npos) {
      (*at)[part] = std::move(value);
      return ok();
    }
    at = &(*at)[part];
    if (at->is_null()) *at = Json::object();
    begin = dot + 1;
  }
}

// Of the two lengths of a training only one may be set: that of the command line.
void drop_other_length(Json& root, const std::string& key) {
  const auto training = root.find("training");
  if (training == root.end() || !training->is_object()) return;
  if (key == "training.max_steps") training->erase("data_epochs");
  if (key == "training.data_epochs") training->erase("max_steps");
}

}  // namespace

void add_spec_flags(CLI::App& command, SpecFlags& flags) {
  const std::string group = "Job spec (each lies over the file)";
  command.add_option("SPEC", flags.file, "job spec (JSON; every key: proto/README.md)");
  for (const FlagOfKey& known : kFlags) {
    command
        .add_option_function<std::string>(
            known.flag,
            [&flags, key = std::string(known.key)](const std::string& value) {
              flags.settings.emplace_back(key, value);
            },
            known.help)
        ->group(group);
  }
  command.add_option("--set", flags.set, "any other key: KEY=VALUE, e.g. lora.dropout=0")
      ->group(group)
      ->allow_extra_args(false);
}

Result<std::string> overlay(const std::string& text, const std::vector<SpecSetting>& settings) {
  if (settings.empty()) return text;
  Json root = Json::object();
  if (!text.empty()) {
    root = parse_json(text, kSpecBytesMax);
    // A broken file is the decoder's to explain.
    if (!root.is_object()) return text;
  }
  for (const auto& [key, value] : settings) {
    drop_other_length(root, key);
    const auto placed = put(root, key, is_text_key(key) ? Json(value) : value_of(value));
    if (!placed) return placed.error();
  }
  return root.dump(2);
}

Result<LoadedSpec> load_spec(const SpecFlags& flags) {
  namespace fs = std::filesystem;
  std::string text;
  LoadedSpec loaded;
  loaded.folder = fs::current_path().string();
  if (!flags.file.empty()) {
    auto read = read_small_file(flags.file, kSpecBytesMax);
    if (!read) return read.error();
    text = *std::move(read);
    loaded.folder = fs::absolute(flags.file).lexically_normal().parent_path().string();
  }
  auto settings = flags.settings;
  // Paths on the command line are relative to where it is typed, not to the file.
  for (auto& [key, value] : settings) {
    const bool path = key == "base_model" || key == "data.train" || key == "data.validation";
    if (path && !value.empty()) value = fs::absolute(value).lexically_normal().string();
  }
  for (const std::string& setting : flags.set) {
    const std::size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0) {
      return Error{Code::kInvalidArgument,
                   "'" + setting +
                       "' is no setting. Write --set KEY=VALUE, for example "
                       "--set lora.dropout=0."};
    }
    settings.emplace_back(setting.substr(0, equals), setting.substr(equals + 1));
  }
  if (text.empty() && settings.empty()) {
    return Error{Code::kInvalidArgument,
                 "No job is given. Name a spec file, or use --name, --base-model and --data."};
  }
  const auto whole = overlay(text, settings);
  if (!whole) return whole.error();
  loaded.decoded = decode_job_spec(*whole);
  return loaded;
}

std::map<std::string, std::string> spec_inputs(const JobSpec& spec) {
  std::map<std::string, std::string> inputs{{"base_model", spec.base_model},
                                            {"train", spec.data.train}};
  if (spec.data.validation) inputs["validation"] = *spec.data.validation;
  if (spec.data.chat_template) inputs["chat_template"] = *spec.data.chat_template;
  if (spec.method == Method::kLora && spec.lora.init_adapter) {
    inputs["init_adapter"] = *spec.lora.init_adapter;
  }
  return inputs;
}

}  // namespace ratchet::control::cli
