#pragma once

// The five visible stages of a recovery (SPT-04) and the record of an interruption (SPT-08), pure.
// Stages end in order: what begins a stage ends all before it.

#include <optional>

#include "controlplane/core/rows.h"

namespace ratchet::control {

// A recovery that has not yet done its first new step.
bool is_open(const std::optional<InterruptionRow>& row);

// Begins `stage`. False: it had begun or was over already, and nothing has changed.
bool begin_stage(InterruptionRow& row, RecoveryStage stage, UnixMillis now);

// The running stage has failed; the recovery goes on from `provisioning`, which is pending again.
void restart_stages(InterruptionRow& row, UnixMillis now);

// No node could be had: the stage is marked failed until one is asked for again.
void fail_provisioning(InterruptionRow& row, UnixMillis now);

// The first new step: all stages are over.
void close_interruption(InterruptionRow& row, UnixMillis now);

// The wall clock was set by `step`: what was recorded moves with it, so that durations stay.
void shift(InterruptionRow& row, Millis step);

double stage_seconds(const InterruptionRow& row, RecoveryStage stage);

// The word that users see for a job (TRN-06). Its interruption: the last one, or none.
JobState shown_state(const JobRow& job, const std::optional<InterruptionRow>& interruption);

}  // namespace ratchet::control
