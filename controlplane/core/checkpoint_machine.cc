#include "controlplane/core/checkpoint_machine.h"

#include <algorithm>
#include <string_view>

namespace ratchet::control {

namespace {

using Fence = ControlCore::Fence;

const CheckpointRow* find(std::span<const CheckpointRow> known, std::int64_t epoch,
                          std::int64_t step) {
  const auto found = std::ranges::find_if(known, [&](const CheckpointRow& row) {
    return row.epoch == epoch && row.step == step && row.state != CheckpointState::kRetired;
  });
  return found == known.end() ? nullptr : &*found;
}

PublishDecision again(const CheckpointRow& row) {
  PublishDecision out;
  switch (row.state) {
    case CheckpointState::kCommitted:
      out.verdict = PublishVerdict::kCommitted;
      return out;
    case CheckpointState::kAdopted:
      out.verdict = PublishVerdict::kAdopted;
      return out;
    case CheckpointState::kOrphan:
      out.verdict = PublishVerdict::kOrphan;
      out.reason = "Kept for a while: a newer attempt owns the job.";
      return out;
    default:
      out.reason = "Refused before.";
      return out;
  }
}

PublishDecision reject(std::string reason) {
  PublishDecision out;
  out.reason = std::move(reason);
  return out;
}

// Whether the parents of an orphan lead to the head, over other orphans if need be.
bool is_chained(std::span<const CheckpointRow> known, const CheckpointRow& orphan,
                const Head& head) {
  std::string_view parent = orphan.parent_manifest_sha256;
  for (std::size_t hops = 0; hops <= known.size(); ++hops) {
    if (parent == head.manifest_sha256) return true;
    const auto link = std::ranges::find_if(known, [&](const CheckpointRow& row) {
      return row.state == CheckpointState::kOrphan && row.manifest_sha256 == parent;
    });
    if (parent.empty() || link == known.end()) return false;
    parent = link->parent_manifest_sha256;
  }
  return false;
}

}  // namespace

PublishDecision decide_publish(const PublishAsk& ask, const Head& head,
                               std::span<const CheckpointRow> known, const FenceSet& fences) {
  const SealedCheckpoint& sealed = ask.sealed;
  const bool current = ask.epoch == ask.job_epoch || !fences.on(Fence::kPublishEpoch);
  if (const CheckpointRow* row = find(known, ask.epoch, sealed.step)) {
    if (row->manifest_sha256 == sealed.manifest_sha256 || !fences.on(Fence::kPublishHash)) {
      PublishDecision out = again(*row);
      if (row->manifest_sha256 == sealed.manifest_sha256) return out;
      out.moves_head = true;
      out.state = CheckpointState::kCommitted;
      return out;
    }
    PublishDecision out = reject(
        "Another checkpoint of this epoch and step has already been taken, with other contents.");
    out.conflict = true;
    return out;
  }
  if (sealed.step <= head.step && fences.on(Fence::kPublishStep)) {
    if (sealed.step == head.step && sealed.manifest_sha256 == head.manifest_sha256) {
      PublishDecision out;
      out.verdict = PublishVerdict::kCommitted;
      return out;
    }
    return reject("The job's newest checkpoint is at this step already, or past it.");
  }
  PublishDecision out;
  if (sealed.artifact_id.empty()) {
    out.final = false;
    return out;
  }
  if (current) {
    out.verdict = PublishVerdict::kCommitted;
    out.moves_head = true;
    out.state = CheckpointState::kCommitted;
    return out;
  }
  out.verdict = PublishVerdict::kOrphan;
  out.reason = "Kept for a while: a newer attempt owns the job.";
  out.state = CheckpointState::kOrphan;
  return out;
}

std::optional<std::size_t> adoptable(std::span<const CheckpointRow> known, const Head& head,
                                     const FenceSet& fences) {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < known.size(); ++i) {
    const CheckpointRow& row = known[i];
    if (row.state != CheckpointState::kOrphan) continue;
    if (row.step <= head.step) continue;
    if (!is_chained(known, row, head) && fences.on(Fence::kAdoptionChain)) continue;
    if (!best || row.step > known[*best].step) best = i;
  }
  return best;
}

std::optional<CheckpointState> next(CheckpointState state, CheckpointEvent event) {
  using S = CheckpointState;
  switch (event) {
    case CheckpointEvent::kUpload:
      return state == S::kSealed ? std::optional(S::kUploaded) : std::nullopt;
    case CheckpointEvent::kCommit:
      return state == S::kUploaded ? std::optional(S::kCommitted) : std::nullopt;
    case CheckpointEvent::kOrphaned:
      return state == S::kUploaded ? std::optional(S::kOrphan) : std::nullopt;
    case CheckpointEvent::kAdopt:
      return state == S::kOrphan ? std::optional(S::kAdopted) : std::nullopt;
    case CheckpointEvent::kDiscard:
      if (state == S::kOrphan || state == S::kUploaded) return S::kDiscarded;
      return std::nullopt;
    case CheckpointEvent::kRetire:
      if (state == S::kSealed || state == S::kRetired) return std::nullopt;
      return S::kRetired;
  }
  return std::nullopt;
}

}  // namespace ratchet::control
