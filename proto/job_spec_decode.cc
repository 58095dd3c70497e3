// JobSpec from JSON: the preset first, then what the user wrote over it, then the rules between
// fields.

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "proto/job_spec_json.h"
#include "proto/job_spec_ranges.h"
#include "proto/presets.h"

namespace ratchet {

using nlohmann::json;

namespace {

constexpr TextRule kNameRule{.min_length = 1, .max_length = 128};
constexpr TextRule kTagRule{.min_length = 1, .max_length = 128};
constexpr TextRule kClientRule{.max_length = 256};
constexpr TextRule kNotesRule{.max_length = 65'536, .kind = TextKind::kParagraphs};
constexpr TextRule kColumnRule{.min_length = 1, .max_length = 128};
constexpr std::size_t kMaxTags = 64;

std::string join(std::span<const std::string_view> names) {
  std::string out;
  for (std::string_view name : names) out += (out.empty() ? "" : ", ") + std::string(name);
  return out;
}

// A finding at the second of two keys that exclude each other.
void reject_both(ObjectReader& reader, std::string_view first, std::string_view second) {
  if (reader.has(first) && reader.has(second)) {
    reader.add_finding(second, "cannot be written together with " + reader.path_of(first) +
                                   "; keep one of the two.");
  }
}

void read_preset(ObjectReader& root, JobSpec& spec) {
  std::string reference = "balanced";
  if (!root.text("preset", reference) && root.has("preset")) return;
  if (const Preset* preset = find_preset(reference)) {
    apply_preset(*preset, spec);
    return;
  }
  std::string names;
  for (const Preset& preset : presets()) {
    names += (names.empty() ? "" : ", ") + std::string(preset.name) + "@" +
             std::to_string(preset.version);
  }
  root.add_finding("preset", "must name a preset, with or without its version: " + names + ".");
}

void read_data(ObjectReader& root, DataSpec& data) {
  root.require("data", "an object with the training file, {\"train\": \"chats.jsonl\"}");
  auto reader = root.object("data");
  if (!reader) return;
  reader->require("train", "the path of a JSONL file");
  reader->text("train", data.train, kPathRule);
  reader->word("format", data.format);
  if (auto columns = reader->object("columns")) {
    columns->text("prompt", data.columns.prompt, kColumnRule);
    columns->text("completion", data.columns.completion, kColumnRule);
    const bool used =
        data.format == DataFormat::kAuto || data.format == DataFormat::kPromptCompletion;
    if (!used) {
      reader->add_finding("columns", "belongs to the format prompt_completion; remove it.");
    }
  }
  reject_both(*reader, "validation", "validation_share");
  reader->text("validation", data.validation, kPathRule);
  reader->number("validation_share", data.validation_share,
                 number_range("$.data.validation_share"));
  reader->integer("evaluate_every", data.evaluate_every, integer_range("$.data.evaluate_every"));
  const bool validates = reader->has("validation") || reader->has("validation_share");
  if (reader->has("evaluate_every") && !validates) {
    reader->add_finding("evaluate_every",
                        "needs a validation set: write validation or validation_share too.");
  }
  reader->integer("sequence_length", data.sequence_length, integer_range("$.data.sequence_length"));
  reader->word("over_long", data.over_long);
  reader->boolean("packing", data.packing);
  reader->text("chat_template", data.chat_template, kPathRule);
}

void read_target_modules(ObjectReader& reader, std::vector<std::string>& modules) {
  const json* value = reader.raw("target_modules");
  if (!value || *value == "all-linear") return;
  const auto known = all_target_modules();
  std::vector<std::string> written;
  if (!value->is_array()) {
    reader.add_finding("target_modules", "must be \"all-linear\" or an array of module names.");
    return;
  }
  if (!reader.texts("target_modules", written, known.size(), {.min_length = 1})) return;
  if (written.empty()) {
    reader.add_finding("target_modules", "must name at least one module, or be \"all-linear\".");
    return;
  }
  for (const std::string& name : written) {
    if (std::ranges::find(known, name) != known.end()) continue;
    const std::string_view meant = did_you_mean(name, known);
    const std::string hint = meant.empty() ? "" : " did you mean \"" + std::string(meant) + "\"?";
    reader.add_finding("target_modules",
                       "names \"" + name + "\":" + hint + " Allowed are " + join(known) + ".");
  }
  // Canonical order, so that two specs that mean the same are the same.
  modules.clear();
  for (std::string_view name : known) {
    const auto count = std::ranges::count(written, name);
    if (count > 0) modules.emplace_back(name);
    if (count > 1) {
      reader.add_finding("target_modules", "names \"" + std::string(name) + "\" twice.");
    }
  }
}

void read_lora(ObjectReader& root, JobSpec& spec) {
  auto reader = root.object("lora");
  if (!reader) return;
  if (spec.method == Method::kFull) {
    root.add_finding("lora", "has no meaning with method \"full\"; remove one of the two.");
  }
  LoraSpec& lora = spec.lora;
  if (reader->integer("rank", lora.rank, integer_range("$.lora.rank"))) lora.alpha = 2 * lora.rank;
  reader->integer("alpha", lora.alpha, integer_range("$.lora.alpha"));
  reader->boolean("rslora", lora.rslora);
  reader->boolean("dora", lora.dora);
  reader->number("dropout", lora.dropout, number_range("$.lora.dropout"));
  read_target_modules(*reader, lora.target_modules);
  reader->text("init_adapter", lora.init_adapter, kPathRule);
}

void read_batch(ObjectReader& reader, TrainingSpec& training) {
  const bool micro =
      reader.integer("micro_batch", training.micro_batch, integer_range("$.training.micro_batch"));
  const bool global = reader.integer("global_batch", training.global_batch,
                                     integer_range("$.training.global_batch"));
  std::int64_t& m = training.micro_batch;
  std::int64_t& g = training.global_batch;
  // One written alone moves the other, as little as makes the micro-batch divide the global batch.
  if (micro && !reader.has("global_batch")) g = std::max(m, (g + m - 1) / m * m);
  if (global && !reader.has("micro_batch")) {
    m = std::min(m, g);
    while (g % m != 0) --m;
  }
  if (micro && global && (m > g || g % m != 0)) {
    reader.add_finding("micro_batch", "must divide global_batch, which is " + std::to_string(g) +
                                          ", without remainder.");
  }
}

void read_length(ObjectReader& reader, TrainingSpec& training) {
  reject_both(reader, "warmup_steps", "warmup_ratio");
  if (reader.integer("warmup_steps", training.warmup_steps,
                     integer_range("$.training.warmup_steps")))
    training.warmup_ratio.reset();
  reader.number("warmup_ratio", training.warmup_ratio, number_range("$.training.warmup_ratio"));
  reject_both(reader, "data_epochs", "max_steps");
  if (reader.integer("max_steps", training.max_steps, integer_range("$.training.max_steps")))
    training.data_epochs.reset();
  reader.integer("data_epochs", training.data_epochs, integer_range("$.training.data_epochs"));
  reader.integer("schedule_end_step", training.schedule_end_step,
                 integer_range("$.training.schedule_end_step"));
  const auto end = training.schedule_end_step ? training.schedule_end_step : training.max_steps;
  if (end && training.warmup_steps.value_or(0) > *end) {
    reader.add_finding("warmup_steps",
                       "must not be more than the schedule's " + std::to_string(*end) + " steps.");
  }
}

void read_stops(ObjectReader& reader, TrainingSpec& training) {
  reader.integer("timeout_s", training.timeout_s, integer_range("$.training.timeout_s"));
  if (auto stop = reader.object("early_stop")) {
    EarlyStop value;
    stop->integer("patience", value.patience, integer_range("$.training.early_stop.patience"));
    stop->number("min_delta", value.min_delta, number_range("$.training.early_stop.min_delta"));
    training.early_stop = value;
  }
  if (auto plateau = reader.object("loss_plateau")) {
    LossPlateau value;
    plateau->integer("window_steps", value.window_steps,
                     integer_range("$.training.loss_plateau.window_steps"));
    plateau->number("min_delta", value.min_delta,
                    number_range("$.training.loss_plateau.min_delta"));
    training.loss_plateau = value;
  }
}

void read_training(ObjectReader& root, JobSpec& spec) {
  auto reader = root.object("training");
  if (!reader) return;
  TrainingSpec& training = spec.training;
  reader->number("learning_rate", training.learning_rate, number_range("$.training.learning_rate"));
  reader->word("schedule", training.schedule);
  read_length(*reader, training);
  read_batch(*reader, training);
  reader->word("precision", training.precision);
  reader->boolean("gradient_checkpointing", training.gradient_checkpointing);
  reader->number("max_grad_norm", training.max_grad_norm, number_range("$.training.max_grad_norm"));
  std::int64_t seed = static_cast<std::int64_t>(training.seed);
  if (reader->integer("seed", seed, integer_range("$.training.seed")))
    training.seed = static_cast<std::uint64_t>(seed);
  read_stops(*reader, training);
  if (training.early_stop && !spec.data.has_validation()) {
    reader->add_finding("early_stop",
                        "needs a validation set: write data.validation or data.validation_share.");
  }
}

void read_rest(ObjectReader& root, JobSpec& spec) {
  if (auto reader = root.object("optimizer")) {
    reader->word("kind", spec.optimizer.kind);
    reader->number("beta1", spec.optimizer.beta1, number_range("$.optimizer.beta1"));
    reader->number("beta2", spec.optimizer.beta2, number_range("$.optimizer.beta2"));
    reader->number("eps", spec.optimizer.eps, number_range("$.optimizer.eps"));
    reader->number("weight_decay", spec.optimizer.weight_decay,
                   number_range("$.optimizer.weight_decay"));
  }
  if (auto reader = root.object("checkpoint")) {
    reader->integer("interval_steps", spec.checkpoint.interval_steps,
                    integer_range("$.checkpoint.interval_steps"));
    reader->integer("keep", spec.checkpoint.keep, integer_range("$.checkpoint.keep"));
  }
  if (auto reader = root.object("devices")) {
    reader->word("kind", spec.devices.kind);
    reader->integer("count", spec.devices.count, integer_range("$.devices.count"));
    reader->boolean("deterministic", spec.devices.deterministic);
    const std::int64_t rows = spec.training.micro_batch * spec.devices.count;
    if (spec.training.global_batch % rows != 0) {
      reader->add_finding("count", "times the micro-batch (" +
                                       std::to_string(spec.training.micro_batch) +
                                       ") must divide the global batch, which is " +
                                       std::to_string(spec.training.global_batch) + ".");
    }
  }
  root.word("price_class", spec.price_class);
  root.number("budget_usd", spec.budget_usd, number_range("$.budget_usd"));
  root.texts("tags", spec.tags, kMaxTags, kTagRule);
  root.text("client", spec.client, kClientRule);
  root.text("notes", spec.notes, kNotesRule);
}

}  // namespace

std::span<const KeyHint> job_spec_hints() {
  static constexpr std::array kHints{
      KeyHint{"model", "base_model"},
      KeyHint{"model_name_or_path", "base_model"},
      KeyHint{"base_model_name_or_path", "base_model"},
      KeyHint{"dataset", "data.train"},
      KeyHint{"train", "data.train"},
      KeyHint{"train_file", "data.train"},
      KeyHint{"validation", "data.validation"},
      KeyHint{"validation_file", "data.validation"},
      KeyHint{"validation_share", "data.validation_share"},
      KeyHint{"eval_steps", "data.evaluate_every"},
      KeyHint{"sequence_length", "data.sequence_length"},
      KeyHint{"max_seq_length", "data.sequence_length"},
      KeyHint{"max_length", "data.sequence_length"},
      KeyHint{"packing", "data.packing"},
      KeyHint{"chat_template", "data.chat_template"},
      KeyHint{"r", "lora.rank"},
      KeyHint{"lora_r", "lora.rank"},
      KeyHint{"rank", "lora.rank"},
      KeyHint{"alpha", "lora.alpha"},
      KeyHint{"lora_alpha", "lora.alpha"},
      KeyHint{"use_rslora", "lora.rslora"},
      KeyHint{"rslora", "lora.rslora"},
      KeyHint{"use_dora", "lora.dora"},
      KeyHint{"dora", "lora.dora"},
      KeyHint{"load_in_4bit", "quantization"},
      KeyHint{"bnb_4bit_quant_type", "quantization"},
      KeyHint{"optim", "optimizer.kind"},
      KeyHint{"dropout", "lora.dropout"},
      KeyHint{"lora_dropout", "lora.dropout"},
      KeyHint{"target_modules", "lora.target_modules"},
      KeyHint{"init_adapter", "lora.init_adapter"},
      KeyHint{"lr", "training.learning_rate"},
      KeyHint{"learning_rate", "training.learning_rate"},
      KeyHint{"lr_scheduler_type", "training.schedule"},
      KeyHint{"warmup_steps", "training.warmup_steps"},
      KeyHint{"warmup_ratio", "training.warmup_ratio"},
      KeyHint{"epochs", "training.data_epochs"},
      KeyHint{"num_epochs", "training.data_epochs"},
      KeyHint{"num_train_epochs", "training.data_epochs"},
      KeyHint{"data_epochs", "training.data_epochs"},
      KeyHint{"max_steps", "training.max_steps"},
      KeyHint{"batch_size", "training.micro_batch"},
      KeyHint{"per_device_train_batch_size", "training.micro_batch"},
      KeyHint{"micro_batch", "training.micro_batch"},
      KeyHint{"micro_batch_size", "training.micro_batch"},
      KeyHint{"global_batch", "training.global_batch"},
      KeyHint{"gradient_accumulation_steps", "training.global_batch"},
      KeyHint{"precision", "training.precision"},
      KeyHint{"bf16", "training.precision"},
      KeyHint{"max_grad_norm", "training.max_grad_norm"},
      KeyHint{"seed", "training.seed"},
      KeyHint{"timeout_s", "training.timeout_s"},
      KeyHint{"early_stop", "training.early_stop"},
      KeyHint{"weight_decay", "optimizer.weight_decay"},
      KeyHint{"adam_beta1", "optimizer.beta1"},
      KeyHint{"adam_beta2", "optimizer.beta2"},
      KeyHint{"adam_epsilon", "optimizer.eps"},
      KeyHint{"save_steps", "checkpoint.interval_steps"},
      KeyHint{"device", "devices.kind"},
      KeyHint{"budget", "budget_usd"},
  };
  return kHints;
}

JobSpec read_job_spec(ObjectReader& root) {
  JobSpec spec;
  root.require("name", "a short name for the job");
  root.text("name", spec.name, kNameRule);
  root.require("base_model", "the path of a Hugging Face model folder");
  root.text("base_model", spec.base_model, kPathRule);
  read_preset(root, spec);
  root.word("method", spec.method);
  root.word("quantization", spec.quantization);
  if (spec.method == Method::kFull && spec.quantization != Quantization::kNone) {
    root.add_finding("quantization",
                     "needs a frozen base, and method \"full\" trains it; remove one of the two.");
  }
  read_data(root, spec.data);
  read_lora(root, spec);
  read_training(root, spec);
  read_rest(root, spec);
  return spec;
}

Decoded<JobSpec> decode_job_spec(std::string_view text) {
  FindingList findings;
  Decoded<JobSpec> decoded;
  if (const auto document = Document::parse(text, {}, findings)) {
    ObjectReader root = document->root(findings, UnknownKeys::kReject, job_spec_hints());
    decoded.value = read_job_spec(root);
  }
  decoded.findings = findings.take();
  if (!decoded.findings.empty()) decoded.value.reset();
  return decoded;
}

std::vector<Finding> check_job_spec(const JobSpec& spec) {
  Decoded<JobSpec> decoded = decode_job_spec(encode_job_spec(spec));
  if (!decoded.ok()) return decoded.findings;
  if (*decoded.value == spec) return {};
  // What the JSON cannot say: neither or both of two exclusive fields, settings of another method.
  std::vector<Finding> findings;
  for (const SpecChange& change : locked_changes(spec, *decoded.value)) {
    findings.push_back(
        {change.path, change.before,
         "is not a state that a written spec can have; it would read as " + change.now + "."});
  }
  if (findings.empty()) {
    findings.push_back({"$", "", "holds settings that have no effect, so it cannot be written."});
  }
  return findings;
}

}  // namespace ratchet
