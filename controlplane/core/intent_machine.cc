#include "controlplane/core/intent_machine.h"

namespace ratchet::control {

bool is_final(IntentState state) {
  return state == IntentState::kRefused || state == IntentState::kAbsentConfirmed ||
         state == IntentState::kDone;
}

std::optional<IntentState> next(IntentState state, IntentEvent event) {
  using S = IntentState;
  if (is_final(state)) return std::nullopt;
  switch (event) {
    case IntentEvent::kSent:
      return state == S::kPlanned ? std::optional(S::kSent) : std::nullopt;
    case IntentEvent::kCreated:
      return state == S::kCreated ? std::nullopt : std::optional(S::kCreated);
    case IntentEvent::kRefused:
      return state == S::kCreated ? std::nullopt : std::optional(S::kRefused);
    case IntentEvent::kUnclear:
      if (state == S::kPlanned || state == S::kSent) return S::kAmbiguous;
      return std::nullopt;
    case IntentEvent::kAbsent:
      // Only a search for the name answers this, and only doubt asks for one.
      return state == S::kAmbiguous ? std::optional(S::kAbsentConfirmed) : std::nullopt;
    case IntentEvent::kJoined:
    case IntentEvent::kProvedGone:
      return S::kDone;
  }
  return std::nullopt;
}

std::optional<IntentEvent> event_of_answer(IntentState answer) {
  switch (answer) {
    case IntentState::kSent:
      return IntentEvent::kSent;
    case IntentState::kCreated:
      return IntentEvent::kCreated;
    case IntentState::kRefused:
      return IntentEvent::kRefused;
    case IntentState::kAmbiguous:
      return IntentEvent::kUnclear;
    case IntentState::kAbsentConfirmed:
      return IntentEvent::kAbsent;
    default:
      return std::nullopt;
  }
}

}  // namespace ratchet::control
