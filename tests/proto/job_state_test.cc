#include "proto/job_state.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace ratchet {
namespace {

using J = JobState;
using A = AttemptState;

// The whole matrix, written down again: a transition that appears or goes away fails here.
TEST(JobState, LegalTransitionsAreExactlyThese) {
  const std::map<J, std::set<J>> legal{
      {J::kQueued, {J::kProvisioning, J::kPaused, J::kFailed, J::kCancelled}},
      {J::kProvisioning, {J::kTraining, J::kRecovering, J::kFailed, J::kCancelled}},
      {J::kTraining, {J::kCompleted, J::kInterrupted, J::kPaused, J::kFailed, J::kCancelled}},
      {J::kInterrupted, {J::kRecovering, J::kPaused, J::kFailed, J::kCancelled}},
      {J::kRecovering,
       {J::kProvisioning, J::kTraining, J::kInterrupted, J::kQueued, J::kPaused, J::kFailed,
        J::kCancelled}},
      {J::kPaused, {J::kQueued, J::kFailed, J::kCancelled}},
      {J::kCompleted, {}},
      {J::kFailed, {}},
      {J::kCancelled, {}},
  };
  for (const auto& from : word_table(J{})) {
    for (const auto& to : word_table(J{})) {
      EXPECT_EQ(is_legal(from.value, to.value), legal.at(from.value).contains(to.value))
          << from.word << " to " << to.word;
    }
    EXPECT_EQ(is_terminal(from.value), legal.at(from.value).empty()) << from.word;
  }
}

TEST(AttemptState, GoesForwardOneByOneOrEnds) {
  for (const auto& from : word_table(A{})) {
    for (const auto& to : word_table(A{})) {
      const int a = static_cast<int>(from.value);
      const int b = static_cast<int>(to.value);
      const bool ended = from.value == A::kEnded;
      const bool expected = !ended && (to.value == A::kEnded || b == a + 1);
      EXPECT_EQ(is_legal(from.value, to.value), expected) << from.word << " to " << to.word;
    }
  }
}

TEST(JobState, IllegalTransitionNamesBothWords) {
  const auto result = transition(J::kCompleted, J::kTraining);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kFailedPrecondition);
  EXPECT_EQ(result.error().message, "A job cannot go from completed to training.");
  EXPECT_EQ(transition(J::kRecovering, J::kTraining).value(), J::kTraining);
  EXPECT_FALSE(transition(A::kEnded, A::kRunning));
}

}  // namespace
}  // namespace ratchet
