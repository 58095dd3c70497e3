#pragma once

// Every numeric range of a JobSpec, in one table: decoding uses it, README.md is tested against it.

#include <cstdint>
#include <span>
#include <string_view>

#include "proto/document.h"

namespace ratchet {

struct IntegerField {
  std::string_view path;
  IntegerRange range;
};

struct NumberField {
  std::string_view path;
  NumberRange range;
};

inline constexpr std::int64_t kMaxSteps = 1'000'000'000;
inline constexpr std::int64_t kMaxJsonInteger = 9'007'199'254'740'991;  // 2^53 - 1, exact anywhere

inline constexpr IntegerField kIntegerFields[] = {
    {"$.checkpoint.interval_steps", {1, 1'000'000}},
    {"$.checkpoint.keep", {1, 1000}},
    {"$.data.evaluate_every", {1, kMaxSteps}},
    {"$.data.sequence_length", {8, 1'048'576}},
    {"$.devices.count", {1, 64}},
    {"$.lora.alpha", {1, 65'536}},
    {"$.lora.rank", {1, 1024}},
    {"$.training.data_epochs", {1, 10'000}},
    {"$.training.early_stop.patience", {1, 10'000}},
    {"$.training.global_batch", {1, 65'536}},
    {"$.training.loss_plateau.window_steps", {2, 1'000'000}},
    {"$.training.max_steps", {1, kMaxSteps}},
    {"$.training.micro_batch", {1, 65'536}},
    {"$.training.schedule_end_step", {1, kMaxSteps}},
    {"$.training.seed", {0, kMaxJsonInteger}},
    {"$.training.timeout_s", {0, 31'536'000}},
    {"$.training.warmup_steps", {0, kMaxSteps}},
};

inline constexpr NumberField kNumberFields[] = {
    {"$.budget_usd", {0, 1e9, Bound::kExclusive}},
    {"$.data.validation_share", {0, 0.5, Bound::kExclusive}},
    {"$.lora.dropout", {0, 1, Bound::kInclusive, Bound::kExclusive}},
    {"$.optimizer.beta1", {0, 1, Bound::kInclusive, Bound::kExclusive}},
    {"$.optimizer.beta2", {0, 1, Bound::kInclusive, Bound::kExclusive}},
    {"$.optimizer.eps", {0, 1, Bound::kExclusive}},
    {"$.optimizer.weight_decay", {0, 1}},
    {"$.training.early_stop.min_delta", {0, 100}},
    {"$.training.learning_rate", {0, 1, Bound::kExclusive}},
    {"$.training.loss_plateau.min_delta", {0, 100}},
    {"$.training.max_grad_norm", {0, 1e6}},
    {"$.training.warmup_ratio", {0, 1}},
};

// The range of a path, looked up by the compiler: a path that is not in the table does not compile.
consteval IntegerRange integer_range(std::string_view path) {
  for (const IntegerField& field : kIntegerFields) {
    if (field.path == path) return field.range;
  }
  throw "no such integer field";
}

consteval NumberRange number_range(std::string_view path) {
  for (const NumberField& field : kNumberFields) {
    if (field.path == path) return field.range;
  }
  throw "no such number field";
}

}  // namespace ratchet
