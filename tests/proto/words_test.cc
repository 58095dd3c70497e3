// Every enumerator has exactly one word, and the words are those that documents use.

#include "proto/words.h"

#include <gtest/gtest.h>

#include <set>

#include "proto/api_error.h"
#include "proto/cluster.h"
#include "proto/control_message.h"
#include "proto/events.h"
#include "proto/job_spec.h"
#include "proto/job_state.h"
#include "proto/sync_message.h"

namespace ratchet {
namespace {

// Counts enumerators from zero to `last`, so a new enumerator without a word fails here as soon as
// it is named as the last one.
template <class E>
void expect_complete(E last) {
  std::set<std::string_view> words;
  const int count = static_cast<int>(last) + 1;
  for (int i = 0; i < count; ++i) {
    const auto value = static_cast<E>(i);
    const std::string_view word = to_word(value);
    EXPECT_TRUE(words.insert(word).second) << word << " stands twice";
    EXPECT_EQ(from_word<E>(word), value) << "enumerator " << i;
  }
  EXPECT_EQ(word_table(last).size(), static_cast<std::size_t>(count));
  EXPECT_EQ(from_word<E>("no such word"), std::nullopt);
}

TEST(Words, EveryEnumeratorHasItsWord) {
  expect_complete(Method::kFull);
  expect_complete(DataFormat::kConversations);
  expect_complete(OverLong::kTruncate);
  expect_complete(Schedule::kConstant);
  expect_complete(Precision::kBf16);
  expect_complete(DeviceKind::kCuda);
  expect_complete(PriceClass::kOnDemand);
  expect_complete(ExitKind::kInternal);
  expect_complete(Stage::kExport);
  expect_complete(CheckpointReason::kStop);
  expect_complete(ResumeClass::kDegraded);
  expect_complete(ControlVerb::kStop);
  expect_complete(JobState::kCancelled);
  expect_complete(AttemptState::kEnded);
  expect_complete(ApiErrorCode::kStorageFull);
  expect_complete(ErrorClass::kPersistent);
  expect_complete(JobPhase::kFailed);
  expect_complete(EndCause::kCompleted);
  expect_complete(Liveness::kSilent);
  expect_complete(Schedulable::kRetired);
  expect_complete(ProviderState::kFailed);
  expect_complete(IntentState::kDone);
  expect_complete(CheckpointState::kRetired);
  expect_complete(DeliveryState::kDead);
  expect_complete(NodePrice::kOnDemand);
  expect_complete(Want::kStop);
  expect_complete(NodeWant::kRelease);
  expect_complete(NoticeKind::kFreeze);
  expect_complete(PublishVerdict::kOrphan);
}

TEST(Words, ListNamesThemAll) {
  EXPECT_EQ(list_words<DeviceKind>(), "auto, cpu or cuda");
  EXPECT_EQ(list_words<Precision>(), "fp32 or bf16");
}

TEST(Words, ExitKindsMapToExitCodes) {
  for (const auto& entry : word_table(ExitKind{})) {
    const int expected = entry.value == ExitKind::kCompleted   ? 0
                         : entry.value == ExitKind::kPreempted ? 3
                                                               : 1;
    EXPECT_EQ(exit_code(entry.value), expected) << entry.word;
  }
}

}  // namespace
}  // namespace ratchet
