#include "proto/events.h"

#include <array>
#include <bit>
#include <charconv>

namespace ratchet {

std::span<const Word<Stage>> word_table(Stage) {
  static constexpr std::array<Word<Stage>, 7> kTable{{
      {Stage::kValidation, "validation"},
      {Stage::kPreprocessing, "preprocessing"},
      {Stage::kModelLoad, "model_load"},
      {Stage::kTraining, "training"},
      {Stage::kEvaluation, "evaluation"},
      {Stage::kCheckpointing, "checkpointing"},
      {Stage::kExport, "export"},
  }};
  return kTable;
}

std::span<const Word<CheckpointReason>> word_table(CheckpointReason) {
  static constexpr std::array<Word<CheckpointReason>, 6> kTable{{
      {CheckpointReason::kInterval, "interval"},
      {CheckpointReason::kRequest, "request"},
      {CheckpointReason::kSignal, "signal"},
      {CheckpointReason::kEnd, "end"},
      {CheckpointReason::kBest, "best"},
      {CheckpointReason::kStop, "stop"},
  }};
  return kTable;
}

std::span<const Word<ResumeClass>> word_table(ResumeClass) {
  static constexpr std::array<Word<ResumeClass>, 3> kTable{{
      {ResumeClass::kBitExact, "A"},
      {ResumeClass::kSameData, "B"},
      {ResumeClass::kDegraded, "C"},
  }};
  return kTable;
}

std::string_view event_type(const EventBody& body) {
  static constexpr std::array<std::string_view, std::variant_size_v<EventBody>> kTypes{
      "stage", "step", "evaluation", "checkpoint", "resume", "warning", "exit"};
  return kTypes[body.index()];
}

std::string double_bits(double value) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  auto bits = std::bit_cast<std::uint64_t>(value);
  std::string hex(16, '0');
  for (std::size_t i = 16; i-- > 0; bits >>= 4U) hex[i] = kDigits[bits & 0xFU];
  return hex;
}

std::optional<double> double_from_bits(std::string_view hex) {
  std::uint64_t bits = 0;
  if (hex.size() != 16) return std::nullopt;
  const auto parsed = std::from_chars(hex.data(), hex.data() + hex.size(), bits, 16);
  if (parsed.ec != std::errc() || parsed.ptr != hex.data() + hex.size()) return std::nullopt;
  return std::bit_cast<double>(bits);
}

}  // namespace ratchet
