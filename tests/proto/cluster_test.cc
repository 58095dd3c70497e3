#include "proto/cluster.h"

#include <gtest/gtest.h>

#include <set>

namespace ratchet {
namespace {

TEST(Cluster, UsersSeeOneWordForEveryPhase) {
  struct Case {
    JobPhase phase;
    bool first_attempt;
    bool interrupted;
    JobState expected;
  };
  for (const Case& c : {Case{JobPhase::kValidating, true, false, JobState::kQueued},
                        Case{JobPhase::kQueued, true, false, JobState::kQueued},
                        Case{JobPhase::kQueued, false, false, JobState::kQueued},
                        Case{JobPhase::kStarting, true, false, JobState::kProvisioning},
                        Case{JobPhase::kStarting, false, false, JobState::kRecovering},
                        Case{JobPhase::kRunning, false, false, JobState::kTraining},
                        Case{JobPhase::kRecovering, false, true, JobState::kInterrupted},
                        Case{JobPhase::kRecovering, false, false, JobState::kRecovering},
                        Case{JobPhase::kPausing, false, false, JobState::kTraining},
                        Case{JobPhase::kPaused, false, false, JobState::kPaused},
                        Case{JobPhase::kCancelling, false, false, JobState::kTraining},
                        Case{JobPhase::kCancelled, false, false, JobState::kCancelled},
                        Case{JobPhase::kSucceeded, false, false, JobState::kCompleted},
                        Case{JobPhase::kFailed, false, false, JobState::kFailed}}) {
    EXPECT_EQ(user_state(c.phase, c.first_attempt, c.interrupted), c.expected) << to_word(c.phase);
  }
}

TEST(Cluster, PhaseAndUserWordAgreeOnWhatIsTerminal) {
  for (const auto& entry : word_table(JobPhase{})) {
    EXPECT_EQ(is_terminal(entry.value), is_terminal(user_state(entry.value, false, false)))
        << entry.word;
  }
}

TEST(Cluster, OnlyCausesFromOutsideAreExogenous) {
  const std::set<EndCause> outside = {EndCause::kCancelled, EndCause::kSuperseded,
                                      EndCause::kPreempted, EndCause::kNodeLost,
                                      EndCause::kDeclined,  EndCause::kControlError};
  for (const auto& entry : word_table(EndCause{})) {
    EXPECT_EQ(is_exogenous(entry.value), outside.contains(entry.value)) << entry.word;
  }
}

TEST(Cluster, ExitKindsKeepTheirWordAsCause) {
  for (const auto& entry : word_table(ExitKind{})) {
    EXPECT_EQ(to_word(cause_of(entry.value)), entry.word);
  }
}

}  // namespace
}  // namespace ratchet
