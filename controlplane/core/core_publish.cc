#include <algorithm>

#include "controlplane/core/checkpoint_machine.h"
#include "controlplane/core/core.h"

namespace ratchet::control {

// Whether all sealed checkpoints of the report have their answer.
// An attempt has the epoch that it was given, or an older one of its own, whatever its node claims;
// one that is not known has none that is another's.
std::int64_t Core::epoch_of(const LiveJob& job, const AttemptReport& report) const {
  if (!fences_.on(Fence::kStaleEpoch)) return report.epoch;
  std::int64_t epoch = report.epoch;
  for (const auto& [number, attempt] : job.attempts) {
    if (number == report.attempt_no) return std::min(report.epoch, attempt.row.epoch);
    if (attempt.row.epoch == report.epoch) epoch = 0;
  }
  return epoch;
}

bool Core::publish_all(LiveJob& job, const AttemptReport& report) {
  bool answered = true;
  AttemptReport told = report;
  told.epoch = epoch_of(job, report);
  for (const SealedCheckpoint& sealed : report.sealed) {
    answered = publish(job, told, sealed) && answered;
  }
  return answered;
}

bool Core::publish(LiveJob& job, const AttemptReport& report, const SealedCheckpoint& sealed) {
  CheckpointVerdict verdict{report.job_id,
                            report.epoch,
                            sealed.step,
                            sealed.manifest_sha256,
                            PublishVerdict::kRejected,
                            "The job is over."};
  if (is_terminal(job.row.phase) && fences_.on(Fence::kTerminalFinal)) {
    out_.verdicts.push_back(std::move(verdict));
    return true;
  }
  const PublishAsk ask{report.epoch, job.row.epoch, sealed};
  PublishDecision decision = decide_publish(ask, job.row.head, job.checkpoints, fences_);
  if (!decision.final) return false;
  if (sealed.manifest_sha256.empty()) {
    decision = PublishDecision();
    decision.reason = "The checkpoint has no manifest digest.";
  }
  verdict.verdict = decision.verdict;
  verdict.reason = decision.reason;
  if (decision.conflict) {
    emit(job, "checkpoint.conflict",
         EventData()
             .integer("checkpoint_step", sealed.step)
             .text("manifest_sha256", sealed.manifest_sha256));
  }
  if (decision.state) {
    CheckpointRow row;
    row.job_id = job.row.id;
    row.step = sealed.step;
    row.epoch = report.epoch;
    row.attempt_no = report.attempt_no;
    row.manifest_sha256 = sealed.manifest_sha256;
    row.parent_manifest_sha256 = sealed.parent_manifest_sha256;
    row.artifact_id = sealed.artifact_id;
    row.size = sealed.size;
    row.state = *decision.state;
    row.saved_at = now_.wall;
    job.checkpoints.push_back(row);
    dirty_checkpoints_[{row.job_id.str(), row.epoch, row.step}] = row;
    if (decision.moves_head) move_head(job, row, "checkpoint.committed");
    if (row.state == CheckpointState::kOrphan) {
      timers_.arm(TimerKind::kOrphans, job.row.id.str(), now_.mono + settings_.orphan_kept);
    }
  }
  adopt_orphans(job);
  const auto mine = std::ranges::find_if(job.checkpoints, [&](const CheckpointRow& row) {
    return row.epoch == report.epoch && row.step == sealed.step;
  });
  if (mine != job.checkpoints.end() && mine->state == CheckpointState::kAdopted) {
    verdict.verdict = PublishVerdict::kAdopted;
    verdict.reason.clear();
  }
  out_.verdicts.push_back(std::move(verdict));
  return true;
}

void Core::move_head(LiveJob& job, const CheckpointRow& row, std::string_view event) {
  job.row.head = {row.step, row.manifest_sha256, row.artifact_id};
  job.row.ledger = with_progress(job.row.ledger);
  job.high_step = std::max(job.high_step, row.step);
  emit(job, event,
       EventData()
           .integer("checkpoint_step", row.step)
           .text("manifest_sha256", row.manifest_sha256)
           .text("artifact_id", row.artifact_id)
           .integer("size_bytes", row.size.count())
           .integer("sealed_by_attempt", row.attempt_no));
  retire_old(job);
}

void Core::adopt_orphans(LiveJob& job) {
  if (is_terminal(job.row.phase)) return;
  const auto index = adoptable(job.checkpoints, job.row.head, fences_);
  if (!index) return;
  CheckpointRow& row = job.checkpoints[*index];
  row.state = CheckpointState::kAdopted;
  dirty_checkpoints_[{row.job_id.str(), row.epoch, row.step}] = row;
  move_head(job, CheckpointRow(row), "checkpoint.adopted");
}

// Keeps the newest of the committed line; what is older makes room in the store.
void Core::retire_old(LiveJob& job) {
  std::vector<std::int64_t> steps;
  const auto on_line = [](const CheckpointRow& row) {
    return row.state == CheckpointState::kCommitted || row.state == CheckpointState::kAdopted;
  };
  for (const CheckpointRow& row : job.checkpoints) {
    if (on_line(row)) steps.push_back(row.step);
  }
  const std::size_t kept = std::max<std::size_t>(settings_.checkpoints_kept, 1);
  if (steps.size() <= kept) return;
  std::ranges::sort(steps, std::greater<>());
  const std::int64_t oldest = steps[kept - 1];
  for (CheckpointRow& row : job.checkpoints) {
    if (!on_line(row) || row.step >= oldest || row.step == job.row.head.step) continue;
    row.state = CheckpointState::kRetired;
    row.retired_at = now_.wall;
    dirty_checkpoints_[{row.job_id.str(), row.epoch, row.step}] = row;
  }
  std::erase_if(job.checkpoints,
                [](const CheckpointRow& row) { return row.state == CheckpointState::kRetired; });
}

// The checkpoint that an ended attempt had sealed has come, or will not come in time.
void Core::upload_over(LiveJob& job) {
  job.upload_awaited = 0;
  timers_.disarm(TimerKind::kUpload, job.row.id.str());
  place(job);
}

void Core::orphans_due(LiveJob& job) {
  for (CheckpointRow& row : job.checkpoints) {
    if (row.state != CheckpointState::kOrphan) continue;
    row.state = CheckpointState::kDiscarded;
    dirty_checkpoints_[{row.job_id.str(), row.epoch, row.step}] = row;
  }
  std::erase_if(job.checkpoints,
                [](const CheckpointRow& row) { return row.state == CheckpointState::kDiscarded; });
}

}  // namespace ratchet::control
