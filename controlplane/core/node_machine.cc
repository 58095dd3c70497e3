#include "controlplane/core/node_machine.h"

#include <algorithm>
#include <cstddef>

namespace ratchet::control {

Liveness liveness_after(Millis silence, const CoreSettings& settings) {
  if (silence > settings.contact_ttl) return Liveness::kSilent;
  if (silence > settings.suspect_after) return Liveness::kSuspect;
  return Liveness::kLive;
}

std::optional<Millis> until_next_liveness(Millis silence, const CoreSettings& settings) {
  const Millis past{1};
  switch (liveness_after(silence, settings)) {
    case Liveness::kLive:
      return std::min(settings.suspect_after, settings.contact_ttl) - silence + past;
    case Liveness::kSuspect:
      return settings.contact_ttl - silence + past;
    default:
      return std::nullopt;
  }
}

std::optional<Schedulable> next(Schedulable state, NodeEvent event) {
  using S = Schedulable;
  if (state == S::kRetired) return std::nullopt;
  switch (event) {
    case NodeEvent::kPreflightPassed:
      return state == S::kPreflight ? std::optional(S::kReady) : std::nullopt;
    case NodeEvent::kPreflightFailed:
      if (state == S::kPreflight || state == S::kReady) return S::kQuarantined;
      return std::nullopt;
    case NodeEvent::kDrain:
      return state == S::kDraining ? std::nullopt : std::optional(S::kDraining);
    case NodeEvent::kUndrain:
      if (state == S::kDraining || state == S::kQuarantined) return S::kPreflight;
      return std::nullopt;
    case NodeEvent::kFault:
      return state == S::kQuarantined ? std::nullopt : std::optional(S::kQuarantined);
    case NodeEvent::kNewProcess:
      return state == S::kReady ? std::optional(S::kPreflight) : std::nullopt;
    case NodeEvent::kRetire:
      return S::kRetired;
  }
  return std::nullopt;
}

std::optional<ProviderState> next(ProviderState state, ProviderEvent event) {
  using P = ProviderState;
  if (state == P::kGone) return std::nullopt;
  switch (event) {
    case ProviderEvent::kSent:
      return state == P::kIntent ? std::optional(P::kRequested) : std::nullopt;
    case ProviderEvent::kAnsweredCreated:
      if (state == P::kRequested || state == P::kAmbiguous) return P::kCreated;
      return std::nullopt;
    case ProviderEvent::kAnsweredUnclear:
      return state == P::kRequested ? std::optional(P::kAmbiguous) : std::nullopt;
    case ProviderEvent::kRefused:
      if (state == P::kRequested || state == P::kAmbiguous) return P::kFailed;
      return std::nullopt;
    case ProviderEvent::kJoined:
      if (state == P::kReleasing || state == P::kUp) return std::nullopt;
      return P::kUp;
    case ProviderEvent::kRelease:
      return state == P::kReleasing ? std::nullopt : std::optional(P::kReleasing);
    case ProviderEvent::kProvedGone:
      return P::kGone;
  }
  return std::nullopt;
}

bool breaker_allows(std::size_t quarantined_lately, std::size_t nodes) {
  return quarantined_lately < std::max<std::size_t>(1, nodes / 5);
}

}  // namespace ratchet::control
