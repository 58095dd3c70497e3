#include <algorithm>

#include "agent/core/agent_state.h"

namespace ratchet::agent {

namespace {

constexpr Millis kKillAgain{10000};
constexpr Millis kNoticeKept{600000};  // of a notice without a lead
constexpr Millis kAfterNotice{60000};  // nothing new is taken so long after a reclaim was due

bool is_unwanted(const Attempt& attempt) {
  return attempt.notes.discard || attempt.notes.ordered == EndCause::kSuperseded;
}

ExitRecord own_fault(const Attempt& attempt, std::string message) {
  ExitRecord record;
  record.message = std::move(message);
  record.step = attempt.step;
  record.stage = attempt.stage;
  return record;
}

}  // namespace

// The attempt that is wished for, taken on if it is new; none when it is refused.
Attempt* AgentCore::State::take_wish(const DesiredAttempt& desired) {
  if (Attempt* known = find_number(desired.job_id, desired.attempt_no)) {
    if (desired.epoch > known->epoch()) regrant(*known, desired.epoch);
    return known;
  }
  accept(desired);
  return find_number(desired.job_id, desired.attempt_no);
}

void AgentCore::State::regrant(Attempt& attempt, std::int64_t epoch) {
  attempt.notes.granted_epoch = epoch;
  attempt.notes.end_acked = false;
  std::int64_t& floor = epoch_floor[attempt.desired.job_id];
  floor = std::max(floor, epoch);
  save_notes(attempt);
  news = true;
}

void AgentCore::State::accept(const DesiredAttempt& desired) {
  const AttemptKey key{desired.job_id, desired.epoch};
  const auto floor = epoch_floor.find(desired.job_id);
  if (floor != epoch_floor.end() && desired.epoch <= floor->second && is_on(Fence::kEpochFloor)) {
    if (refused.insert({key, desired.attempt_no}).second) {
      tell("Attempt " + std::to_string(desired.attempt_no) + " of job " + desired.job_id.str() +
           " is refused: its epoch " + std::to_string(desired.epoch) + " is not above " +
           std::to_string(floor->second) + ", which this node has taken before.");
    }
    return;
  }
  Attempt attempt;
  attempt.desired = desired;
  attempt.last_sign = now;
  if (desired.resume) attempt.parent_manifest = desired.resume->manifest_sha256;
  epoch_floor[desired.job_id] = desired.epoch;
  if (is_on(Fence::kSaveBeforeFork)) out.saves.emplace_back(SaveAttempt{desired});
  Attempt& taken = attempts.insert_or_assign(key, std::move(attempt)).first->second;
  news = true;
  const bool reclaimed =
      notice && notice->kind == NoticeKind::kReclaim && now < notice_over + kAfterNotice;
  if (desired.want == Want::kRun && (reclaimed || leaving)) {
    end(taken, EndCause::kDeclined,
        own_fault(taken, "This node is about to be taken away and starts nothing new."));
  }
}

void AgentCore::State::recover(const RecoveredAttempt& found) {
  Attempt attempt;
  attempt.desired = found.desired;
  attempt.notes = found.notes;
  attempt.start_asked = attempt.started = found.started;
  attempt.paused = found.started;  // perhaps; it is told to go on
  attempt.last_sign = now;
  attempt.ended_at = now;
  if (found.desired.resume) attempt.parent_manifest = found.desired.resume->manifest_sha256;
  if (found.notes.ordered) {
    const bool saves =
        found.notes.ordered != EndCause::kCancelled && found.notes.ordered != EndCause::kHang;
    attempt.save_by = attempt.kill_at = saves ? now + settings.drain_deadline : now;
  }
  std::int64_t& floor = epoch_floor[found.desired.job_id];
  floor = std::max(floor, attempt.epoch());
  attempts.insert_or_assign(attempt.key(), std::move(attempt));
}

// Orders are repeated in every sync; a later one can only be stricter.
void AgentCore::State::order(Attempt& attempt, EndCause cause, Millis save, Millis kill_after) {
  std::optional<EndCause>& ordered = attempt.notes.ordered;
  const bool stronger = cause == EndCause::kCancelled || cause == EndCause::kSuperseded;
  if (!ordered || (stronger && ordered != cause && ordered != EndCause::kCancelled)) {
    ordered = cause;
    save_notes(attempt);
    news = true;
  }
  attempt.save_by = std::min(attempt.save_by, now + save);
  attempt.kill_at = std::min(attempt.kill_at, now + kill_after);
}

void AgentCore::State::see_notice(const ReclaimNotice& seen) {
  if (!notices_seen.insert(seen.source + "/" + seen.event_id).second) return;
  const bool reclaim = seen.kind == NoticeKind::kReclaim;
  if (notice && notice->kind == NoticeKind::kReclaim && now < notice_over && !reclaim) return;
  const Millis time_left = seen.lead >= Millis{0} ? seen.lead : settings.unknown_lead;
  notice = seen;
  notice_over = now + (seen.lead >= Millis{0} ? seen.lead : kNoticeKept);
  notice_told = false;
  notice_at = now;
  news = true;
  if (!reclaim) return;
  for (auto& [key, attempt] : attempts) {
    if (!attempt.ended()) drain_for_reclaim(attempt, time_left);
  }
}

void AgentCore::State::drain_for_reclaim(Attempt& attempt, Millis time_left) {
  const DrainPlan plan =
      plan_drain({time_left, slowest_save, slowest_upload, attempt.checkpoint_size});
  order(attempt, EndCause::kPreempted, plan.save_deadline, plan.save_deadline);
  attempt.upload_until = now + plan.upload_deadline;
}

Attempt* AgentCore::State::find(const AttemptKey& key) {
  const auto found = attempts.find(key);
  return found == attempts.end() ? nullptr : &found->second;
}

Attempt* AgentCore::State::find_number(const JobId& job_id, std::int64_t attempt_no) {
  for (auto it = attempts.lower_bound({job_id, 0}); it != attempts.end(); ++it) {
    if (it->first.job_id != job_id) break;
    if (it->second.desired.attempt_no == attempt_no) return &it->second;
  }
  return nullptr;
}

bool AgentCore::State::may_start(const Attempt& attempt) const {
  if (!attempt.prepared || disk_full || leaving) return false;
  std::int64_t running = 0;
  for (const auto& [key, other] : attempts) {
    if (!other.start_asked || other.exited || other.ended()) continue;
    if (key.job_id == attempt.desired.job_id && is_on(Fence::kOldTrainerGone)) return false;
    ++running;
  }
  return running < std::max<std::int64_t>(1, facts.slots) || !is_on(Fence::kOldTrainerGone);
}

void AgentCore::State::advance_start(Attempt& attempt) {
  if (attempt.start_asked || attempt.failed || attempt.notes.ordered) return;
  if (!attempt.prepared) {
    if (attempt.preparing || now < attempt.prepare_at) return;
    attempt.preparing = true;
    act(PrepareInputs{attempt.desired});
    return;
  }
  if (!may_start(attempt)) return;
  attempt.start_asked = true;
  act(StartTrainer{attempt.desired});
}

void AgentCore::State::advance_pause(Attempt& attempt) {
  if (!attempt.live() || attempt.notes.ordered || attempt.paused == disk_full) return;
  attempt.paused = disk_full;
  attempt.last_sign = now;
  if (disk_full) {
    act(PauseTrainer{attempt.key()});
  } else {
    act(ContinueTrainer{attempt.key()});
  }
}

void AgentCore::State::advance_stop(Attempt& attempt) {
  if (!attempt.live() || !attempt.notes.ordered) return;
  if (attempt.paused) {
    attempt.paused = false;
    act(ContinueTrainer{attempt.key()});
  }
  if (now >= attempt.kill_at) {
    attempt.killed = true;
    attempt.kill_at = now + kKillAgain;
    act(KillTrainer{attempt.key()});
  } else if (!attempt.stop_sent && attempt.save_by > now) {
    // A tenth of the time is left for the trainer to leave before it is killed.
    attempt.stop_sent = true;
    act(StopTrainer{attempt.key(), std::max(Millis{1}, (attempt.save_by - now) * 9 / 10)});
  }
}

// The newest sealed checkpoint, unless it is in the store.
const Sealed* AgentCore::State::to_upload(const Attempt& attempt) const {
  if (attempt.notes.discard || attempt.sealed.empty()) return nullptr;
  const Sealed& newest = attempt.sealed.back();
  return newest.checkpoint.artifact_id.empty() ? &newest : nullptr;
}

// What follows it descends from its parent all the same.
void AgentCore::State::take_out(Attempt& attempt, std::size_t index) {
  const Sealed gone = attempt.sealed[index];
  act(DropCheckpoint{attempt.key(), gone.checkpoint.step, gone.path});
  attempt.sealed.erase(attempt.sealed.begin() + static_cast<std::ptrdiff_t>(index));
  if (index < attempt.sealed.size()) {
    attempt.sealed[index].checkpoint.parent_manifest_sha256 =
        gone.checkpoint.parent_manifest_sha256;
  } else {
    attempt.parent_manifest = gone.checkpoint.parent_manifest_sha256;
  }
}

// Older ones that were passed over are not needed any more.
void AgentCore::State::mark_uploaded(Attempt& attempt, const std::string& manifest,
                                     const std::string& artifact) {
  for (std::size_t i = 0; i < attempt.sealed.size(); ++i) {
    if (attempt.sealed[i].checkpoint.manifest_sha256 != manifest) continue;
    while (i > 0 && attempt.sealed[i - 1].checkpoint.artifact_id.empty()) take_out(attempt, --i);
    attempt.sealed[i].checkpoint.artifact_id = artifact;
    return;
  }
}

void AgentCore::State::advance_uploads(Attempt& attempt) {
  if (!authority() && is_on(Fence::kAuthority)) return;
  if (now < attempt.upload_at) return;
  if (attempt.uploading.empty()) {
    if (const Sealed* next = to_upload(attempt)) {
      attempt.uploading = next->checkpoint.manifest_sha256;
      act(UploadCheckpoint{attempt.key(), attempt.desired.attempt_no, next->checkpoint,
                           next->path});
    }
  }
  const bool completed = attempt.exited && attempt.record &&
                         attempt.record->kind == ExitKind::kCompleted && !attempt.ended();
  if (completed && !attempt.uploading_result && attempt.notes.result_artifact.empty() &&
      !is_unwanted(attempt)) {
    attempt.uploading_result = true;
    act(UploadResult{attempt.key(), attempt.desired.attempt_no});
  }
}

// An end is told with the last checkpoint in the store, so that the next attempt begins there.
bool AgentCore::State::waits_for_upload(const Attempt& attempt) const {
  if (is_unwanted(attempt)) return false;
  if (attempt.uploading.empty() && to_upload(attempt) == nullptr) return false;
  if (attempt.record && attempt.record->kind == ExitKind::kCompleted) return true;
  if (attempt.upload_until) return now < *attempt.upload_until;
  if (!authority()) return true;
  return now < std::max(attempt.exited_at, authority_since) + settings.end_upload_grace;
}

void AgentCore::State::advance_end(Attempt& attempt) {
  const std::optional<EndCause> ordered = attempt.notes.ordered;
  if (!attempt.exited && attempt.start_asked && !attempt.failed) return;
  if (attempt.failed && !(attempt.started && !attempt.exited)) {
    end(attempt, ordered.value_or(EndCause::kControlError), own_fault(attempt, *attempt.failed));
    return;
  }
  EndContext context{ordered, is_unwanted(attempt), attempt.killed,
                     {},      attempt.step,         attempt.stage};
  if (!attempt.start_asked) {
    if (!ordered) return;
    Verdict verdict = classify(ExitFacts{}, context);
    end(attempt, verdict.cause, std::move(verdict.record));
    return;
  }
  if (notice && attempt.exited_at < notice_over + kAfterNotice) context.notice = notice->kind;
  if (waits_for_upload(attempt)) return;
  ExitFacts seen = attempt.facts;
  if (!seen.record) seen.record = attempt.record;
  Verdict verdict = classify(seen, context);
  const bool needs_result =
      verdict.cause == EndCause::kCompleted && attempt.notes.result_artifact.empty();
  if (needs_result && is_on(Fence::kResultBeforeEnd)) return;
  end(attempt, verdict.cause, std::move(verdict.record));
}

void AgentCore::State::end(Attempt& attempt, EndCause cause, ExitRecord record) {
  const std::string result = cause == EndCause::kCompleted ? attempt.notes.result_artifact : "";
  attempt.notes.end = AttemptExit{cause, std::move(record), result};
  attempt.ended_at = now;
  if (attempt.notes.discard && !attempt.sealed.empty()) {
    settle(attempt, attempt.sealed.back().checkpoint.step);
  } else {
    save_notes(attempt);
  }
  news = true;
}

void AgentCore::State::settle(Attempt& attempt, std::int64_t step) {
  attempt.notes.settled_step = std::max(attempt.notes.settled_step, step);
  const auto is_settled = [&](std::int64_t other) { return other <= attempt.notes.settled_step; };
  for (const Sealed& sealed : attempt.sealed) {
    if (is_settled(sealed.checkpoint.step)) {
      act(DropCheckpoint{attempt.key(), sealed.checkpoint.step, sealed.path});
    }
  }
  std::erase_if(attempt.sealed, [&](const Sealed& s) { return is_settled(s.checkpoint.step); });
  std::erase_if(attempt.notes.uploaded, [&](const auto& s) { return is_settled(s.step); });
  save_notes(attempt);
}

void AgentCore::State::remove_finished() {
  if (!recovered) return;
  for (auto it = attempts.begin(); it != attempts.end();) {
    const Attempt& attempt = it->second;
    const bool told = attempt.notes.end_acked && attempt.sealed.empty() &&
                      (!attempt.started || attempt.notes.acked_seq >= attempt.last_seq);
    const bool stale = attempt.notes.end_acked && now >= attempt.ended_at + settings.orphan_kept;
    const bool forgets = attempt.ended() && !is_on(Fence::kReportUntilAcked);
    if (!told && !stale && !forgets) {
      ++it;
      continue;
    }
    out.saves.emplace_back(RemoveAttempt{it->first});
    it = attempts.erase(it);
  }
}

void AgentCore::State::advance_leaving() {
  const Millis cap_from = std::max(authority_until, recovered_at);
  if (facts.price != NodePrice::kOwned && !leaving && !authority() &&
      now >= cap_from + settings.hard_cap && is_on(Fence::kHardCap)) {
    leaving = LeaveWhy::kReleased;
    leaving_message =
        "Nothing was heard from the control plane for too long: this rented node "
        "saves its work and releases itself.";
    leave_by = now + settings.drain_deadline;
    for (auto& [key, attempt] : attempts) {
      if (!attempt.ended()) {
        order(attempt, EndCause::kNodeLost, settings.drain_deadline, settings.drain_deadline);
      }
    }
  }
  if (node_want == NodeWant::kRelease && !leaving) {
    leaving = LeaveWhy::kReleased;
    leaving_message = "The control plane gives this node back.";
    leave_by = now + release_time;
    for (auto& [key, attempt] : attempts) {
      if (!attempt.ended()) order(attempt, EndCause::kPreempted, release_time, release_time);
    }
  }
}

void AgentCore::State::leave_when_done() {
  if (!leaving || left) return;
  const bool running = std::ranges::any_of(attempts, [](const auto& entry) {
    return entry.second.start_asked && !entry.second.exited && !entry.second.failed;
  });
  if (running) return;
  const bool untold = std::ranges::any_of(attempts, [](const auto& entry) {
    const Attempt& attempt = entry.second;
    return !attempt.ended() || !attempt.notes.end_acked || !attempt.uploading.empty();
  });
  // Without authority nothing can be uploaded, and nobody will listen: a rented node only costs.
  const bool unheard = *leaving == LeaveWhy::kReleased && !authority();
  if (untold && now < leave_by && !unheard) return;
  left = true;
  act(Leave{*leaving, leaving_message});
}

void AgentCore::State::advance() {
  if (!recovered || left) return;
  advance_leaving();
  for (auto& [key, attempt] : attempts) {
    if (!attempt.ended()) {
      advance_start(attempt);
      advance_pause(attempt);
      advance_stop(attempt);
    }
    advance_uploads(attempt);
    if (!attempt.ended()) advance_end(attempt);
  }
  remove_finished();
  leave_when_done();
}

AttemptReport AgentCore::State::report(const Attempt& attempt) const {
  AttemptReport report;
  report.job_id = attempt.desired.job_id;
  report.attempt_no = attempt.desired.attempt_no;
  report.epoch = attempt.epoch();
  const bool offers = authority() || !is_on(Fence::kAuthority);
  // An end that is told without its checkpoints would lose their steps.
  const bool ended = attempt.ended() && (offers || attempt.sealed.empty());
  if (ended) {
    report.state = AttemptState::kEnded;
    report.exit = attempt.notes.end;
  } else if (attempt.stepped) {
    report.state = attempt.notes.ordered ? AttemptState::kDraining : AttemptState::kRunning;
  } else if (attempt.started) {
    report.state = AttemptState::kLoading;
  } else if (attempt.preparing || attempt.prepared) {
    report.state = AttemptState::kPreparing;
  }
  report.stage = attempt.stage;
  report.step = attempt.step;
  report.total_steps = attempt.total_steps;
  report.resumed_from_step = attempt.resumed_from;
  report.replayed_steps = attempt.replayed;
  if (!attempt.paused && !attempt.exited) report.step_age = now - attempt.last_sign;
  for (const Sealed& sealed : attempt.sealed) {
    report.sealed.push_back(sealed.checkpoint);
    if (!offers) report.sealed.back().artifact_id.clear();
  }
  return report;
}

std::vector<AttemptReport> AgentCore::State::all_reports() const {
  std::vector<AttemptReport> reports;
  reports.reserve(attempts.size());
  for (const auto& [key, attempt] : attempts) reports.push_back(report(attempt));
  return reports;
}

Millis AgentCore::State::next_attempt_timer() const {
  Millis next = kNever;
  const auto at = [&](Millis when) {
    if (when > now) next = std::min(next, when);
  };
  for (const auto& [key, attempt] : attempts) {
    if (attempt.ended()) at(attempt.ended_at + settings.orphan_kept);
    if (!attempt.ended() && !attempt.prepared && !attempt.preparing) at(attempt.prepare_at);
    if (attempt.live() && attempt.notes.ordered) at(attempt.kill_at);
    if (!attempt.sealed.empty() || attempt.exited) at(attempt.upload_at);
    if (attempt.upload_until) at(*attempt.upload_until);
    if (attempt.exited && !attempt.ended()) {
      at(std::max(attempt.exited_at, authority_since) + settings.end_upload_grace);
    }
  }
  if (leaving) at(leave_by);
  if (facts.price != NodePrice::kOwned && !leaving) {
    at(std::max(authority_until, recovered_at) + settings.hard_cap);
  }
  return next;
}

}  // namespace ratchet::agent
