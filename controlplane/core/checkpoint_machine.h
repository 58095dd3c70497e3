#pragma once

// Publication of checkpoints, pure. The head of a job moves only by compare-and-set on (epoch,
// step): a zombie cannot move it, it never goes back (I2, I3). What an attempt of an old epoch
// sealed is an orphan, kept for a while and adopted when it is newer than the head and chained to
// it by hashes.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "controlplane/core/fences.h"
#include "controlplane/core/rows.h"

namespace ratchet::control {

struct PublishAsk {
  std::int64_t epoch = 0;      // of the attempt that sealed it
  std::int64_t job_epoch = 0;  // current
  SealedCheckpoint sealed;
};

struct PublishDecision {
  PublishVerdict verdict = PublishVerdict::kRejected;
  std::string reason;  // sentence; empty when committed
  bool final = true;   // false: it is not uploaded yet, there is nothing to answer
  bool moves_head = false;
  bool conflict = false;                 // same epoch and step, other hash
  std::optional<CheckpointState> state;  // of its row; nothing: no row is made or changed
};

// `known`: the job's checkpoints that are not retired.
PublishDecision decide_publish(const PublishAsk& ask, const Head& head,
                               std::span<const CheckpointRow> known, const FenceSet& fences);

// The newest orphan that may be adopted now; nothing when there is none.
std::optional<std::size_t> adoptable(std::span<const CheckpointRow> known, const Head& head,
                                     const FenceSet& fences);

enum class CheckpointEvent { kUpload, kCommit, kOrphaned, kAdopt, kDiscard, kRetire };
inline constexpr int kCheckpointEvents = static_cast<int>(CheckpointEvent::kRetire) + 1;
// Nothing: not possible from this state.
std::optional<CheckpointState> next(CheckpointState state, CheckpointEvent event);

}  // namespace ratchet::control
