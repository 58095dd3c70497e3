#pragma once

// JobSpec: what the user writes. Every key, its type, default and range: proto/README.md.
//
// The structs hold a complete job: a decoded spec has every default and preset value filled in.
// JobSpec{} equals the balanced preset. Relative paths are relative to the folder of the spec file;
// they become absolute in AttemptSpec (proto/attempt_spec.h). Values; no thread rules.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/finding.h"
#include "proto/words.h"

namespace ratchet {

enum class Method { kLora, kFull };
enum class DataFormat { kAuto, kChat, kShareGpt, kPromptCompletion, kText, kConversations };
enum class OverLong { kError, kDrop, kTruncate };
enum class Schedule { kCosine, kLinear, kConstant };
enum class Precision { kFp32, kBf16 };
enum class Quantization { kNone, kNf4 };
enum class OptimizerKind { kAdamW, kAdamW8bit };
enum class DeviceKind { kAuto, kCpu, kCuda };
enum class PriceClass { kSpot, kOnDemand };

std::span<const Word<Method>> word_table(Method);
std::span<const Word<DataFormat>> word_table(DataFormat);
std::span<const Word<OverLong>> word_table(OverLong);
std::span<const Word<Schedule>> word_table(Schedule);
std::span<const Word<Precision>> word_table(Precision);
std::span<const Word<Quantization>> word_table(Quantization);
std::span<const Word<OptimizerKind>> word_table(OptimizerKind);
std::span<const Word<DeviceKind>> word_table(DeviceKind);
std::span<const Word<PriceClass>> word_table(PriceClass);

// The linear layers that LoRA can adapt, in the order in which they appear in a layer.
std::span<const std::string_view> all_target_modules();

// Name and version of the preset that filled what the user did not write; in JSON "balanced@1".
struct PresetRef {
  std::string name = "balanced";
  std::int64_t version = 1;
  bool operator==(const PresetRef&) const = default;
};

struct DataColumns {  // prompt_completion rows only: which keys of a row hold the two texts
  std::string prompt = "prompt";
  std::string completion = "completion";
  bool operator==(const DataColumns&) const = default;
};

struct DataSpec {
  std::string train;  // JSONL file
  DataFormat format = DataFormat::kAuto;
  DataColumns columns;
  std::optional<std::string> validation;   // JSONL file; at most one of these two is set
  std::optional<double> validation_share;  // (0, 0.5] of the training samples, held out
  std::int64_t evaluate_every = 100;       // steps; used only when there is a validation set
  std::int64_t sequence_length = 2048;     // most tokens of a row
  OverLong over_long = OverLong::kError;
  bool packing = true;
  std::optional<std::string> chat_template;  // file that overrides the tokenizer folder's template
  [[nodiscard]] bool has_validation() const { return validation || validation_share; }
  bool operator==(const DataSpec&) const = default;
};

struct LoraSpec {  // meaningless (and not in the JSON) when method is full
  std::int64_t rank = 16;
  std::int64_t alpha = 32;  // 2 * rank when not written; scaling = alpha/rank or alpha/sqrt(rank)
  bool rslora = false;
  bool dora = false;                        // direction and magnitude apart (DoRA)
  double dropout = 0.05;                    // probability that an input element is zeroed
  std::vector<std::string> target_modules;  // subset of all_target_modules(), in that order
  std::optional<std::string> init_adapter;  // PEFT folder whose weights the job starts from
  LoraSpec();
  bool operator==(const LoraSpec&) const = default;
};

struct EarlyStop {            // stop (completed) when the validation loss no longer falls
  std::int64_t patience = 3;  // evaluations without an improvement
  double min_delta = 0.0;     // smallest fall that counts as one
  bool operator==(const EarlyStop&) const = default;
};

struct LossPlateau {                // stop (loss_plateau) when the training loss no longer falls
  std::int64_t window_steps = 200;  // mean of the last window against that of the window before
  double min_delta = 0.001;         // smallest fall that counts as progress
  bool operator==(const LossPlateau&) const = default;
};

struct TrainingSpec {
  double learning_rate = 2e-4;  // peak
  Schedule schedule = Schedule::kCosine;
  std::optional<std::int64_t> warmup_steps;       // exactly one of these two is set
  std::optional<double> warmup_ratio = 0.03;      // of the schedule's length
  std::optional<std::int64_t> data_epochs = 3;    // exactly one of these two is set
  std::optional<std::int64_t> max_steps;          //
  std::optional<std::int64_t> schedule_end_step;  // step at which the schedule ends; else the last
  std::int64_t micro_batch = 4;                   // rows a forward pass on one device
  std::int64_t global_batch = 16;                 // rows an optimizer step, over all devices
  Precision precision = Precision::kBf16;         // of the frozen base and of activations
  bool gradient_checkpointing = true;
  double max_grad_norm = 1.0;  // 0 turns clipping off
  std::uint64_t seed = 42;
  std::int64_t timeout_s = 0;  // of training time in this attempt; 0 is none
  std::optional<EarlyStop> early_stop;
  std::optional<LossPlateau> loss_plateau;
  bool operator==(const TrainingSpec&) const = default;
};

struct OptimizerSpec {
  OptimizerKind kind = OptimizerKind::kAdamW;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  bool operator==(const OptimizerSpec&) const = default;
};

struct CheckpointSpec {
  std::int64_t interval_steps = 100;
  std::int64_t keep = 2;  // newest ones kept in the output folder; the best one is kept besides
  bool operator==(const CheckpointSpec&) const = default;
};

struct DevicesSpec {
  DeviceKind kind = DeviceKind::kAuto;
  std::int64_t count = 1;     // processes of the attempt, one a device
  bool deterministic = true;  // GPU only: kernels that give the same bits on every execution
  bool operator==(const DevicesSpec&) const = default;
};

struct JobSpec {
  std::string name;
  std::string base_model;  // Hugging Face folder
  PresetRef preset;
  Method method = Method::kLora;
  Quantization quantization = Quantization::kNone;  // of the frozen base's linear layers
  DataSpec data;
  LoraSpec lora;
  TrainingSpec training;
  OptimizerSpec optimizer;
  CheckpointSpec checkpoint;
  DevicesSpec devices;
  PriceClass price_class = PriceClass::kSpot;
  std::optional<double> budget_usd;
  std::vector<std::string> tags;
  std::string client;
  std::string notes;
  bool operator==(const JobSpec&) const = default;
};

// Strict: every unknown key, duplicate key, wrong type, value out of range and contradiction is a
// finding. `text` is untrusted.
Decoded<JobSpec> decode_job_spec(std::string_view text);

// The rules between fields and the ranges of a spec made in code; empty when all hold.
std::vector<Finding> check_job_spec(const JobSpec& spec);

// Canonical JSON: keys sorted, every value written, two spaces of indentation, a final newline.
// decode_job_spec(encode_job_spec(s)) equals s for every s that check_job_spec() accepts.
std::string encode_job_spec(const JobSpec& spec);

struct SpecChange {
  std::string path;    // "$.lora.rank"
  std::string before;  // JSON values
  std::string now;
  bool operator==(const SpecChange&) const = default;
};

// Settings that differ and that a resume must not change, in order of path. What may change:
// resumable_paths(). A changed file behind an unchanged path is the business of the digests.
std::vector<SpecChange> locked_changes(const JobSpec& before, const JobSpec& now);

// Settings that differ and may.
std::vector<SpecChange> allowed_changes(const JobSpec& before, const JobSpec& now);

// JSON paths (a path covers all below it) that may change between a job and its resume.
std::span<const std::string_view> resumable_paths();

}  // namespace ratchet
