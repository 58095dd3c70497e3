#include "trainer/checkpoint/trainer_state.h"

#include <array>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <span>

#include "trainer/checkpoint/json_reader.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/model/digest.h"

namespace ratchet::trainer {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kSchema = "ratchet-trainer-state/1";
constexpr std::size_t kMaxRecipeBytes = std::size_t{4} << 20;
constexpr std::size_t kMaxRecentLosses = 2'000'000;

std::string sample_hash_text(const SampleHash& hash) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(hash.high),
                static_cast<unsigned long long>(hash.low));
  return text;
}

SampleHash parse_sample_hash(std::string_view text) {
  SampleHash hash;
  if (text.size() != 32) return hash;
  std::from_chars(text.data(), text.data() + 16, hash.high, 16);
  std::from_chars(text.data() + 16, text.data() + 32, hash.low, 16);
  return hash;
}

ordered_json optional_bits(const std::optional<double>& value) {
  return value ? ordered_json(float_bits(*value)) : ordered_json(nullptr);
}

ordered_json encode_schedule(const ScheduleState& s) {
  return {{"kind", s.kind},
          {"peak_bits", float_bits(s.peak)},
          {"warmup_steps", s.warmup_steps},
          {"end_step", s.end_step},
          {"lr_bits", float_bits(s.lr)}};
}

ScheduleState decode_schedule(ObjectReader reader) {
  ScheduleState s;
  s.kind = reader.text("kind", 64);
  s.peak = reader.bits("peak_bits");
  s.warmup_steps = reader.u64("warmup_steps");
  s.end_step = reader.u64("end_step");
  s.lr = reader.bits("lr_bits");
  reader.finish();
  return s;
}

void decode_counters(ObjectReader& reader, TrainerState& s) {
  s.step = reader.u64("step");
  s.total_steps = reader.u64("total_steps");
  s.data_epoch = reader.u64("data_epoch");
  s.next_row = reader.u64("next_row");
  s.samples_seen = reader.u64("samples_seen");
  s.tokens_seen = reader.u64("tokens_seen");
  s.trained_tokens_seen = reader.u64("trained_tokens_seen");
  s.seed = reader.u64("seed");
}

void decode_measures(ObjectReader& reader, TrainerState& s) {
  s.loss_ema = reader.maybe_bits("loss_ema_bits");
  s.last_loss = reader.bits("last_loss_bits");
  s.last_grad_norm = reader.bits("last_grad_norm_bits");
  if (auto best = reader.maybe_object("best")) {
    s.best = BestMetric{best->bits("value_bits"), best->u64("step")};
    best->finish();
  }
  s.evaluated_step = reader.u64("evaluated_step");
  s.evaluations_without_improvement = reader.u64("evaluations_without_improvement");
  s.early_stop_reference = reader.maybe_bits("early_stop_reference_bits");
  s.recent_losses = reader.bits_list("recent_losses_bits", kMaxRecentLosses);
}

}  // namespace

void SampleHash::add(std::uint64_t sample_id) {
  const std::array<std::uint64_t, 3> words = {high, low, sample_id};
  const Xxh128Digest next = xxh3_128(std::as_bytes(std::span(words)));
  // Canonical digests are big-endian.
  high = low = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    high = high << 8 | std::to_integer<std::uint64_t>(next[i]);
    low = low << 8 | std::to_integer<std::uint64_t>(next[i + 8]);
  }
}

std::string encode_trainer_state(const TrainerState& s) {
  ordered_json recent = ordered_json::array();
  for (const double loss : s.recent_losses) recent.push_back(float_bits(loss));
  ordered_json best = nullptr;
  if (s.best) {
    best = ordered_json{{"value_bits", float_bits(s.best->value)}, {"step", s.best->step}};
  }
  const ordered_json doc = {
      {"schema", kSchema},
      {"step", s.step},
      {"total_steps", s.total_steps},
      {"data_epoch", s.data_epoch},
      {"next_row", s.next_row},
      {"samples_seen", s.samples_seen},
      {"tokens_seen", s.tokens_seen},
      {"trained_tokens_seen", s.trained_tokens_seen},
      {"seed", s.seed},
      {"loss_ema_bits", optional_bits(s.loss_ema)},
      {"last_loss_bits", float_bits(s.last_loss)},
      {"last_grad_norm_bits", float_bits(s.last_grad_norm)},
      {"best", best},
      {"evaluated_step", s.evaluated_step},
      {"evaluations_without_improvement", s.evaluations_without_improvement},
      {"early_stop_reference_bits", optional_bits(s.early_stop_reference)},
      {"recent_losses_bits", recent},
      {"consumed_samples", sample_hash_text(s.consumed)},
      {"packing_plan_digest", s.packing_plan_digest},
      {"schedule", encode_schedule(s.schedule)},
      {"wall_s_trained_bits", float_bits(s.wall_s_trained)},
      {"recipe", s.recipe},
  };
  return doc.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

Result<TrainerState> decode_trainer_state(std::string_view text) {
  auto doc = parse_object(text, kMaxTrainerStateBytes, kTrainerStateName);
  if (!doc) return doc.error();
  std::string error;
  ObjectReader reader(*doc, "$", error);
  TrainerState s;
  if (reader.text("schema", 64) != kSchema) {
    reader.fail("schema", "is not \"" + std::string(kSchema) + "\"");
  }
  decode_counters(reader, s);
  decode_measures(reader, s);
  s.consumed = parse_sample_hash(reader.hex("consumed_samples", 32));
  s.packing_plan_digest = reader.text("packing_plan_digest", 256);
  s.schedule = decode_schedule(reader.object("schedule"));
  s.wall_s_trained = reader.bits("wall_s_trained_bits");
  s.recipe = reader.text("recipe", kMaxRecipeBytes);
  reader.finish();
  if (error.empty() && encode_trainer_state(s) != text) error = "$ is not in canonical form";
  if (!error.empty()) {
    return Error{Code::kCorrupt, std::string(kTrainerStateName) + ": " + error + "."};
  }
  return s;
}

}  // namespace ratchet::trainer
