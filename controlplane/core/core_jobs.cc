#include <utility>

#include "controlplane/core/attempt_machine.h"
#include "controlplane/core/core.h"

namespace ratchet::control {

namespace {

std::string phase_text(const LiveJob& job) { return std::string(to_word(job.row.phase)); }

}  // namespace

// One transition of the job with its event; false when the machine refuses it.
bool Core::apply(LiveJob& job, JobEvent event, EventData data, std::string_view cause) {
  JobPhase from = job.row.phase;
  if (is_terminal(from) && !fences_.on(Fence::kTerminalFinal)) from = JobPhase::kRecovering;
  const auto step = next(from, event);
  if (!step) return false;
  job.row.phase = step->to;
  data.text("phase", to_word(step->to));
  std::string_view type = step->emits;
  if (event == JobEvent::kFirstStep) {
    if (job.row.started_at) type = "job.resumed";
    if (!job.row.started_at) job.row.started_at = now_.wall;
  }
  emit(job, type, data, cause);
  if (is_terminal(step->to)) {
    finish(job);
  } else {
    place(job);
  }
  touch(job);
  return true;
}

void Core::on(const SubmitJob& input) {
  if (find_job(input.job.id) != nullptr) {
    return reject("job_exists", "There is a job " + input.job.id.str() + " already.");
  }
  if (input.job.phase != JobPhase::kValidating && input.job.phase != JobPhase::kQueued) {
    return reject("invalid_state", "A new job is validating or queued, not " +
                                       std::string(to_word(input.job.phase)) + ".");
  }
  LiveJob& job = jobs_[input.job.id.str()];
  job.row = input.job;
  if (job.row.created_at == UnixMillis{0}) job.row.created_at = now_.wall;
  emit(job, "job.created",
       EventData().text("name", job.row.name).text("phase", to_word(job.row.phase)));
  if (job.row.phase == JobPhase::kQueued) {
    emit(job, "job.queued", EventData().text("phase", to_word(job.row.phase)));
  }
  place(job);
}

void Core::on(const InputsReady& input) {
  LiveJob* job = require_job(input.job_id);
  if (job == nullptr || job->row.phase != JobPhase::kValidating) return;
  if (!input.failure) {
    apply(*job, JobEvent::kInputsReady);
    return;
  }
  fail(*job, *input.failure);
}

void Core::on(const PauseJob& input) {
  LiveJob* job = require_job(input.job_id);
  if (job == nullptr) return;
  const JobPhase phase = job->row.phase;
  if (phase == JobPhase::kPaused || phase == JobPhase::kPausing) return;
  job->stop_deadline = now_.mono + settings_.drain_deadline;
  const LiveAttempt* attempt = current(*job);
  const bool idle = attempt == nullptr || job->lost;
  if (apply(*job, idle ? JobEvent::kPauseIdle : JobEvent::kPauseDrain)) return;
  reject("job_state", "Job " + job->row.id.str() + " is " + phase_text(*job) +
                          " and cannot be paused now. Pause it when it is queued or running.");
}

void Core::on(const ResumeJob& input) {
  LiveJob* job = require_job(input.job_id);
  if (job == nullptr) return;
  if (job->row.phase == JobPhase::kPaused) {
    job->row.backoff_until.reset();
    apply(*job, JobEvent::kResume);
    return;
  }
  if (job->row.phase == JobPhase::kPausing || job->row.phase == JobPhase::kCancelling ||
      is_terminal(job->row.phase)) {
    reject("job_state", "Job " + job->row.id.str() + " is " + phase_text(*job) +
                            ". It can be resumed once it is paused.");
  }
}

void Core::on(const CancelJob& input) {
  LiveJob* job = require_job(input.job_id);
  if (job == nullptr || job->row.phase == JobPhase::kCancelling) return;
  if (is_terminal(job->row.phase)) {
    if (job->row.phase == JobPhase::kCancelled) return;
    return reject("job_terminal", "Job " + job->row.id.str() + " is " + phase_text(*job) +
                                      " and can no longer be cancelled.");
  }
  job->stop_deadline = now_.mono + settings_.stop_deadline;
  const LiveAttempt* attempt = current(*job);
  const bool idle = attempt == nullptr || job->lost;
  apply(*job, idle ? JobEvent::kCancelIdle : JobEvent::kCancelStop);
}

void Core::fail(LiveJob& job, Failure failure) {
  failure.time = now_.wall;
  if (failure.step == 0) failure.step = job.row.step;
  if (failure.stage.empty()) failure.stage = job.row.stage;
  job.row.failure = std::move(failure);
  const Failure& told = *job.row.failure;
  EventData data;
  data.text("error_type", told.error_type).text("message", told.message);
  data.text("next_step", told.next_step).text("stage", told.stage).integer("step", told.step);
  const std::string cause = told.error_type;
  const JobEvent event =
      job.row.phase == JobPhase::kValidating ? JobEvent::kInputsFailed : JobEvent::kFatal;
  if (job.row.phase == JobPhase::kCancelling) job.row.failure.reset();
  apply(job, event, data, cause);
}

// The job is terminal: its attempts are over for us, whether or not their nodes know it.
void Core::finish(LiveJob& job) {
  const std::string& id = job.row.id.str();
  if (!job.row.ended_at) job.row.ended_at = now_.wall;
  job.row.backoff_until.reset();
  save(job);
  for (auto& [number, attempt] : job.attempts) {
    if (attempt.row.state == AttemptState::kEnded) continue;
    const EndCause cause = job.row.phase == JobPhase::kCancelled && number == job.current
                               ? EndCause::kCancelled
                               : EndCause::kSuperseded;
    attempt.row = end_attempt(attempt.row, cause, "The job is over.", now_.wall);
    emit_attempt(job, attempt, "attempt.ended", EventData().text("node_id", attempt.row.node_id),
                 to_word(cause));
    save(job, attempt);
  }
  if (const LiveAttempt* attempt = current(job)) {
    held_slots_[job.row.tenant] -= attempt->slots;
    if (fences_.on(Fence::kTerminalFinal)) job.current = 0;
  }
  for (const TimerKind kind :
       {TimerKind::kOffer, TimerKind::kBackoff, TimerKind::kUpload, TimerKind::kCapacity}) {
    timers_.disarm(kind, id);
  }
  place(job);
  timers_.arm(TimerKind::kForget, id, now_.mono + settings_.orphan_kept);
  forget_if_done(job);
}

void Core::forget_if_done(LiveJob& job) {
  if (!is_terminal(job.row.phase)) return;
  for (const auto& [number, attempt] : job.attempts) {
    if (attempt.may_live) return;
  }
  const std::string& id = job.row.id.str();
  timers_.disarm(TimerKind::kForget, id);
  timers_.disarm(TimerKind::kOrphans, id);
  forget_jobs_.insert(id);
}

}  // namespace ratchet::control
