#pragma once

// The job's state machine (control-plane.md (c)), pure.
//
//   validating --> queued --> starting --> running --> succeeded
//                    ^           |  ^         |
//                    |           v  |         v
//                    +------- recovering <----+        pausing --> paused --> queued
//   Every state that is not terminal may fail or be cancelled.

#include <optional>
#include <span>
#include <string_view>

#include "proto/cluster.h"

namespace ratchet::control {

enum class JobEvent {
  kInputsReady,
  kInputsFailed,
  kOffered,     // a slot was granted: the epoch has grown
  kFirstStep,   // the current attempt has done a step
  kLost,        // the current attempt ended or is out of reach, and the job is to go on
  kFatal,       // the verdict on an end: no further attempt
  kCompleted,   // the result is committed under the current epoch
  kReattached,  // the lost attempt is back and its epoch is still the job's
  kNoCapacity,  // no node for longer than the limit
  kPauseIdle,   // asked, and nothing runs
  kPauseDrain,  // asked, and an attempt is to save and leave first
  kStopped,     // the attempt that was to leave is proved stopped, or fenced
  kResume,
  kCancelIdle,
  kCancelStop,
};
inline constexpr int kJobEvents = static_cast<int>(JobEvent::kCancelStop) + 1;

struct JobStep {
  JobPhase from;
  JobEvent event;
  JobPhase to;
  std::string_view emits;  // type of the event that users see
  bool wants_node;         // the job is to be placed (again)
  Want attempt_want;       // of the current attempt from now on
};

// Nothing: the event is refused in this phase and changes nothing.
std::optional<JobStep> next(JobPhase phase, JobEvent event);

// The whole table, for the coverage of tests and of the simulation.
std::span<const JobStep> job_steps();

}  // namespace ratchet::control
