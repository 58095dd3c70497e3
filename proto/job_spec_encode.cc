// JobSpec to canonical JSON, and the comparison of two specs for a resume.

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "proto/job_spec_json.h"

namespace ratchet {

using nlohmann::json;

namespace {

template <class T>
void put_if(json& object, const char* key, const std::optional<T>& value) {
  if (value) object[key] = *value;
}

json data_to_json(const DataSpec& data) {
  json out = {{"train", data.train},
              {"format", to_word(data.format)},
              {"sequence_length", data.sequence_length},
              {"over_long", to_word(data.over_long)},
              {"packing", data.packing}};
  if (data.format == DataFormat::kAuto || data.format == DataFormat::kPromptCompletion) {
    out["columns"] = {{"prompt", data.columns.prompt}, {"completion", data.columns.completion}};
  }
  put_if(out, "validation", data.validation);
  put_if(out, "validation_share", data.validation_share);
  if (data.has_validation()) out["evaluate_every"] = data.evaluate_every;
  put_if(out, "chat_template", data.chat_template);
  return out;
}

json lora_to_json(const LoraSpec& lora) {
  json out = {{"rank", lora.rank},       {"alpha", lora.alpha},
              {"rslora", lora.rslora},   {"dora", lora.dora},
              {"dropout", lora.dropout}, {"target_modules", lora.target_modules}};
  put_if(out, "init_adapter", lora.init_adapter);
  return out;
}

json training_to_json(const TrainingSpec& training) {
  json out = {{"learning_rate", training.learning_rate},
              {"schedule", to_word(training.schedule)},
              {"micro_batch", training.micro_batch},
              {"global_batch", training.global_batch},
              {"precision", to_word(training.precision)},
              {"gradient_checkpointing", training.gradient_checkpointing},
              {"max_grad_norm", training.max_grad_norm},
              {"seed", training.seed},
              {"timeout_s", training.timeout_s}};
  put_if(out, "warmup_steps", training.warmup_steps);
  put_if(out, "warmup_ratio", training.warmup_ratio);
  put_if(out, "data_epochs", training.data_epochs);
  put_if(out, "max_steps", training.max_steps);
  put_if(out, "schedule_end_step", training.schedule_end_step);
  if (training.early_stop) {
    out["early_stop"] = {{"patience", training.early_stop->patience},
                         {"min_delta", training.early_stop->min_delta}};
  }
  if (training.loss_plateau) {
    out["loss_plateau"] = {{"window_steps", training.loss_plateau->window_steps},
                           {"min_delta", training.loss_plateau->min_delta}};
  }
  return out;
}

constexpr std::array<std::string_view, 20> kResumable{
    "$.base_model",  // the digests of model and data decide, not where the files lie
    "$.budget_usd",
    "$.checkpoint",
    "$.client",
    "$.data.evaluate_every",
    "$.data.train",
    "$.devices",
    "$.name",
    "$.notes",
    "$.preset",  // a label by now: the values that it filled are compared themselves
    "$.price_class",
    "$.tags",
    "$.training.data_epochs",
    "$.training.early_stop",
    "$.training.gradient_checkpointing",
    "$.training.loss_plateau",
    "$.training.max_steps",
    "$.training.micro_batch",
    "$.training.schedule_end_step",
    "$.training.timeout_s",
};

bool may_change(std::string_view path) {
  return std::ranges::any_of(kResumable, [path](std::string_view allowed) {
    return path.starts_with(allowed) &&
           (path.size() == allowed.size() || path[allowed.size()] == '.');
  });
}

std::string leaf_text(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// Path -> JSON text of every leaf; an array is one leaf.
void flatten(const json& value, const std::string& path, std::map<std::string, std::string>& out) {
  if (!value.is_object()) {
    out[path] = leaf_text(value);
    return;
  }
  for (const auto& [key, child] : value.items()) flatten(child, path + "." + key, out);
}

std::vector<SpecChange> changes(const JobSpec& before, const JobSpec& now, bool allowed) {
  std::map<std::string, std::string> old_leaves;
  std::map<std::string, std::string> new_leaves;
  flatten(job_spec_to_json(before), "$", old_leaves);
  flatten(job_spec_to_json(now), "$", new_leaves);
  std::map<std::string, SpecChange> found;
  for (const auto& [path, text] : old_leaves) found[path] = {path, text, "not set"};
  for (const auto& [path, text] : new_leaves) {
    const bool known = found.contains(path);
    found[path] = {path, known ? found[path].before : "not set", text};
  }
  std::vector<SpecChange> out;
  for (const auto& [path, change] : found) {
    if (change.before != change.now && may_change(path) == allowed) out.push_back(change);
  }
  return out;
}

}  // namespace

json job_spec_to_json(const JobSpec& spec) {
  json out = {{"name", spec.name},
              {"base_model", spec.base_model},
              {"preset", spec.preset.name + "@" + std::to_string(spec.preset.version)},
              {"method", to_word(spec.method)},
              {"quantization", to_word(spec.quantization)},
              {"data", data_to_json(spec.data)},
              {"training", training_to_json(spec.training)},
              {"price_class", to_word(spec.price_class)},
              {"tags", spec.tags},
              {"client", spec.client},
              {"notes", spec.notes}};
  if (spec.method == Method::kLora) out["lora"] = lora_to_json(spec.lora);
  out["optimizer"] = {{"kind", to_word(spec.optimizer.kind)},
                      {"beta1", spec.optimizer.beta1},
                      {"beta2", spec.optimizer.beta2},
                      {"eps", spec.optimizer.eps},
                      {"weight_decay", spec.optimizer.weight_decay}};
  out["checkpoint"] = {{"interval_steps", spec.checkpoint.interval_steps},
                       {"keep", spec.checkpoint.keep}};
  out["devices"] = {{"kind", to_word(spec.devices.kind)},
                    {"count", spec.devices.count},
                    {"deterministic", spec.devices.deterministic}};
  put_if(out, "budget_usd", spec.budget_usd);
  return out;
}

std::string encode_job_spec(const JobSpec& spec) {
  return job_spec_to_json(spec).dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::vector<SpecChange> locked_changes(const JobSpec& before, const JobSpec& now) {
  return changes(before, now, false);
}

std::vector<SpecChange> allowed_changes(const JobSpec& before, const JobSpec& now) {
  return changes(before, now, true);
}

std::span<const std::string_view> resumable_paths() { return kResumable; }

}  // namespace ratchet
