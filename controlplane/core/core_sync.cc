#include <algorithm>
#include <utility>

#include "controlplane/core/attempt_machine.h"
#include "controlplane/core/core.h"
#include "controlplane/core/recovery_stages.h"

namespace ratchet::control {

namespace {

// An agent of ours never is that far ahead of the store; a broken one may say anything.
constexpr std::int64_t kMostEpochsAhead = 1000000;

bool is_over(const AttemptReport& report) {
  return report.state == AttemptState::kEnded && report.exit.has_value();
}

}  // namespace

void Core::on(const SyncInput& input) {
  const SyncRequest& request = input.message;
  LiveNode* node = known(request.node_id, request.incarnation);
  if (node == nullptr) return;
  contact(*node);
  if (request.seq <= node->last_seq && fences_.on(Fence::kSyncOrder)) return;
  node->last_seq = std::max(node->last_seq, request.seq);
  if (request.desired_rev > node->rev) node->rev = request.desired_rev + 1;
  take_facts(*node, request.facts);
  if (request.notice) {
    take_notice(*node, *request.notice);
    node->notice_synced = true;
  } else if (node->notice_synced) {
    drop_notice(*node);
  }
  // A request that was sent before its sender had heard of this process may be older than what the
  // store has: it tells what runs, and not what does not.
  const bool in_order =
      request.boot_id == boot_id_ || node->agent_is_new || !fences_.on(Fence::kSyncOrder);
  if (in_order) on_absences(*node, request);
  const std::int64_t foreign_before = std::exchange(node->foreign, 0);
  for (const AttemptReport& report : request.attempts) on_report(*node, report, in_order);
  if (node->foreign < foreign_before) capacity_changed_ = true;
  if (!in_order) return;
  if (!node->synced) {
    node->synced = true;
    capacity_changed_ = true;
    touch(*node);
    if (!std::exchange(node->counted, true)) ++inventory_heard_;
    check_inventory();
  }
}

void Core::on_absences(LiveNode& node, const SyncRequest& request) {
  std::set<std::pair<JobId, std::int64_t>> told;
  for (const AttemptReport& report : request.attempts) {
    told.emplace(report.job_id, report.attempt_no);
  }
  const auto attempts = node.attempts;
  for (const auto& [job_id, number] : attempts) {
    LiveJob* job = find_job(job_id);
    if (job == nullptr || told.contains({job_id, number})) continue;
    if (!job->attempts.contains(number)) continue;
    on_absent(node, request, *job, job->attempts.at(number));
  }
}

void Core::on_report(LiveNode& node, const AttemptReport& report, bool in_order) {
  LiveJob* job = find_job(report.job_id);
  if (job == nullptr) {
    if (!is_over(report)) ++node.foreign;
    return acknowledge_end(report);
  }
  const auto found = job->attempts.find(report.attempt_no);
  if (found == job->attempts.end()) {
    return on_unknown_report(node, *job, report, in_order);
  }
  if (found->second.row.node_id != node.row.id) {
    if (!is_over(report)) ++node.foreign;
    return acknowledge_end(report);
  }
  on_known_report(node, *job, found->second, report);
}

// An attempt that this process has forgotten, or that the store never knew.
void Core::on_unknown_report(LiveNode& node, LiveJob& job, const AttemptReport& report,
                             bool in_order) {
  if (!is_over(report)) ++node.foreign;
  const std::int64_t ahead = report.epoch - job.row.epoch;
  if (ahead > 0) {
    // Acknowledged too early, the end and its epoch would be forgotten on both sides.
    if (!in_order) return;
    if (ahead < kMostEpochsAhead && fences_.on(Fence::kEpochJump)) jump_epoch(node, job, report);
    return acknowledge_end(report);
  }
  const bool answered = publish_all(job, report);
  if (answered && job.upload_awaited == report.attempt_no) upload_over(job);
  acknowledge_end(report);
}

void Core::on_known_report(LiveNode& node, LiveJob& job, LiveAttempt& attempt,
                           const AttemptReport& report) {
  const bool over = is_over(report);
  const bool terminal = is_terminal(job.row.phase) && fences_.on(Fence::kTerminalFinal);
  const bool is_current = job.current == report.attempt_no || !fences_.on(Fence::kStaleEpoch) ||
                          (!fences_.on(Fence::kAttemptFinal) && attempt.row.epoch == job.row.epoch);
  if (!terminal && !is_current && may_regrant(job, attempt, report)) {
    regrant(job, attempt);
  }
  const bool right_epoch = report.epoch == attempt.row.epoch || !fences_.on(Fence::kStaleEpoch);
  if (!terminal && is_current && right_epoch &&
      (attempt.row.state != AttemptState::kEnded || !fences_.on(Fence::kAttemptFinal))) {
    return apply_current(node, job, attempt, report);
  }
  publish_all(job, report);
  if (over) {
    // I1, I5: an epoch that is over ends its own record and no more.
    if (attempt.row.state != AttemptState::kEnded) {
      attempt.row = end_attempt(attempt.row, EndCause::kSuperseded,
                                "A newer attempt owned the job.", now_.wall);
      attempt.row.exit = report.exit;
      if (job.current == report.attempt_no) {
        end_current(job, attempt, "exit");
      } else {
        emit_attempt(job, attempt, "attempt.ended",
                     EventData().text("node_id", attempt.row.node_id),
                     to_word(EndCause::kSuperseded));
      }
    } else if (!attempt.row.exit) {
      attempt.row.exit = report.exit;
    }
    save(job, attempt);
    process_gone(job, report.attempt_no);
  }
  acknowledge_end(report);
}

void Core::apply_current(LiveNode& node, LiveJob& job, LiveAttempt& attempt,
                         const AttemptReport& report) {
  const bool answered = publish_all(job, report);
  if (job.lost) reattach(job, attempt);
  const bool over = is_over(report);
  AttemptReport told = report;
  if (over && told.exit->cause == EndCause::kCompleted && told.exit->result_artifact.empty()) {
    told.exit->cause = EndCause::kControlError;
    told.exit->record.message = "The attempt completed, but its result was not uploaded.";
  }
  AttemptStep step = apply_report(attempt.row, told, job.high_step, now_.wall, fences_);
  attempt.row = std::move(step.row);
  if (step.changed) save(job, attempt);
  for (const AttemptState state : step.entered) {
    if (state == AttemptState::kAccepted) timers_.disarm(TimerKind::kOffer, job.row.id.str());
    emit_attempt(job, attempt, std::string("attempt.") + std::string(to_word(state)),
                 EventData().text("node_id", node.row.id));
    if (state == AttemptState::kAccepted) stage(job, RecoveryStage::kDownloading);
    if (state == AttemptState::kLoading) stage(job, RecoveryStage::kRestoring);
    if (state == AttemptState::kRunning) stage(job, RecoveryStage::kResuming);
  }
  progress(job, attempt, report);
  if (step.stepped && !attempt.stepped) {
    attempt.stepped = true;
    if (job.row.phase == JobPhase::kStarting) {
      apply(job, JobEvent::kFirstStep, EventData().integer("first_step", report.step));
    }
  }
  if (step.new_step) recovered(job, attempt);
  if (!step.ended) {
    watch_hang(node, job, attempt, report);
    return;
  }
  attempt.may_live = false;
  if (!answered) {
    // Its last checkpoint is still on the way: the next attempt had better begin there.
    job.upload_awaited = report.attempt_no;
    timers_.arm(TimerKind::kUpload, job.row.id.str(), now_.mono + settings_.upload_wait);
  }
  end_current(job, attempt, node.row.notice ? "notice" : "exit");
  process_gone(job, report.attempt_no);
  acknowledge_end(report);
}

// What the trainer has done so far; steps alone are no event, the trainer's own lines tell them.
void Core::progress(LiveJob& job, LiveAttempt& attempt, const AttemptReport& report) {
  const bool moved = job.row.stage != report.stage || job.row.total_steps != report.total_steps;
  if (report.total_steps > 0) job.row.total_steps = report.total_steps;
  if (!report.stage.empty()) job.row.stage = report.stage;
  const bool stepped = attempt.row.step != job.row.step;
  job.row.step = attempt.row.step;
  job.high_step = std::max(job.high_step, attempt.row.step);
  // Steps alone are written now and then: they come again, and memory has them.
  if (moved || (stepped && now_.mono - job.progress_saved >= settings_.heartbeat)) {
    job.progress_saved = now_.mono;
    save(job);
    save(job, attempt);
  }
}

void Core::watch_hang(LiveNode& node, LiveJob& job, LiveAttempt& attempt,
                      const AttemptReport& report) {
  const bool works =
      report.state == AttemptState::kRunning || report.state == AttemptState::kLoading;
  if (!works) return;
  attempt.watch.observe(report.step, report.step_age, now_.mono);
  const Millis limit = attempt.watch.limit(settings_);
  if (attempt.hangs || node.row.facts.disk_full || report.step_age <= limit) return;
  attempt.hangs = true;
  emit(job, "job.stalled",
       EventData()
           .text("reason", "hang")
           .number("stood_still_s", static_cast<double>(report.step_age.count()) / 1000.0)
           .number("limit_s", static_cast<double>(limit.count()) / 1000.0),
       to_word(EndCause::kHang));
  touch(job);
}

// The node was out of reach for long, and nobody has been given its job since: it goes on.
void Core::reattach(LiveJob& job, LiveAttempt& attempt) {
  if (job.row.phase != JobPhase::kRecovering &&
      (!is_terminal(job.row.phase) || fences_.on(Fence::kTerminalFinal))) {
    return;
  }
  job.lost = false;
  job.row.backoff_until.reset();
  timers_.disarm(TimerKind::kBackoff, job.row.id.str());
  apply(job, JobEvent::kReattached, EventData().text("node_id", attempt.row.node_id));
  if (attempt.stepped) {
    apply(job, JobEvent::kFirstStep, EventData().integer("first_step", attempt.row.step));
    recovered(job, attempt);
  }
}

// (f) Agent autonomy: the newcomer has not taken a step, so the original keeps the job.
bool Core::may_regrant(const LiveJob& job, const LiveAttempt& attempt,
                       const AttemptReport& report) const {
  if (attempt.row.state == AttemptState::kEnded || is_over(report)) return false;
  if (report.epoch != attempt.row.epoch || report.state < AttemptState::kAccepted) return false;
  if (report.state == AttemptState::kDraining) return false;
  if (job.row.phase == JobPhase::kRecovering) return job.current == 0 || job.lost;
  if (job.row.phase != JobPhase::kStarting) return false;
  const auto newcomer = job.attempts.find(job.current);
  return newcomer != job.attempts.end() && !newcomer->second.stepped;
}

void Core::regrant(LiveJob& job, LiveAttempt& attempt) {
  if (LiveAttempt* newcomer = current(job)) {
    newcomer->row =
        end_attempt(newcomer->row, EndCause::kSuperseded,
                    "The earlier attempt came back before this one did a step.", now_.wall);
    emit_attempt(job, *newcomer, "attempt.ended",
                 EventData().text("node_id", newcomer->row.node_id),
                 to_word(EndCause::kSuperseded));
    save(job, *newcomer);
    held_slots_[job.row.tenant] -= newcomer->slots;
  }
  timers_.disarm(TimerKind::kOffer, job.row.id.str());
  if (fences_.on(Fence::kOfferEpochBump)) ++job.row.epoch;
  attempt.row.epoch = job.row.epoch;
  job.current = attempt.row.attempt_no;
  job.lost = false;
  held_slots_[job.row.tenant] += attempt.slots;
  save(job, attempt);
  emit_attempt(job, attempt, "attempt.regranted", EventData().text("node_id", attempt.row.node_id));
  if (job.row.phase == JobPhase::kRecovering) {
    reattach(job, attempt);
  } else if (attempt.stepped) {
    apply(job, JobEvent::kFirstStep, EventData().integer("first_step", attempt.row.step));
    recovered(job, attempt);
  }
  touch(job);
}

// The node knows a higher epoch than the store: the store was restored from an old copy. What runs
// keeps the job, and no epoch is given out twice.
void Core::jump_epoch(LiveNode& node, LiveJob& job, const AttemptReport& report) {
  job.row.epoch = report.epoch;
  job.row.attempts = std::max(job.row.attempts, report.attempt_no);
  save(job);
  emit(job, "job.epoch_jumped", EventData().text("node_id", node.row.id));
  const bool runs = !is_over(report) && report.state < AttemptState::kDraining;
  const JobPhase phase = job.row.phase;
  const bool takes = phase == JobPhase::kQueued || phase == JobPhase::kRecovering;
  LiveAttempt* holder = current(job);
  if (holder != nullptr && !job.lost) {
    // Someone else runs already under a lower epoch: it is lifted above.
    if (fences_.on(Fence::kOfferEpochBump)) ++job.row.epoch;
    holder->row.epoch = job.row.epoch;
    save(job, *holder);
    touch(job);
    return;
  }
  if (!runs || !takes) return;
  if (holder != nullptr) held_slots_[job.row.tenant] -= holder->slots;
  LiveAttempt& attempt = job.attempts[report.attempt_no];
  attempt.row.job_id = job.row.id;
  attempt.row.attempt_no = report.attempt_no;
  attempt.row.epoch = report.epoch;
  attempt.row.node_id = node.row.id;
  attempt.row.resume = job.row.head;
  attempt.row.usd_per_hour = node.row.facts.usd_per_hour;
  attempt.row.offered_at = now_.wall;
  attempt.slots = std::max<std::int64_t>(1, job.row.needs.count);
  node.attempts.emplace(job.row.id, report.attempt_no);
  --node.foreign;
  job.current = report.attempt_no;
  job.lost = false;
  held_slots_[job.row.tenant] += attempt.slots;
  save(job, attempt);
  apply(job, JobEvent::kOffered, EventData().text("node_id", node.row.id));
  apply_current(node, job, attempt, report);
}

// The agent's present process does not have the attempt: proof that it does not run there.
void Core::on_absent(LiveNode& node, const SyncRequest& request, LiveJob& job,
                     LiveAttempt& attempt) {
  const std::int64_t number = attempt.row.attempt_no;
  const bool over = attempt.row.state == AttemptState::kEnded;
  const bool has_read = request.boot_id == boot_id_ && request.desired_rev >= attempt.asked_rev;
  const bool is_current = job.current == number && !job.lost;
  // An offer may still be on its way; one that was withdrawn must have been read as withdrawn.
  if (attempt.row.state == AttemptState::kOffered) {
    const bool withdrawn = !is_current || job.row.phase == JobPhase::kCancelling ||
                           job.row.phase == JobPhase::kPausing || node.drain_deadline;
    if (!withdrawn || !has_read) return;
  }
  if (over && !attempt.row.accepted_at && !has_read) return;
  attempt.may_live = false;
  if (!over) {
    const bool asked = job.row.phase == JobPhase::kCancelling || !is_current ||
                       job.row.phase == JobPhase::kPausing;
    const EndCause cause = job.current != number ? EndCause::kSuperseded
                           : asked               ? EndCause::kCancelled
                           : node.drain_deadline ? EndCause::kPreempted
                                                 : EndCause::kNodeLost;
    attempt.row = end_attempt(attempt.row, cause,
                              "The agent does not have this attempt (any more).", now_.wall);
    save(job, attempt);
    if (job.current == number) {
      end_current(job, attempt, "exit");
    } else {
      emit_attempt(job, attempt, "attempt.ended", EventData().text("node_id", node.row.id),
                   to_word(cause));
    }
  }
  process_gone(job, number);
  place(job);
}

void Core::acknowledge_end(const AttemptReport& report) {
  if (!is_over(report)) return;
  const LineCursor end{report.job_id, report.attempt_no, 0};
  if (std::ranges::find(out_.acked_ends, end) == out_.acked_ends.end()) {
    out_.acked_ends.push_back(end);
  }
}

}  // namespace ratchet::control
