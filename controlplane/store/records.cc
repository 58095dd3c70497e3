#include "controlplane/store/records.h"

#include <array>

namespace ratchet::control {

std::span<const Word<ArtifactKind>> word_table(ArtifactKind) {
  static constexpr std::array<Word<ArtifactKind>, 6> kTable{{
      {ArtifactKind::kBaseModel, "base_model"},
      {ArtifactKind::kDataset, "dataset"},
      {ArtifactKind::kFile, "file"},
      {ArtifactKind::kCheckpoint, "checkpoint"},
      {ArtifactKind::kAdapter, "adapter"},
      {ArtifactKind::kModel, "model"},
  }};
  return kTable;
}

std::span<const Word<ArtifactState>> word_table(ArtifactState) {
  static constexpr std::array<Word<ArtifactState>, 3> kTable{{
      {ArtifactState::kOpen, "open"},
      {ArtifactState::kSealed, "sealed"},
      {ArtifactState::kRemoving, "removing"},
  }};
  return kTable;
}

}  // namespace ratchet::control
