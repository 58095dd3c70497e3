#pragma once

// The provision intent's state machine, pure.
//
//   planned --> sent --> created --> done
//                 |  ^------+  \---> done (died before it joined, proved)
//                 +--> refused
//                 +--> ambiguous --> created | absent_confirmed
//
// Refused, absent_confirmed and done are final: another try is another intent with another key.

#include <optional>

#include "proto/cluster.h"

namespace ratchet::control {

enum class IntentEvent { kSent, kCreated, kRefused, kUnclear, kAbsent, kJoined, kProvedGone };
inline constexpr int kIntentEvents = static_cast<int>(IntentEvent::kProvedGone) + 1;

bool is_final(IntentState state);
// Nothing: the event changes nothing in this state.
std::optional<IntentState> next(IntentState state, IntentEvent event);
// What an answer of a provisioner means; nothing for states that are no answers.
std::optional<IntentEvent> event_of_answer(IntentState answer);

}  // namespace ratchet::control
