#pragma once

// The guards of the core, each under a name. Switching one off is for the mutation check of the
// simulation only: an invariant of proto/README.md must then fail. What another guard implies is
// no fence: an orphan chained to the head is newer than it, and the agent's drift allowance alone
// covers two clocks.

#include <bitset>
#include <cstddef>
#include <span>
#include <string_view>

#include "controlplane/core/control_core.h"

namespace ratchet::control {

enum class ControlCore::Fence {
  kStaleEpoch,         // I1: a report whose epoch is not its attempt's and the job's moves nothing
  kOfferEpochBump,     // I1: every offer and every re-grant has a higher epoch than all before
  kOneCurrent,         // I1: a job that has a current attempt within reach is not offered again
  kPublishEpoch,       // I3: the head moves only for the current epoch (compare-and-set)
  kPublishStep,        // I2: the head moves only to a higher step (compare-and-set)
  kPublishHash,        // I3: the same epoch and step with another hash is a conflict
  kAdoptionChain,      // I2: an orphan is adopted only when its parents lead to the head
  kTerminalFinal,      // I5: reports on a terminal job are evidence and no more
  kAttemptFinal,       // I5, I9: an ended attempt does not end or run again; ends are charged once
  kDeathByProof,       // I7: nodes whose provider proves death never die of silence
  kAuthorityWait,      // I8, I8b: silence ends nothing before the authority lease is over
  kRestartLease,       // I8b: after a start, leases granted before it are taken as just granted
  kInventoryWindow,    // I8: after a start nothing is offered until the nodes were heard
  kEpochJump,          // I1: an epoch above the store's (old backup) is jumped past
  kIncarnation,        // I1: requests of an earlier process of the agent are not applied
  kSyncOrder,          // I1, I2: a sync older than the last one is not applied
  kExogenousFree,      // I9: causes from outside spend no budget
  kIntentFirst,        // I6: a node is asked for under a planned intent in the same transaction
  kNodeCap,            // I6: no more nodes and intents than the provider's limit
  kSlotLimit,          // I1: attempts on a node never hold more devices than it has
  kQuarantineBreaker,  // I11: at most max(1, 20 %) of the nodes in 10 minutes
  kCount,
};

struct FenceInfo {
  ControlCore::Fence fence;
  std::string_view name;
  std::string_view invariant;  // that is to fail without it
};
std::span<const FenceInfo> all_fences();

class FenceSet {
 public:
  [[nodiscard]] bool on(ControlCore::Fence fence) const {
    return !off_.test(static_cast<std::size_t>(fence));
  }
  void disable(ControlCore::Fence fence) { off_.set(static_cast<std::size_t>(fence)); }

 private:
  std::bitset<static_cast<std::size_t>(ControlCore::Fence::kCount)> off_;
};

}  // namespace ratchet::control
