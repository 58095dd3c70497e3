#include "controlplane/core/rows.h"

#include <array>

namespace ratchet::control {

std::span<const Word<RecoveryStage>> word_table(RecoveryStage) {
  static constexpr std::array<Word<RecoveryStage>, kRecoveryStages> kTable{{
      {RecoveryStage::kDetecting, "detecting"},
      {RecoveryStage::kProvisioning, "provisioning"},
      {RecoveryStage::kDownloading, "downloading"},
      {RecoveryStage::kRestoring, "restoring"},
      {RecoveryStage::kResuming, "resuming"},
  }};
  return kTable;
}

std::span<const Word<StageState>> word_table(StageState) {
  static constexpr std::array<Word<StageState>, 4> kTable{{
      {StageState::kPending, "pending"},
      {StageState::kRunning, "running"},
      {StageState::kDone, "done"},
      {StageState::kFailed, "failed"},
  }};
  return kTable;
}

}  // namespace ratchet::control
