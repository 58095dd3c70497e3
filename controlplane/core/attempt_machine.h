#pragma once

// The attempt's state machine, pure: what a report of the agent makes of an attempt's row.
//
//   offered --> accepted --> preparing --> loading --> running --> draining --> ended
//
// Reports are level-triggered: states may be skipped, an earlier one than is known changes nothing.

#include <cstdint>
#include <string>
#include <vector>

#include "controlplane/core/fences.h"
#include "controlplane/core/rows.h"
#include "proto/sync_message.h"

namespace ratchet::control {

struct AttemptStep {
  AttemptRow row;                     // after the report
  std::vector<AttemptState> entered;  // states entered, skipped ones too, in order; without ended
  bool stepped = false;               // it has done a step of its own, now or before
  bool new_step = false;              // first step that no attempt had done before
  bool ended = false;                 // now
  bool changed = false;               // the row is to be stored
};

// high_step: most steps that the job had done before this attempt.
AttemptStep apply_report(const AttemptRow& row, const AttemptReport& report, std::int64_t high_step,
                         UnixMillis now, const FenceSet& fences);

// The end of an attempt by our own verdict: an expired offer, a dead node.
AttemptRow end_attempt(const AttemptRow& row, EndCause cause, std::string message, UnixMillis now);

}  // namespace ratchet::control
