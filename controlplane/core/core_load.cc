#include <algorithm>
#include <utility>

#include "controlplane/core/core.h"
#include "controlplane/core/intent_machine.h"
#include "controlplane/core/leases.h"
#include "controlplane/core/recovery_stages.h"

namespace ratchet::control {

namespace {

std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 1469598103934665603ULL;  // FNV-1a, 64 bits
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return hash;
}

}  // namespace

Core::Core(CoreSettings settings, std::vector<Provider> providers, std::string boot_id,
           LoadedRows rows, Now now, std::uint64_t seed)
    : settings_(std::move(settings)),
      providers_(std::move(providers)),
      boot_id_(std::move(boot_id)),
      random_(seed),
      keys_(seed ^ hash_of(boot_id_)),
      now_(now) {
  began_ = now.mono;
  wall_ahead_ = now.wall - now.mono;
  // Above all revisions of earlier processes, unless the clock was set back: then agents say so.
  first_rev_ = std::max<std::int64_t>(1, now.wall.count()) * 1000;
  load_nodes(std::move(rows.nodes));
  for (IntentRow& intent : rows.intents) {
    if (is_final(intent.state)) continue;
    ++provider_intents_[intent.provider];
    intents_.emplace(intent.key, std::move(intent));
  }
  load_jobs(rows);
}

void Core::load_nodes(std::vector<NodeRow> rows) {
  for (NodeRow& row : rows) {
    if (row.provider == ProviderState::kGone) continue;
    LiveNode& node = nodes_[row.id];
    node.row = std::move(row);
    node.rev = first_rev_;
    node.last_contact = now_.mono;
    node.authority_until = lease_end(now_.mono, settings_.authority_ttl, settings_);
    set_leaving(node, node.row.notice && node.row.schedulable == Schedulable::kDraining);
    node.notice_synced = node.drained_by_notice;
    if (node.row.schedulable == Schedulable::kDraining) {
      node.drain_deadline = now_.mono + settings_.drain_deadline;
    }
    ++provider_nodes_[node.row.facts.provider];
    const std::string& id = node.row.id;
    timers_.arm(TimerKind::kAuthority, id, node.authority_until);
    timers_.arm(TimerKind::kLiveness, id, now_.mono + *until_next_liveness(Millis{0}, settings_));
  }
  inventory_total_ = nodes_.size();
  inventory_open_ = inventory_total_ > 0;
  if (inventory_open_) {
    timers_.arm(TimerKind::kInventory, "", now_.mono + settings_.inventory_window);
  }
}

void Core::load_jobs(LoadedRows& rows) {
  for (JobRow& row : rows.jobs) {
    if (is_terminal(row.phase)) continue;
    jobs_[row.id.str()].row = std::move(row);
  }
  for (AttemptRow& row : rows.attempts) {
    LiveJob* job = find_job(row.job_id);
    if (job == nullptr) continue;
    job->high_step = std::max(job->high_step, row.step);
    if (row.state == AttemptState::kEnded) continue;
    LiveAttempt& attempt = job->attempts[row.attempt_no];
    attempt.row = std::move(row);
  }
  for (CheckpointRow& row : rows.checkpoints) {
    LiveJob* job = find_job(row.job_id);
    const bool over =
        row.state == CheckpointState::kRetired || row.state == CheckpointState::kDiscarded;
    if (job != nullptr && !over) job->checkpoints.push_back(std::move(row));
  }
  for (InterruptionRow& row : rows.interruptions) {
    LiveJob* job = find_job(row.job_id);
    if (job == nullptr) continue;
    job->high_step = std::max(job->high_step, row.interrupted_step);
    job->interruption = std::move(row);
  }
  for (const auto& [key, intent] : intents_) {
    if (LiveJob* job = find_job(intent.job_id)) job->intent = key;
  }
  for (auto& [id, job] : jobs_) resume_job(job);
}

// What was only in memory, made anew from the rows.
void Core::resume_job(LiveJob& job) {
  const std::string& id = job.row.id.str();
  job.high_step = std::max({job.high_step, job.row.head.step, job.row.step});
  job.stop_deadline = now_.mono + settings_.drain_deadline;
  for (auto& [number, attempt] : job.attempts) {
    LiveNode* node = find_node(attempt.row.node_id);
    attempt.may_live = node != nullptr;
    attempt.stepped =
        attempt.row.first_step_at.has_value() || attempt.row.step > attempt.row.resume.step;
    if (node != nullptr) {
      attempt.slots = std::max<std::int64_t>(
          1, node->row.facts.gpus.empty() || job.row.needs.kind == DeviceKind::kCpu
                 ? 1
                 : job.row.needs.count);
      attempt.asked_rev = node->rev;
      node->attempts.emplace(job.row.id, number);
    }
    if (attempt.row.epoch == job.row.epoch) job.current = number;
  }
  if (const LiveAttempt* attempt = current(job)) {
    held_slots_[job.row.tenant] += attempt->slots;
    job.lost = job.row.phase == JobPhase::kRecovering || job.row.phase == JobPhase::kQueued ||
               job.row.phase == JobPhase::kPaused;
    if (attempt->row.state == AttemptState::kOffered) {
      timers_.arm(TimerKind::kOffer, id, now_.mono + settings_.offer_ttl);
    }
  }
  const auto orphan = [](const CheckpointRow& row) {
    return row.state == CheckpointState::kOrphan;
  };
  if (std::ranges::any_of(job.checkpoints, orphan)) {
    timers_.arm(TimerKind::kOrphans, id, now_.mono + settings_.orphan_kept);
  }
  if (job.row.backoff_until && *job.row.backoff_until > now_.wall) {
    // The clock may have been set: no backoff is longer than the longest there is.
    const Millis longest = settings_.backoff.empty() ? Millis{0} : settings_.backoff.back();
    const Millis left = std::min(Millis{*job.row.backoff_until - now_.wall}, longest);
    timers_.arm(TimerKind::kBackoff, id, now_.mono + left);
  }
}

// Once, before the first input: what needs an outcome to go out with.
void Core::begin() {
  if (!fences_.on(Fence::kInventoryWindow)) close_inventory();
  if (!fences_.on(Fence::kRestartLease)) {
    for (auto& [id, node] : nodes_) {
      node.authority_until = now_.mono;
      timers_.arm(TimerKind::kAuthority, id, now_.mono);
    }
  }
  intents_changed_ = true;
  std::vector<LiveJob*> broken;
  for (auto& [id, job] : jobs_) {
    place(job);
    const bool needs_attempt =
        job.row.phase == JobPhase::kStarting || job.row.phase == JobPhase::kRunning ||
        job.row.phase == JobPhase::kPausing || job.row.phase == JobPhase::kCancelling;
    if (needs_attempt && job.current == 0) broken.push_back(&job);
  }
  for (LiveJob* job : broken) apply(*job, JobEvent::kLost, {}, to_word(EndCause::kControlError));
  // A provider looks for the name before it makes a node, so that asking again makes no second.
  for (const auto& [key, intent] : intents_) {
    const LiveJob* job = find_job(intent.job_id);
    Requirements needs;
    if (job != nullptr) needs = job->row.needs;
    out_.commands.emplace_back(CreateNode{key, intent.provider, needs});
    timers_.arm(TimerKind::kBoot, key, now_.mono + settings_.boot_deadline);
  }
}

void Core::disable(ControlCore::Fence fence) { fences_.disable(fence); }

}  // namespace ratchet::control
