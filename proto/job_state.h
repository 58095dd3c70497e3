#pragma once

// States of a job (the words that users see, TRN-06) and of an attempt, with the legal transitions.
// Pure tables: the control plane and the agent decide, these say what is possible.
//
//   job:
//     queued --> provisioning --> training --> completed
//       ^            |  ^         ^  |  |
//       |            v  |         |  |  +----> paused --> queued
//       +----------- recovering --+  v
//                        ^           |
//                        +------ interrupted
//     provisioning and interrupted --> recovering; recovering --> queued (no capacity),
//     provisioning (another node) or training (resumed, on the node it has).
//     recovering --> interrupted: the next node was lost as well.
//     queued, interrupted and recovering --> paused, for nothing runs that must be saved first.
//     Every state that is not terminal --> failed, cancelled. Terminal: completed, failed,
//     cancelled.
//
//   attempt:
//     offered ──> accepted ──> preparing ──> loading ──> running ──> draining ──> ended
//     Every state ──> ended.

#include <span>

#include "proto/result.h"
#include "proto/words.h"

namespace ratchet {

enum class JobState {
  kQueued,
  kProvisioning,
  kTraining,
  kInterrupted,
  kRecovering,
  kPaused,
  kCompleted,
  kFailed,
  kCancelled,
};
std::span<const Word<JobState>> word_table(JobState);

enum class AttemptState {
  kOffered,
  kAccepted,
  kPreparing,
  kLoading,
  kRunning,
  kDraining,
  kEnded,
};
std::span<const Word<AttemptState>> word_table(AttemptState);

bool is_terminal(JobState state);
bool is_terminal(AttemptState state);

// A state is not its own successor: a repeated report is the caller's to recognise.
bool is_legal(JobState from, JobState to);
bool is_legal(AttemptState from, AttemptState to);

// The new state, or an error that names both words.
Result<JobState> transition(JobState from, JobState to);
Result<AttemptState> transition(AttemptState from, AttemptState to);

}  // namespace ratchet
