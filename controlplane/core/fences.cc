#include "controlplane/core/fences.h"

#include <array>

namespace ratchet::control {

std::span<const FenceInfo> all_fences() {
  using Fence = ControlCore::Fence;
  static constexpr std::array<FenceInfo, static_cast<std::size_t>(Fence::kCount)> kAll{{
      {Fence::kStaleEpoch, "stale_epoch", "I1"},
      {Fence::kOfferEpochBump, "offer_epoch_bump", "I1"},
      {Fence::kOneCurrent, "one_current", "I1"},
      {Fence::kPublishEpoch, "publish_epoch", "I3"},
      {Fence::kPublishStep, "publish_step", "I2"},
      {Fence::kPublishHash, "publish_hash", "I3"},
      {Fence::kAdoptionChain, "adoption_chain", "I2"},
      {Fence::kTerminalFinal, "terminal_final", "I5"},
      {Fence::kAttemptFinal, "attempt_final", "I5"},
      {Fence::kDeathByProof, "death_by_proof", "I7"},
      {Fence::kAuthorityWait, "authority_wait", "I8b"},
      {Fence::kRestartLease, "restart_lease", "I8b"},
      {Fence::kInventoryWindow, "inventory_window", "I8"},
      {Fence::kEpochJump, "epoch_jump", "I1"},
      {Fence::kIncarnation, "incarnation", "I1"},
      {Fence::kSyncOrder, "sync_order", "I1"},
      {Fence::kExogenousFree, "exogenous_free", "I9"},
      {Fence::kIntentFirst, "intent_first", "I6"},
      {Fence::kNodeCap, "node_cap", "I6"},
      {Fence::kSlotLimit, "slot_limit", "I1"},
      {Fence::kQuarantineBreaker, "quarantine_breaker", "I11"},
  }};
  return kAll;
}

}  // namespace ratchet::control
