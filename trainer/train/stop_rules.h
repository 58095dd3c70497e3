#pragma once

// When a run ends before its last step, and the running figures behind it. Pure functions of the
// trainer's state, so that a resumed run decides as one that was never killed.

#include <cstdint>

#include "proto/job_spec.h"
#include "trainer/checkpoint/trainer_state.h"

namespace ratchet::trainer {

// Exponential mean of the loss, weight 0.05 for the newest value.
double next_loss_ema(const TrainerState& state, double loss);

// Remembers `loss`, at most two windows of it.
void note_loss(TrainerState& state, const LossPlateau& rule, double loss);

// True when two windows are full and the mean of the newer one is not at least min_delta below the
// mean of the older one.
bool is_on_plateau(const TrainerState& state, const LossPlateau& rule);

struct EvaluationVerdict {
  bool best = false;        // lowest loss of the job
  bool stop_early = false;  // early_stop's patience is used up
};

// Notes a validation loss in `state` (best, early-stop counters) and judges it.
EvaluationVerdict note_evaluation(TrainerState& state, const TrainingSpec& training, double loss);

}  // namespace ratchet::trainer
