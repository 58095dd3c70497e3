#pragma once

// TrainerState: all that a bit-exact resume needs besides weights and moments (trainer_state.json).
//
// Saved at step boundaries only, so the index within a gradient accumulation is 0 by rule. There is
// no random-number state: data order and dropout are functions of the seed and of the counters
// here. Values; no thread rules.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"

namespace ratchet::trainer {

// Chained XXH3-128 over the ids of the samples that were trained on, in order. Two runs that saw
// the same samples in the same order have equal hashes.
struct SampleHash {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  void add(std::uint64_t sample_id);
  bool operator==(const SampleHash&) const = default;
};

// Inputs of the learning-rate schedule, and what it gave for the last step, to be compared with
// what it gives after a resume.
struct ScheduleState {
  std::string kind;  // "cosine", "linear", "constant"
  double peak = 0;
  std::uint64_t warmup_steps = 0;
  std::uint64_t end_step = 0;
  double lr = 0;  // used in step `step`; 0 before the first
  bool operator==(const ScheduleState&) const = default;
};

struct BestMetric {
  double value = 0;  // validation loss
  std::uint64_t step = 0;
  bool operator==(const BestMetric&) const = default;
};

struct TrainerState {
  std::uint64_t step = 0;         // optimizer steps done
  std::uint64_t total_steps = 0;  // planned
  std::uint64_t data_epoch = 0;
  std::uint64_t next_row = 0;  // index, within the data_epoch, of the first row not yet trained on
  std::uint64_t samples_seen = 0;
  std::uint64_t tokens_seen = 0;
  std::uint64_t trained_tokens_seen = 0;
  std::uint64_t seed = 0;

  std::optional<double> loss_ema;
  double last_loss = 0;       // of step `step`
  double last_grad_norm = 0;  // of step `step`, before clipping
  std::optional<BestMetric> best;

  std::uint64_t evaluated_step = 0;  // last step whose validation loss is in the fields around
  std::uint64_t evaluations_without_improvement = 0;
  std::optional<double> early_stop_reference;  // loss that an evaluation must beat
  std::vector<double> recent_losses;           // of the plateau rule, oldest first; bounded by it

  SampleHash consumed;
  std::string packing_plan_digest;  // of the current data_epoch; empty when not packed
  ScheduleState schedule;
  std::string recipe;         // canonical JobSpec text
  double wall_s_trained = 0;  // over all attempts

  bool operator==(const TrainerState&) const = default;
};

// Canonical: fixed key order, integers in decimal, floats as 16 hex digits of their bits.
std::string encode_trainer_state(const TrainerState& state);

// Strict and bounded: kCorrupt names the first key that is missing, unknown, twice there, of the
// wrong type or not in canonical form. `text` is untrusted.
Result<TrainerState> decode_trainer_state(std::string_view text);

}  // namespace ratchet::trainer
