#include "proto/sync_message.h"

#include <array>

namespace ratchet {

std::span<const Word<PublishVerdict>> word_table(PublishVerdict) {
  static constexpr std::array<Word<PublishVerdict>, 4> kTable{{
      {PublishVerdict::kCommitted, "committed"},
      {PublishVerdict::kAdopted, "adopted"},
      {PublishVerdict::kRejected, "rejected"},
      {PublishVerdict::kOrphan, "orphan"},
  }};
  return kTable;
}

}  // namespace ratchet
