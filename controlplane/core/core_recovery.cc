#include <algorithm>
#include <utility>

#include "controlplane/core/attempt_machine.h"
#include "controlplane/core/core.h"
#include "controlplane/core/recovery_stages.h"

namespace ratchet::control {

// The process of an attempt is proved over: its slots are free, its node has nothing to report.
void Core::process_gone(LiveJob& job, std::int64_t attempt_no) {
  LiveAttempt& attempt = job.attempts.at(attempt_no);
  attempt.may_live = false;
  if (LiveNode* node = find_node(attempt.row.node_id)) {
    if (node->attempts.erase({job.row.id, attempt_no}) > 0) touch(*node);
    capacity_changed_ = true;
    release_if_drained(*node);
  }
  if (attempt_no != job.current) forget_attempts_.emplace(job.row.id.str(), attempt_no);
  forget_if_done(job);
}

// The current attempt's row has just ended. Decides what becomes of the job.
void Core::end_current(LiveJob& job, LiveAttempt& attempt, std::string_view source) {
  const EndCause cause = attempt.row.cause.value_or(EndCause::kUnknown);
  const bool was_lost = job.lost;
  const std::string reason = attempt.row.end_message;
  emit_attempt(job, attempt, "attempt.ended",
               EventData().text("node_id", attempt.row.node_id).text("message", reason),
               to_word(cause));
  save(job, attempt);
  timers_.disarm(TimerKind::kOffer, job.row.id.str());
  held_slots_[job.row.tenant] -= attempt.slots;
  job.current = 0;
  job.lost = false;
  if (!attempt.may_live) forget_attempts_.emplace(job.row.id.str(), attempt.row.attempt_no);
  switch (job.row.phase) {
    case JobPhase::kCancelling:
      apply(job, JobEvent::kStopped, {}, to_word(cause));
      return;
    case JobPhase::kStarting:
    case JobPhase::kRunning:
    case JobPhase::kPausing:
      break;
    default:
      // Lost before and charged then: it only became certain now.
      if (was_lost) place(job);
      return;
  }
  if (cause == EndCause::kCompleted) {
    job.row.result_artifact = attempt.row.exit->result_artifact;
    if (job.row.phase == JobPhase::kStarting) apply(job, JobEvent::kFirstStep);
    recovered(job, attempt);
    apply(job, JobEvent::kCompleted, EventData().text("result_artifact", job.row.result_artifact));
    return;
  }
  recover(job, attempt, cause, source, reason);
}

void Core::recover(LiveJob& job, LiveAttempt& attempt, EndCause cause, std::string_view source,
                   const std::string& reason) {
  const std::string node_id = attempt.row.node_id;
  if (job.row.phase == JobPhase::kPausing && cause == EndCause::kCancelled) {
    apply(job, JobEvent::kStopped);
    return;
  }
  RecoveryAsk ask;
  ask.cause = cause;
  ask.ledger = job.row.ledger;
  ask.jitter = random_share();
  if (cause == EndCause::kUnknown) ask.unexplained_here = job.unexplained[node_id]++;
  const RecoveryPlan plan = plan_recovery(ask, settings_, fences_);
  job.row.ledger = plan.ledger;
  save(job);
  LiveNode* node = find_node(node_id);
  if (plan.quarantine_node && node != nullptr) {
    quarantine(*node, "A device failed under an attempt: " + reason);
  }
  if (plan.avoid_node &&
      std::ranges::find(job.row.avoid_nodes, node_id) == job.row.avoid_nodes.end()) {
    job.row.avoid_nodes.push_back(node_id);
  }
  if (plan.verdict != Verdict::kRetry) {
    Failure failure = make_failure(cause, plan.verdict, reason, job.row.attempts);
    if (attempt.row.exit) {
      failure.evidence = attempt.row.exit->record.evidence;
      failure.stage = attempt.row.exit->record.stage;
      failure.step = attempt.row.exit->record.step;
    }
    fail(job, std::move(failure));
    return;
  }
  if (job.row.phase == JobPhase::kPausing) {
    apply(job, JobEvent::kStopped, {}, to_word(cause));
    return;
  }
  if (plan.backoff > Millis{0}) {
    job.row.backoff_until = now_.wall + plan.backoff;
    timers_.arm(TimerKind::kBackoff, job.row.id.str(), now_.mono + plan.backoff);
  }
  interrupt(job, attempt, cause, source, reason);
  EventData data;
  data.text("source", source).text("reason", reason).text("node_id", node_id);
  data.integer("steps_at_risk", std::max<std::int64_t>(0, job.row.step - job.row.head.step));
  data.integer("backoff_ms", plan.backoff.count());
  data.boolean("escalated", plan.ledger.exogenous_without_progress >= kEscalateAfter);
  if (job.interruption) data.integer("interruption", job.interruption->number);
  apply(job, JobEvent::kLost, data, to_word(cause));
}

// Silence outlived the authority lease (I8b): the job may get a new epoch. The attempt's row stays
// open, for its node may well be running it, and billing for it.
void Core::lose_current(LiveJob& job, LiveAttempt& attempt) {
  job.lost = true;
  save(job, attempt);  // with its last steps: from now on nothing but its end may change it
  const std::string reason =
      "Node " + attempt.row.node_id + " was silent for longer than its authority lease.";
  switch (job.row.phase) {
    case JobPhase::kStarting:
    case JobPhase::kRunning:
      recover(job, attempt, EndCause::kNodeLost, "heartbeat", reason);
      return;
    case JobPhase::kPausing:
    case JobPhase::kCancelling:
      apply(job, JobEvent::kStopped, {}, to_word(EndCause::kNodeLost));
      return;
    default:
      return;
  }
}

void Core::interrupt(LiveJob& job, const LiveAttempt& attempt, EndCause cause,
                     std::string_view source, const std::string& reason) {
  if (is_open(job.interruption)) {
    restart_stages(*job.interruption, now_.wall);
    dirty_interruptions_.insert(job.row.id.str());
    return;
  }
  if (cause == EndCause::kDeclined) return;  // nothing ran that could be interrupted
  const std::int64_t number = job.interruption ? job.interruption->number + 1 : 1;
  InterruptionRow row;
  row.job_id = job.row.id;
  row.number = number;
  row.cause = cause;
  row.source = source;
  row.reason = reason;
  row.attempt_no = attempt.row.attempt_no;
  row.interrupted_step = attempt.row.step;
  row.interrupted_at = now_.wall;
  UnixMillis first_sign = now_.wall;
  if (const LiveNode* node = find_node(attempt.row.node_id)) {
    if (source == "heartbeat" || source == "provider") {
      first_sign -= std::max(now_.mono - node->last_contact, Millis{0});
    }
    if (node->row.notice && node->notice_at > UnixMillis{0}) first_sign = node->notice_at;
  }
  row.stages[0] = {.state = StageState::kDone, .began = first_sign, .ended = now_.wall};
  job.interruption = std::move(row);
  dirty_interruptions_.insert(job.row.id.str());
}

void Core::stage(LiveJob& job, RecoveryStage which) {
  if (!is_open(job.interruption)) return;
  if (!begin_stage(*job.interruption, which, now_.wall)) return;
  dirty_interruptions_.insert(job.row.id.str());
  emit(job, "job.recovery_stage",
       EventData()
           .text("stage", to_word(which))
           .text("state", to_word(StageState::kRunning))
           .integer("interruption", job.interruption->number));
}

// The first new step after an interruption, or the end of the job without any left to do.
void Core::recovered(LiveJob& job, const LiveAttempt& attempt) {
  if (!is_open(job.interruption)) return;
  InterruptionRow& row = *job.interruption;
  close_interruption(row, now_.wall);
  row.resumed_attempt_no = attempt.row.attempt_no;
  row.resumed_step = attempt.row.resume.step;
  row.replayed_steps = attempt.row.replayed_steps;
  if (row.attempt_no == attempt.row.attempt_no) {  // it had only been out of reach
    row.resumed_step = row.interrupted_step;
    row.replayed_steps = 0;
  } else if (row.replayed_steps == 0) {
    row.replayed_steps = std::max<std::int64_t>(0, row.interrupted_step - *row.resumed_step);
  }
  dirty_interruptions_.insert(job.row.id.str());
  EventData phases;
  for (std::size_t i = 0; i < kRecoveryStages; ++i) {
    const auto which = static_cast<RecoveryStage>(i);
    phases.number(to_word(which), stage_seconds(row, which));
  }
  const auto lost = row.resumed_at.value_or(now_.wall) - row.interrupted_at;
  emit(job, "job.recovered",
       EventData()
           .integer("interruption", row.number)
           .integer("resumed_step", *row.resumed_step)
           .integer("steps_recomputed", row.replayed_steps)
           .number("seconds_lost", static_cast<double>(lost.count()) / 1000.0)
           .object("seconds_lost_by_phase", phases),
       to_word(row.cause));
}

void Core::offer_due(LiveJob& job) {
  LiveAttempt* attempt = current(job);
  if (attempt == nullptr || attempt->row.state != AttemptState::kOffered) return;
  attempt->row = end_attempt(attempt->row, EndCause::kDeclined,
                             "The node did not take the offer in time.", now_.wall);
  end_current(job, *attempt, "exit");
  touch(job);
}

void Core::capacity_due(LiveJob& job) {
  if (job.row.phase != JobPhase::kRecovering || job.current != 0) return;
  if (is_open(job.interruption)) {
    fail_provisioning(*job.interruption, now_.wall);
    dirty_interruptions_.insert(job.row.id.str());
  }
  apply(job, JobEvent::kNoCapacity, EventData().text("reason", "No node has room for the job."),
        "no_capacity");
}

}  // namespace ratchet::control
