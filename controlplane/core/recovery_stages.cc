#include "controlplane/core/recovery_stages.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace ratchet::control {

namespace {

void end_stage(StageRow& stage, StageState state, UnixMillis now) {
  if (stage.state == StageState::kDone) return;
  if (!stage.began) stage.began = now;
  stage.ended = std::max(now, *stage.began);
  stage.state = state;
}

}  // namespace

bool is_open(const std::optional<InterruptionRow>& row) { return row && !row->resumed_at; }

bool begin_stage(InterruptionRow& row, RecoveryStage stage, UnixMillis now) {
  const auto index = static_cast<std::size_t>(stage);
  StageRow& own = row.stages[index];
  if (own.state == StageState::kRunning || own.state == StageState::kDone) return false;
  for (std::size_t i = 0; i < index; ++i) end_stage(row.stages[i], StageState::kDone, now);
  own = StageRow{.state = StageState::kRunning, .began = now, .ended = std::nullopt};
  return true;
}

void restart_stages(InterruptionRow& row, UnixMillis now) {
  end_stage(row.stages[0], StageState::kDone, now);
  for (std::size_t i = 1; i < kRecoveryStages; ++i) row.stages[i] = StageRow{};
}

void fail_provisioning(InterruptionRow& row, UnixMillis now) {
  StageRow& stage = row.stages[static_cast<std::size_t>(RecoveryStage::kProvisioning)];
  if (stage.state == StageState::kDone) return;
  end_stage(stage, StageState::kFailed, now);
}

void close_interruption(InterruptionRow& row, UnixMillis now) {
  for (StageRow& stage : row.stages) end_stage(stage, StageState::kDone, now);
  row.resumed_at = now;
}

void shift(InterruptionRow& row, Millis step) {
  row.interrupted_at += step;
  for (StageRow& stage : row.stages) {
    if (stage.began) *stage.began += step;
    if (stage.ended) *stage.ended += step;
  }
}

double stage_seconds(const InterruptionRow& row, RecoveryStage stage) {
  const StageRow& own = row.stages[static_cast<std::size_t>(stage)];
  if (!own.began || !own.ended) return 0;
  return static_cast<double>((*own.ended - *own.began).count()) / 1000.0;
}

JobState shown_state(const JobRow& job, const std::optional<InterruptionRow>& interruption) {
  const auto provisioning = static_cast<std::size_t>(RecoveryStage::kProvisioning);
  const bool open = is_open(interruption);
  const StageState asked = open ? interruption->stages[provisioning].state : StageState::kPending;
  const bool first = !open || asked == StageState::kFailed;
  return user_state(job.phase, first, open && asked == StageState::kPending);
}

}  // namespace ratchet::control
