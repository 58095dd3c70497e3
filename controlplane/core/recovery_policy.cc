#include "controlplane/core/recovery_policy.h"

#include <algorithm>
#include <string>

namespace ratchet::control {

std::optional<std::int64_t> budget_of(EndCause cause) {
  switch (cause) {
    case EndCause::kGpuFault:
    case EndCause::kUnknown:
      return 3;
    case EndCause::kHang:
      return 2;
    case EndCause::kInternal:
      return 1;
    case EndCause::kUserError:
    case EndCause::kDataError:
    case EndCause::kNonFinite:
    case EndCause::kLossPlateau:
    case EndCause::kTimeout:
    case EndCause::kOomGpu:
    case EndCause::kOomHost:
      return 0;
    case EndCause::kCancelled:
    case EndCause::kSuperseded:
    case EndCause::kPreempted:
    case EndCause::kNodeLost:
    case EndCause::kDeclined:
    case EndCause::kControlError:
    case EndCause::kCompleted:
      return std::nullopt;
  }
  return std::nullopt;
}

RecoveryPlan plan_recovery(const RecoveryAsk& ask, const CoreSettings& settings,
                           const FenceSet& fences) {
  RecoveryPlan plan;
  plan.ledger = ask.ledger;
  const auto budget = budget_of(ask.cause);
  const bool outside = !budget && fences.on(ControlCore::Fence::kExogenousFree);
  const std::int64_t ends = ++plan.ledger.ends[ask.cause];
  if (outside) {
    ++plan.ledger.exogenous_without_progress;
  } else {
    ++plan.ledger.without_progress;
    if (budget && ends > *budget) {
      plan.verdict = *budget == 0 ? Verdict::kNoRetry : Verdict::kBudgetSpent;
    } else if (plan.ledger.without_progress >= settings.no_progress_limit) {
      plan.verdict = Verdict::kNoProgress;
    }
  }
  plan.quarantine_node = ask.cause == EndCause::kGpuFault;
  plan.avoid_node = ask.cause == EndCause::kGpuFault ||
                    (ask.cause == EndCause::kUnknown && ask.unexplained_here >= 1);
  const bool first_from_outside = outside && plan.ledger.exogenous_without_progress == 1;
  if (plan.verdict == Verdict::kRetry && !first_from_outside && !settings.backoff.empty()) {
    const auto last = static_cast<std::int64_t>(settings.backoff.size()) - 1;
    const auto rung = static_cast<std::size_t>(std::min(plan.ledger.backoff_index, last));
    const double spread = static_cast<double>(settings.backoff[rung].count()) * ask.jitter;
    plan.backoff = Millis{static_cast<std::int64_t>(spread)};
    ++plan.ledger.backoff_index;
  }
  return plan;
}

Ledger with_progress(const Ledger& ledger) {
  Ledger out = ledger;
  out.without_progress = 0;
  out.exogenous_without_progress = 0;
  out.backoff_index = 0;
  return out;
}

namespace {

struct Advice {
  const char* message;
  const char* next_step;
};

Advice advice_of(EndCause cause) {
  switch (cause) {
    case EndCause::kUserError:
      return {"The training settings were refused by the trainer.",
              "Correct the setting named in the message and submit the job again."};
    case EndCause::kDataError:
      return {"The data set or the model folder is faulty.",
              "Correct the file named in the message, upload it again and submit the job again."};
    case EndCause::kOomGpu:
      return {"The GPU's memory ran out.",
              "Lower training.micro_batch or data.sequence_length, turn on "
              "training.gradient_checkpointing, or ask for a GPU with more memory; then submit "
              "the job with this one as its parent to go on from its last checkpoint."};
    case EndCause::kOomHost:
      return {"The node's main memory ran out and the system ended the trainer.",
              "Use a node with more memory or a smaller model or data set; then submit the job "
              "with this one as its parent to go on from its last checkpoint."};
    case EndCause::kNonFinite:
      return {"The loss or a gradient became infinite or not a number.",
              "Lower training.learning_rate or training.max_grad_norm and look at the samples "
              "named in the evidence; then submit the job again."};
    case EndCause::kLossPlateau:
      return {"The training loss no longer fell.",
              "Change training.learning_rate or the data, or turn training.loss_plateau off; the "
              "last checkpoint is kept and can be downloaded."};
    case EndCause::kTimeout:
      return {"The training time limit of the job passed.",
              "Raise training.timeout_s and submit the job with this one as its parent to go on "
              "from its last checkpoint."};
    case EndCause::kGpuFault:
      return {"GPUs failed under the job.",
              "Look at the nodes in quarantine and have their GPUs reset or replaced; then submit "
              "the job with this one as its parent."};
    case EndCause::kHang:
      return {"The trainer stood still and had to be ended.",
              "Read the log of the last attempt; when the job is only slow, raise the hang limit "
              "of the control plane. Then submit the job with this one as its parent."};
    case EndCause::kInternal:
      return {"The trainer failed by a fault of its own.",
              "Read the log of the last attempt and report it; the last checkpoint is kept."};
    default:
      return {"The trainer died and left no explanation.",
              "Read the log of the last attempt and of its node's system; the last checkpoint is "
              "kept and can be used by a new job."};
  }
}

}  // namespace

Failure make_failure(EndCause cause, Verdict verdict, const std::string& detail,
                     std::int64_t attempts) {
  const Advice advice = advice_of(cause);
  Failure out;
  out.error_type = std::string(to_word(cause));
  out.message = detail.empty() ? advice.message : detail;
  out.next_step = advice.next_step;
  if (verdict == Verdict::kNoProgress) {
    out.error_type = "no_progress";
    out.message =
        "The job ended several times in a row without a newer checkpoint, the last time "
        "so: " +
        out.message;
  } else if (verdict == Verdict::kBudgetSpent) {
    out.message += " This has happened too often to try again (" + std::to_string(attempts) +
                   " attempts in all).";
  }
  return out;
}

}  // namespace ratchet::control
