#include "proto/exit_record.h"

#include <array>

namespace ratchet {

std::span<const Word<ExitKind>> word_table(ExitKind) {
  static constexpr std::array<Word<ExitKind>, 10> kTable{{
      {ExitKind::kCompleted, "completed"},
      {ExitKind::kUserError, "user_error"},
      {ExitKind::kDataError, "data_error"},
      {ExitKind::kOomGpu, "oom_gpu"},
      {ExitKind::kPreempted, "preempted"},
      {ExitKind::kGpuFault, "gpu_fault"},
      {ExitKind::kNonFinite, "non_finite"},
      {ExitKind::kLossPlateau, "loss_plateau"},
      {ExitKind::kTimeout, "timeout"},
      {ExitKind::kInternal, "internal"},
  }};
  return kTable;
}

int exit_code(ExitKind kind) {
  if (kind == ExitKind::kCompleted) return 0;
  return kind == ExitKind::kPreempted ? 3 : 1;
}

}  // namespace ratchet
