#include "proto/cluster.h"

#include <array>

namespace ratchet {

std::span<const Word<JobPhase>> word_table(JobPhase) {
  static constexpr std::array<Word<JobPhase>, 11> kTable{{
      {JobPhase::kValidating, "validating"},
      {JobPhase::kQueued, "queued"},
      {JobPhase::kStarting, "starting"},
      {JobPhase::kRunning, "running"},
      {JobPhase::kRecovering, "recovering"},
      {JobPhase::kPausing, "pausing"},
      {JobPhase::kPaused, "paused"},
      {JobPhase::kCancelling, "cancelling"},
      {JobPhase::kCancelled, "cancelled"},
      {JobPhase::kSucceeded, "succeeded"},
      {JobPhase::kFailed, "failed"},
  }};
  return kTable;
}

bool is_terminal(JobPhase phase) {
  return phase == JobPhase::kCancelled || phase == JobPhase::kSucceeded ||
         phase == JobPhase::kFailed;
}

JobState user_state(JobPhase phase, bool first_attempt, bool interrupted) {
  switch (phase) {
    case JobPhase::kValidating:
    case JobPhase::kQueued:
      return JobState::kQueued;
    case JobPhase::kStarting:
      return first_attempt ? JobState::kProvisioning : JobState::kRecovering;
    case JobPhase::kRunning:
    case JobPhase::kPausing:
    case JobPhase::kCancelling:
      return JobState::kTraining;
    case JobPhase::kRecovering:
      return interrupted ? JobState::kInterrupted : JobState::kRecovering;
    case JobPhase::kPaused:
      return JobState::kPaused;
    case JobPhase::kCancelled:
      return JobState::kCancelled;
    case JobPhase::kSucceeded:
      return JobState::kCompleted;
    case JobPhase::kFailed:
      return JobState::kFailed;
  }
  return JobState::kFailed;
}

std::span<const Word<EndCause>> word_table(EndCause) {
  static constexpr std::array<Word<EndCause>, 18> kTable{{
      {EndCause::kCancelled, "cancelled"},
      {EndCause::kSuperseded, "superseded"},
      {EndCause::kPreempted, "preempted"},
      {EndCause::kUserError, "user_error"},
      {EndCause::kDataError, "data_error"},
      {EndCause::kOomGpu, "oom_gpu"},
      {EndCause::kNonFinite, "non_finite"},
      {EndCause::kLossPlateau, "loss_plateau"},
      {EndCause::kTimeout, "timeout"},
      {EndCause::kGpuFault, "gpu_fault"},
      {EndCause::kOomHost, "oom_host"},
      {EndCause::kHang, "hang"},
      {EndCause::kNodeLost, "node_lost"},
      {EndCause::kDeclined, "declined"},
      {EndCause::kControlError, "control_error"},
      {EndCause::kInternal, "internal"},
      {EndCause::kUnknown, "unknown"},
      {EndCause::kCompleted, "completed"},
  }};
  return kTable;
}

bool is_exogenous(EndCause cause) {
  return cause == EndCause::kCancelled || cause == EndCause::kSuperseded ||
         cause == EndCause::kPreempted || cause == EndCause::kNodeLost ||
         cause == EndCause::kDeclined || cause == EndCause::kControlError;
}

EndCause cause_of(ExitKind kind) {
  switch (kind) {
    case ExitKind::kCompleted:
      return EndCause::kCompleted;
    case ExitKind::kUserError:
      return EndCause::kUserError;
    case ExitKind::kDataError:
      return EndCause::kDataError;
    case ExitKind::kOomGpu:
      return EndCause::kOomGpu;
    case ExitKind::kPreempted:
      return EndCause::kPreempted;
    case ExitKind::kGpuFault:
      return EndCause::kGpuFault;
    case ExitKind::kNonFinite:
      return EndCause::kNonFinite;
    case ExitKind::kLossPlateau:
      return EndCause::kLossPlateau;
    case ExitKind::kTimeout:
      return EndCause::kTimeout;
    case ExitKind::kInternal:
      return EndCause::kInternal;
  }
  return EndCause::kUnknown;
}

std::span<const Word<Liveness>> word_table(Liveness) {
  static constexpr std::array<Word<Liveness>, 4> kTable{{
      {Liveness::kNeverSeen, "never_seen"},
      {Liveness::kLive, "live"},
      {Liveness::kSuspect, "suspect"},
      {Liveness::kSilent, "silent"},
  }};
  return kTable;
}

std::span<const Word<Schedulable>> word_table(Schedulable) {
  static constexpr std::array<Word<Schedulable>, 5> kTable{{
      {Schedulable::kPreflight, "preflight"},
      {Schedulable::kReady, "ready"},
      {Schedulable::kDraining, "draining"},
      {Schedulable::kQuarantined, "quarantined"},
      {Schedulable::kRetired, "retired"},
  }};
  return kTable;
}

std::span<const Word<ProviderState>> word_table(ProviderState) {
  static constexpr std::array<Word<ProviderState>, 9> kTable{{
      {ProviderState::kIntent, "intent"},
      {ProviderState::kRequested, "requested"},
      {ProviderState::kAmbiguous, "ambiguous"},
      {ProviderState::kCreated, "created"},
      {ProviderState::kBooting, "booting"},
      {ProviderState::kUp, "up"},
      {ProviderState::kReleasing, "releasing"},
      {ProviderState::kGone, "gone"},
      {ProviderState::kFailed, "failed"},
  }};
  return kTable;
}

std::span<const Word<IntentState>> word_table(IntentState) {
  static constexpr std::array<Word<IntentState>, 7> kTable{{
      {IntentState::kPlanned, "planned"},
      {IntentState::kSent, "sent"},
      {IntentState::kCreated, "created"},
      {IntentState::kRefused, "refused"},
      {IntentState::kAmbiguous, "ambiguous"},
      {IntentState::kAbsentConfirmed, "absent_confirmed"},
      {IntentState::kDone, "done"},
  }};
  return kTable;
}

std::span<const Word<CheckpointState>> word_table(CheckpointState) {
  static constexpr std::array<Word<CheckpointState>, 7> kTable{{
      {CheckpointState::kSealed, "sealed"},
      {CheckpointState::kUploaded, "uploaded"},
      {CheckpointState::kCommitted, "committed"},
      {CheckpointState::kOrphan, "orphan"},
      {CheckpointState::kAdopted, "adopted"},
      {CheckpointState::kDiscarded, "discarded"},
      {CheckpointState::kRetired, "retired"},
  }};
  return kTable;
}

std::span<const Word<DeliveryState>> word_table(DeliveryState) {
  static constexpr std::array<Word<DeliveryState>, 5> kTable{{
      {DeliveryState::kPending, "pending"},
      {DeliveryState::kSending, "sending"},
      {DeliveryState::kWaiting, "waiting"},
      {DeliveryState::kDelivered, "delivered"},
      {DeliveryState::kDead, "dead"},
  }};
  return kTable;
}

std::span<const Word<NodePrice>> word_table(NodePrice) {
  static constexpr std::array<Word<NodePrice>, 3> kTable{{
      {NodePrice::kOwned, "owned"},
      {NodePrice::kSpot, "spot"},
      {NodePrice::kOnDemand, "on_demand"},
  }};
  return kTable;
}

std::span<const Word<Want>> word_table(Want) {
  static constexpr std::array<Word<Want>, 3> kTable{{
      {Want::kRun, "run"},
      {Want::kDrain, "drain"},
      {Want::kStop, "stop"},
  }};
  return kTable;
}

std::span<const Word<NodeWant>> word_table(NodeWant) {
  static constexpr std::array<Word<NodeWant>, 3> kTable{{
      {NodeWant::kKeep, "keep"},
      {NodeWant::kDrain, "drain"},
      {NodeWant::kRelease, "release"},
  }};
  return kTable;
}

std::span<const Word<NoticeKind>> word_table(NoticeKind) {
  static constexpr std::array<Word<NoticeKind>, 4> kTable{{
      {NoticeKind::kReclaim, "reclaim"},
      {NoticeKind::kRebalance, "rebalance"},
      {NoticeKind::kMaintenance, "maintenance"},
      {NoticeKind::kFreeze, "freeze"},
  }};
  return kTable;
}

}  // namespace ratchet
