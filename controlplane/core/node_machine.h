#pragma once

// The three axes of a node, pure: liveness from silence, schedulable from facts and wishes, and the
// provider's state. Silence never kills a node; only a proof does (I7).

#include <optional>
#include <string_view>

#include "controlplane/core/control_core.h"
#include "proto/cluster.h"

namespace ratchet::control {

// LIVE, SUSPECT after suspect_after, SILENT after the contact lease.
Liveness liveness_after(Millis silence, const CoreSettings& settings);
// How long the silence must yet last until liveness_after() changes; nothing when silent.
std::optional<Millis> until_next_liveness(Millis silence, const CoreSettings& settings);

enum class NodeEvent {
  kPreflightPassed,
  kPreflightFailed,
  kDrain,       // asked by a person, or by a notice
  kUndrain,     // asked by a person: also ends a quarantine
  kFault,       // a device of it failed under an attempt, or two agents answer to its name
  kNewProcess,  // the agent started anew: its preflight is still to come
  kRetire,      // it is to be released
};
inline constexpr int kNodeEvents = static_cast<int>(NodeEvent::kRetire) + 1;

// Nothing: the event changes nothing in this state.
std::optional<Schedulable> next(Schedulable state, NodeEvent event);

enum class ProviderEvent {
  kSent,
  kAnsweredCreated,
  kAnsweredUnclear,
  kRefused,
  kJoined,
  kRelease,
  kProvedGone
};
inline constexpr int kProviderEvents = static_cast<int>(ProviderEvent::kProvedGone) + 1;
std::optional<ProviderState> next(ProviderState state, ProviderEvent event);

// At most max(1, 20 %) of the nodes may be in quarantine by recent faults (I11).
bool breaker_allows(std::size_t quarantined_lately, std::size_t nodes);
constexpr Millis kBreakerWindow{600000};

}  // namespace ratchet::control
