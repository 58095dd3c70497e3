#include "controlplane/core/core.h"
#include "controlplane/core/recovery_stages.h"

namespace ratchet::control {

namespace {
constexpr Millis kClockStep{2000};  // less is a clock that is being slewed, or read late
}  // namespace

void Core::follow_wall_clock() {
  const Millis ahead = now_.wall - now_.mono;
  const Millis step = ahead - wall_ahead_;
  if (std::chrono::abs(step) < kClockStep) return;
  wall_ahead_ = ahead;
  out_.clock_step += step;
  for (auto& [id, job] : jobs_) {
    for (auto& [number, attempt] : job.attempts) {
      AttemptRow& row = attempt.row;
      if (row.state == AttemptState::kEnded || !row.accepted_at) continue;
      *row.accepted_at += step;
      if (row.first_step_at) *row.first_step_at += step;
      save(job, attempt);
    }
    if (is_open(job.interruption)) {
      shift(*job.interruption, step);
      dirty_interruptions_.insert(id);
    }
  }
}

}  // namespace ratchet::control
