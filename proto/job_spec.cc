#include "proto/job_spec.h"

#include <array>

namespace ratchet {

std::span<const Word<Method>> word_table(Method) {
  static constexpr std::array<Word<Method>, 2> kTable{
      {{Method::kLora, "lora"}, {Method::kFull, "full"}}};
  return kTable;
}

std::span<const Word<DataFormat>> word_table(DataFormat) {
  static constexpr std::array<Word<DataFormat>, 6> kTable{{
      {DataFormat::kAuto, "auto"},
      {DataFormat::kChat, "chat"},
      {DataFormat::kShareGpt, "sharegpt"},
      {DataFormat::kPromptCompletion, "prompt_completion"},
      {DataFormat::kText, "text"},
      {DataFormat::kConversations, "conversations"},
  }};
  return kTable;
}

std::span<const Word<OverLong>> word_table(OverLong) {
  static constexpr std::array<Word<OverLong>, 3> kTable{{
      {OverLong::kError, "error"},
      {OverLong::kDrop, "drop"},
      {OverLong::kTruncate, "truncate"},
  }};
  return kTable;
}

std::span<const Word<Schedule>> word_table(Schedule) {
  static constexpr std::array<Word<Schedule>, 3> kTable{{
      {Schedule::kCosine, "cosine"},
      {Schedule::kLinear, "linear"},
      {Schedule::kConstant, "constant"},
  }};
  return kTable;
}

std::span<const Word<Precision>> word_table(Precision) {
  static constexpr std::array<Word<Precision>, 2> kTable{
      {{Precision::kFp32, "fp32"}, {Precision::kBf16, "bf16"}}};
  return kTable;
}

std::span<const Word<Quantization>> word_table(Quantization) {
  static constexpr std::array<Word<Quantization>, 2> kTable{
      {{Quantization::kNone, "none"}, {Quantization::kNf4, "nf4"}}};
  return kTable;
}

std::span<const Word<OptimizerKind>> word_table(OptimizerKind) {
  static constexpr std::array<Word<OptimizerKind>, 2> kTable{
      {{OptimizerKind::kAdamW, "adamw"}, {OptimizerKind::kAdamW8bit, "adamw_8bit"}}};
  return kTable;
}

std::span<const Word<DeviceKind>> word_table(DeviceKind) {
  static constexpr std::array<Word<DeviceKind>, 3> kTable{{
      {DeviceKind::kAuto, "auto"},
      {DeviceKind::kCpu, "cpu"},
      {DeviceKind::kCuda, "cuda"},
  }};
  return kTable;
}

std::span<const Word<PriceClass>> word_table(PriceClass) {
  static constexpr std::array<Word<PriceClass>, 2> kTable{
      {{PriceClass::kSpot, "spot"}, {PriceClass::kOnDemand, "on_demand"}}};
  return kTable;
}

std::span<const std::string_view> all_target_modules() {
  static constexpr std::array<std::string_view, 7> kModules{
      "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  return kModules;
}

LoraSpec::LoraSpec() : target_modules(all_target_modules().begin(), all_target_modules().end()) {}

}  // namespace ratchet
