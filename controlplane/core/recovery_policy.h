#pragma once

// What becomes of a job when an attempt ends: the cause ledger, pure. Each cause has its own budget
// of retries; causes from outside have none and spend none (I9); no cause of the job's own goes on
// for ever without a newer committed checkpoint.

#include <cstdint>
#include <optional>

#include "controlplane/core/fences.h"
#include "controlplane/core/rows.h"

namespace ratchet::control {

// Retries that a cause has in a job; nothing: as often as it takes.
std::optional<std::int64_t> budget_of(EndCause cause);

struct RecoveryAsk {
  EndCause cause = EndCause::kUnknown;
  Ledger ledger;
  std::int64_t unexplained_here = 0;  // earlier ends of unknown cause on the same node
  double jitter = 1;                  // [0, 1), of the backoff
};

enum class Verdict { kRetry, kBudgetSpent, kNoProgress, kNoRetry };

struct RecoveryPlan {
  Verdict verdict = Verdict::kRetry;
  Ledger ledger;  // with this end
  Millis backoff{0};
  bool avoid_node = false;
  bool quarantine_node = false;
};

RecoveryPlan plan_recovery(const RecoveryAsk& ask, const CoreSettings& settings,
                           const FenceSet& fences);

// After a newer checkpoint was committed.
Ledger with_progress(const Ledger& ledger);

// From here on placement is widened: dearer nodes than asked for are taken (I9).
constexpr std::int64_t kEscalateAfter = 3;

// What the user is told when a job ends for good. `detail`: what the attempt said of its end.
Failure make_failure(EndCause cause, Verdict verdict, const std::string& detail,
                     std::int64_t attempts);

}  // namespace ratchet::control
