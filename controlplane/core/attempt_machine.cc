#include "controlplane/core/attempt_machine.h"

#include <algorithm>
#include <utility>

namespace ratchet::control {

namespace {

void enter_states(AttemptStep& step, AttemptState to, UnixMillis now) {
  // An attempt may be told to leave before it ran: those states are not entered on the way.
  const bool drains_early =
      to == AttemptState::kDraining && step.row.state < AttemptState::kRunning;
  for (int state = static_cast<int>(step.row.state) + 1; state <= static_cast<int>(to); ++state) {
    const auto entered = static_cast<AttemptState>(state);
    if (drains_early && entered > AttemptState::kAccepted && entered < AttemptState::kDraining) {
      continue;
    }
    if (entered == AttemptState::kAccepted && !step.row.accepted_at) step.row.accepted_at = now;
    step.entered.push_back(entered);
    step.changed = true;
  }
  step.row.state = std::max(step.row.state, to);
}

void end_by_report(AttemptStep& step, const AttemptReport& report, UnixMillis now) {
  if (!step.row.accepted_at && report.exit->cause != EndCause::kDeclined) {
    step.row.accepted_at = now;
  }
  step.row.state = AttemptState::kEnded;
  step.row.cause = report.exit->cause;
  step.row.end_message = report.exit->record.message;
  step.row.exit = report.exit;
  step.row.ended_at = now;
  step.ended = true;
  step.changed = true;
}

}  // namespace

AttemptStep apply_report(const AttemptRow& row, const AttemptReport& report, std::int64_t high_step,
                         UnixMillis now, const FenceSet& fences) {
  AttemptStep step;
  step.row = row;
  if (row.state == AttemptState::kEnded && fences.on(ControlCore::Fence::kAttemptFinal)) {
    // I5: what comes late is kept as evidence of an end that is already decided.
    if (report.exit && !row.exit) {
      step.row.exit = report.exit;
      step.changed = true;
    }
    return step;
  }
  const bool ends = report.state == AttemptState::kEnded && report.exit.has_value();
  const std::int64_t began_at =
      report.resumed_from_step >= 0 ? report.resumed_from_step : row.resume.step;
  if (report.step > step.row.step) {
    step.row.step = report.step;
    step.row.replayed_steps = std::max(step.row.replayed_steps, report.replayed_steps);
  }
  if (!ends && report.state != AttemptState::kEnded && report.state > row.state) {
    enter_states(step, report.state, now);
  }
  const bool runs =
      ends || report.state == AttemptState::kRunning || report.state == AttemptState::kDraining;
  step.stepped = runs && report.step > began_at;
  if (step.stepped && report.step > high_step && !step.row.first_step_at) {
    step.row.first_step_at = now;
    step.new_step = true;
    step.changed = true;
  }
  if (ends) end_by_report(step, report, now);
  return step;
}

AttemptRow end_attempt(const AttemptRow& row, EndCause cause, std::string message, UnixMillis now) {
  if (row.state == AttemptState::kEnded) return row;
  AttemptRow out = row;
  out.state = AttemptState::kEnded;
  out.cause = cause;
  out.end_message = std::move(message);
  out.ended_at = now;
  return out;
}

}  // namespace ratchet::control
