#pragma once

// The axes on which the control plane sees jobs, attempts and nodes, and why attempts end. Axes
// stay apart: silence is a liveness, never a state of a job. Words of all tables: proto/README.md.

#include <optional>
#include <span>

#include "proto/exit_record.h"
#include "proto/job_state.h"
#include "proto/words.h"

namespace ratchet {

// What the control plane keeps of a job. Users see user_state() of it (TRN-06).
enum class JobPhase {
  kValidating,  // inputs are being uploaded or checked
  kQueued,
  kStarting,    // an attempt was offered and has not done its first step
  kRunning,     // the current attempt has reported a step
  kRecovering,  // the last attempt ended, the next is being arranged
  kPausing,
  kPaused,
  kCancelling,
  kCancelled,
  kSucceeded,
  kFailed,
};
std::span<const Word<JobPhase>> word_table(JobPhase);
bool is_terminal(JobPhase phase);

// The word that users see. `interrupted`: the recovery has not asked for a node yet.
// kValidating and kQueued are queued; kStarting is provisioning, or recovering after the first
// attempt; kRunning, kPausing and kCancelling are training: the attempt still holds its node.
JobState user_state(JobPhase phase, bool first_attempt, bool interrupted);

enum class EndCause {  // in the order of the classifier's table (agent/core/failure_classifier.h)
  kCancelled,          // by us, at the user's wish
  kSuperseded,         // fenced: a newer epoch owns the job
  kPreempted,          // reclaimed with a notice, or drained
  kUserError,
  kDataError,
  kOomGpu,
  kNonFinite,
  kLossPlateau,
  kTimeout,
  kGpuFault,
  kOomHost,
  kHang,
  kNodeLost,      // the node is proved gone, or its authority lease ran out
  kDeclined,      // the offer expired or the agent refused it
  kControlError,  // our own fault on the way: inputs could not be fetched, store full
  kInternal,      // a bug of the trainer
  kUnknown,       // died without a record, a signal or a kernel line that explains it
  kCompleted,
};
std::span<const Word<EndCause>> word_table(EndCause);

// Causes from outside the job (I9): they never spend a failure budget.
bool is_exogenous(EndCause cause);

EndCause cause_of(ExitKind kind);

enum class Liveness { kNeverSeen, kLive, kSuspect, kSilent };
std::span<const Word<Liveness>> word_table(Liveness);

enum class Schedulable { kPreflight, kReady, kDraining, kQuarantined, kRetired };
std::span<const Word<Schedulable>> word_table(Schedulable);

enum class ProviderState {
  kIntent,
  kRequested,
  kAmbiguous,  // asked, and it is not known whether the node was made
  kCreated,
  kBooting,
  kUp,
  kReleasing,
  kGone,  // proved (I7)
  kFailed,
};
std::span<const Word<ProviderState>> word_table(ProviderState);

enum class IntentState { kPlanned, kSent, kCreated, kRefused, kAmbiguous, kAbsentConfirmed, kDone };
std::span<const Word<IntentState>> word_table(IntentState);

enum class CheckpointState {
  kSealed,     // whole on the node's disk
  kUploaded,   // in the store, under the attempt's prefix
  kCommitted,  // the job's head moved to it (compare-and-set on epoch and step)
  kOrphan,     // uploaded under an epoch that is no longer current
  kAdopted,
  kDiscarded,
  kRetired,  // removed by garbage collection
};
std::span<const Word<CheckpointState>> word_table(CheckpointState);

enum class DeliveryState { kPending, kSending, kWaiting, kDelivered, kDead };
std::span<const Word<DeliveryState>> word_table(DeliveryState);

enum class NodePrice { kOwned, kSpot, kOnDemand };  // owned nodes suit every price class
std::span<const Word<NodePrice>> word_table(NodePrice);

enum class Want { kRun, kDrain, kStop };  // drain: save, then leave; stop: leave
std::span<const Word<Want>> word_table(Want);

enum class NodeWant { kKeep, kDrain, kRelease };
std::span<const Word<NodeWant>> word_table(NodeWant);

// What reclaim notices say, whatever cloud they come from.
enum class NoticeKind { kReclaim, kRebalance, kMaintenance, kFreeze };
std::span<const Word<NoticeKind>> word_table(NoticeKind);

}  // namespace ratchet
