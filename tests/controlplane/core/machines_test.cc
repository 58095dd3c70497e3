// Every row of the state machines of control-plane.md (c), and that nothing else is possible.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>

#include "controlplane/core/attempt_machine.h"
#include "controlplane/core/checkpoint_machine.h"
#include "controlplane/core/hang_watch.h"
#include "controlplane/core/intent_machine.h"
#include "controlplane/core/job_machine.h"
#include "controlplane/core/leases.h"
#include "controlplane/core/node_machine.h"
#include "controlplane/core/recovery_stages.h"
#include "controlplane/core/timers.h"
#include "proto/job_state.h"

namespace ratchet::control {
namespace {

using P = JobPhase;
using E = JobEvent;

TEST(JobMachine, HasTheRowsOfTheReferenceAndNoOthers) {
  const std::set<std::tuple<P, E, P>> expected{
      {P::kValidating, E::kInputsReady, P::kQueued},
      {P::kValidating, E::kInputsFailed, P::kFailed},
      {P::kValidating, E::kFatal, P::kFailed},
      {P::kValidating, E::kCancelIdle, P::kCancelled},
      {P::kQueued, E::kOffered, P::kStarting},
      {P::kQueued, E::kFatal, P::kFailed},
      {P::kQueued, E::kPauseIdle, P::kPaused},
      {P::kQueued, E::kCancelIdle, P::kCancelled},
      {P::kStarting, E::kFirstStep, P::kRunning},
      {P::kStarting, E::kLost, P::kRecovering},
      {P::kStarting, E::kFatal, P::kFailed},
      {P::kStarting, E::kPauseDrain, P::kPausing},
      {P::kStarting, E::kCancelStop, P::kCancelling},
      {P::kRunning, E::kLost, P::kRecovering},
      {P::kRunning, E::kCompleted, P::kSucceeded},
      {P::kRunning, E::kFatal, P::kFailed},
      {P::kRunning, E::kPauseDrain, P::kPausing},
      {P::kRunning, E::kCancelStop, P::kCancelling},
      {P::kRecovering, E::kOffered, P::kStarting},
      {P::kRecovering, E::kReattached, P::kStarting},
      {P::kRecovering, E::kNoCapacity, P::kQueued},
      {P::kRecovering, E::kFatal, P::kFailed},
      {P::kRecovering, E::kPauseIdle, P::kPaused},
      {P::kRecovering, E::kCancelIdle, P::kCancelled},
      {P::kPausing, E::kStopped, P::kPaused},
      {P::kPausing, E::kLost, P::kPaused},
      {P::kPausing, E::kCompleted, P::kSucceeded},
      {P::kPausing, E::kFatal, P::kFailed},
      {P::kPausing, E::kCancelStop, P::kCancelling},
      {P::kPaused, E::kResume, P::kQueued},
      {P::kPaused, E::kFatal, P::kFailed},
      {P::kPaused, E::kCancelIdle, P::kCancelled},
      {P::kCancelling, E::kStopped, P::kCancelled},
      {P::kCancelling, E::kLost, P::kCancelled},
      {P::kCancelling, E::kFatal, P::kCancelled},
      {P::kCancelling, E::kCompleted, P::kCancelled},
  };
  std::set<std::tuple<P, E, P>> found;
  for (const Word<P>& phase : word_table(P{})) {
    for (int event = 0; event < kJobEvents; ++event) {
      const auto step = next(phase.value, static_cast<E>(event));
      if (step) found.emplace(phase.value, static_cast<E>(event), step->to);
    }
  }
  EXPECT_EQ(found, expected);
  EXPECT_EQ(job_steps().size(), expected.size());
}

TEST(JobMachine, TerminalPhasesHaveNoWayOut) {
  for (const P phase : {P::kSucceeded, P::kFailed, P::kCancelled}) {
    EXPECT_TRUE(is_terminal(phase));
    for (int event = 0; event < kJobEvents; ++event) {
      EXPECT_FALSE(next(phase, static_cast<E>(event)));
    }
  }
}

TEST(JobMachine, EveryTransitionIsLegalInTheWordsOfUsers) {
  for (const JobStep& step : job_steps()) {
    for (const bool first : {true, false}) {
      // A job that ran is interrupted first; one that is queued again has no open recovery.
      const bool now_first = step.to == P::kQueued || step.to == P::kPaused || first;
      if (step.from == P::kQueued && !first) continue;
      if (step.from == P::kRecovering && first && step.to == P::kStarting) continue;
      const JobState from = user_state(step.from, first, false);
      const bool interrupted = step.from == P::kRunning && step.to == P::kRecovering;
      const JobState to = user_state(step.to, now_first, interrupted);
      EXPECT_TRUE(from == to || is_legal(from, to))
          << to_word(step.from) << " -> " << to_word(step.to) << ": " << to_word(from) << " -> "
          << to_word(to);
    }
  }
}

TEST(AttemptMachine, ReportsMayOnlyGoForward) {
  const FenceSet fences;
  const UnixMillis now{5000};
  for (int known = 0; known < static_cast<int>(AttemptState::kEnded); ++known) {
    for (int told = 0; told < static_cast<int>(AttemptState::kEnded); ++told) {
      AttemptRow row;
      row.state = static_cast<AttemptState>(known);
      AttemptReport report;
      report.state = static_cast<AttemptState>(told);
      const AttemptStep step = apply_report(row, report, 0, now, fences);
      EXPECT_EQ(static_cast<int>(step.row.state), std::max(known, told));
      EXPECT_EQ(step.changed, told > known);
      if (told > known) {
        EXPECT_EQ(step.entered.back(), report.state);
      }
    }
  }
}

TEST(AttemptMachine, EndsOnceAndKeepsLateReportsAsEvidence) {
  const FenceSet fences;
  AttemptRow row;
  row.state = AttemptState::kRunning;
  AttemptReport report;
  report.state = AttemptState::kEnded;
  report.exit = AttemptExit{};
  report.exit->cause = EndCause::kHang;
  const AttemptStep first = apply_report(row, report, 0, UnixMillis{7}, fences);
  EXPECT_TRUE(first.ended);
  EXPECT_EQ(first.row.cause, EndCause::kHang);
  EXPECT_EQ(first.row.ended_at, UnixMillis{7});
  const AttemptStep again = apply_report(first.row, report, 0, UnixMillis{9}, fences);
  EXPECT_FALSE(again.ended);
  EXPECT_EQ(again.row, first.row);
  AttemptRow lost = end_attempt(row, EndCause::kNodeLost, "gone", UnixMillis{8});
  const AttemptStep late = apply_report(lost, report, 0, UnixMillis{9}, fences);
  EXPECT_FALSE(late.ended);
  EXPECT_EQ(late.row.cause, EndCause::kNodeLost);
  EXPECT_EQ(late.row.exit, report.exit);
  EXPECT_EQ(end_attempt(lost, EndCause::kUnknown, "", UnixMillis{10}), lost);
}

TEST(AttemptMachine, TellsTheFirstStepThatNobodyHadDone) {
  const FenceSet fences;
  AttemptRow row;
  row.state = AttemptState::kLoading;
  row.resume.step = 10;
  row.step = 10;
  AttemptReport report;
  report.state = AttemptState::kRunning;
  report.resumed_from_step = 10;
  report.step = 10;
  AttemptStep step = apply_report(row, report, 14, UnixMillis{1}, fences);
  EXPECT_FALSE(step.stepped);
  report.step = 12;
  step = apply_report(step.row, report, 14, UnixMillis{2}, fences);
  EXPECT_TRUE(step.stepped);
  EXPECT_FALSE(step.new_step);
  report.step = 15;
  step = apply_report(step.row, report, 14, UnixMillis{3}, fences);
  EXPECT_TRUE(step.new_step);
  EXPECT_EQ(step.row.first_step_at, UnixMillis{3});
  step = apply_report(step.row, report, 15, UnixMillis{4}, fences);
  EXPECT_FALSE(step.new_step);
}

TEST(NodeMachine, LivenessFollowsSilence) {
  const CoreSettings settings;
  EXPECT_EQ(liveness_after(Millis{0}, settings), Liveness::kLive);
  EXPECT_EQ(liveness_after(settings.suspect_after, settings), Liveness::kLive);
  EXPECT_EQ(liveness_after(settings.suspect_after + Millis{1}, settings), Liveness::kSuspect);
  EXPECT_EQ(liveness_after(settings.contact_ttl, settings), Liveness::kSuspect);
  EXPECT_EQ(liveness_after(settings.contact_ttl + Millis{1}, settings), Liveness::kSilent);
  for (Millis silence{0}; silence < Millis{16000}; silence += Millis{7}) {
    const auto wait = until_next_liveness(silence, settings);
    if (!wait) continue;
    EXPECT_GT(*wait, Millis{0});
    EXPECT_NE(liveness_after(silence + *wait, settings), liveness_after(silence, settings));
    EXPECT_EQ(liveness_after(silence + *wait - Millis{1}, settings),
              liveness_after(silence, settings));
  }
}

TEST(NodeMachine, SchedulableTable) {
  using S = Schedulable;
  using N = NodeEvent;
  const std::map<std::pair<S, N>, S> expected{
      {{S::kPreflight, N::kPreflightPassed}, S::kReady},
      {{S::kPreflight, N::kPreflightFailed}, S::kQuarantined},
      {{S::kPreflight, N::kDrain}, S::kDraining},
      {{S::kPreflight, N::kFault}, S::kQuarantined},
      {{S::kPreflight, N::kRetire}, S::kRetired},
      {{S::kReady, N::kPreflightFailed}, S::kQuarantined},
      {{S::kReady, N::kDrain}, S::kDraining},
      {{S::kReady, N::kFault}, S::kQuarantined},
      {{S::kReady, N::kNewProcess}, S::kPreflight},
      {{S::kReady, N::kRetire}, S::kRetired},
      {{S::kDraining, N::kUndrain}, S::kPreflight},
      {{S::kDraining, N::kFault}, S::kQuarantined},
      {{S::kDraining, N::kRetire}, S::kRetired},
      {{S::kQuarantined, N::kUndrain}, S::kPreflight},
      {{S::kQuarantined, N::kDrain}, S::kDraining},
      {{S::kQuarantined, N::kRetire}, S::kRetired},
  };
  std::map<std::pair<S, N>, S> found;
  for (const Word<S>& state : word_table(S{})) {
    for (int event = 0; event < kNodeEvents; ++event) {
      const auto to = next(state.value, static_cast<N>(event));
      if (to) found[{state.value, static_cast<N>(event)}] = *to;
    }
  }
  EXPECT_EQ(found, expected);
}

TEST(NodeMachine, ProviderTable) {
  using S = ProviderState;
  using V = ProviderEvent;
  const auto goes = [](S state, V event) { return next(state, event); };
  EXPECT_EQ(goes(S::kIntent, V::kSent), S::kRequested);
  EXPECT_EQ(goes(S::kRequested, V::kAnsweredUnclear), S::kAmbiguous);
  EXPECT_EQ(goes(S::kRequested, V::kAnsweredCreated), S::kCreated);
  EXPECT_EQ(goes(S::kAmbiguous, V::kAnsweredCreated), S::kCreated);
  EXPECT_EQ(goes(S::kRequested, V::kRefused), S::kFailed);
  EXPECT_EQ(goes(S::kCreated, V::kJoined), S::kUp);
  EXPECT_EQ(goes(S::kBooting, V::kJoined), S::kUp);
  EXPECT_EQ(goes(S::kUp, V::kRelease), S::kReleasing);
  EXPECT_EQ(goes(S::kReleasing, V::kProvedGone), S::kGone);
  EXPECT_EQ(goes(S::kUp, V::kProvedGone), S::kGone);
  for (int event = 0; event < kProviderEvents; ++event) {
    EXPECT_FALSE(goes(S::kGone, static_cast<V>(event)));
    // I7: only a proof leads to gone.
    for (const Word<S>& state : word_table(S{})) {
      if (goes(state.value, static_cast<V>(event)) == S::kGone) {
        EXPECT_EQ(static_cast<V>(event), V::kProvedGone);
      }
    }
  }
}

TEST(NodeMachine, BreakerAllowsOneOrAFifth) {
  EXPECT_TRUE(breaker_allows(0, 1));
  EXPECT_FALSE(breaker_allows(1, 1));
  EXPECT_FALSE(breaker_allows(1, 9));
  EXPECT_TRUE(breaker_allows(1, 10));
  EXPECT_FALSE(breaker_allows(2, 10));
}

TEST(IntentMachine, Table) {
  using S = IntentState;
  using V = IntentEvent;
  const std::map<std::pair<S, V>, S> expected{
      {{S::kPlanned, V::kSent}, S::kSent},
      {{S::kPlanned, V::kCreated}, S::kCreated},
      {{S::kPlanned, V::kRefused}, S::kRefused},
      {{S::kPlanned, V::kUnclear}, S::kAmbiguous},
      {{S::kPlanned, V::kJoined}, S::kDone},
      {{S::kPlanned, V::kProvedGone}, S::kDone},
      {{S::kSent, V::kCreated}, S::kCreated},
      {{S::kSent, V::kRefused}, S::kRefused},
      {{S::kSent, V::kUnclear}, S::kAmbiguous},
      {{S::kSent, V::kJoined}, S::kDone},
      {{S::kSent, V::kProvedGone}, S::kDone},
      {{S::kCreated, V::kJoined}, S::kDone},
      {{S::kCreated, V::kProvedGone}, S::kDone},
      {{S::kAmbiguous, V::kCreated}, S::kCreated},
      {{S::kAmbiguous, V::kRefused}, S::kRefused},
      {{S::kAmbiguous, V::kAbsent}, S::kAbsentConfirmed},
      {{S::kAmbiguous, V::kJoined}, S::kDone},
      {{S::kAmbiguous, V::kProvedGone}, S::kDone},
  };
  std::map<std::pair<S, V>, S> found;
  for (const Word<S>& state : word_table(S{})) {
    for (int event = 0; event < kIntentEvents; ++event) {
      const auto to = next(state.value, static_cast<V>(event));
      if (to) found[{state.value, static_cast<V>(event)}] = *to;
    }
  }
  EXPECT_EQ(found, expected);
  EXPECT_EQ(event_of_answer(S::kAbsentConfirmed), V::kAbsent);
  EXPECT_FALSE(event_of_answer(S::kDone));
}

TEST(CheckpointMachine, Table) {
  using S = CheckpointState;
  using V = CheckpointEvent;
  EXPECT_EQ(next(S::kSealed, V::kUpload), S::kUploaded);
  EXPECT_EQ(next(S::kUploaded, V::kCommit), S::kCommitted);
  EXPECT_EQ(next(S::kUploaded, V::kOrphaned), S::kOrphan);
  EXPECT_EQ(next(S::kOrphan, V::kAdopt), S::kAdopted);
  EXPECT_EQ(next(S::kOrphan, V::kDiscard), S::kDiscarded);
  EXPECT_EQ(next(S::kCommitted, V::kRetire), S::kRetired);
  EXPECT_FALSE(next(S::kSealed, V::kCommit));
  EXPECT_FALSE(next(S::kCommitted, V::kDiscard));
  EXPECT_FALSE(next(S::kOrphan, V::kCommit));
  EXPECT_FALSE(next(S::kRetired, V::kRetire));
}

SealedCheckpoint sealed(std::int64_t step, const std::string& hash,
                        const std::string& parent = "") {
  return {.step = step,
          .manifest_sha256 = hash,
          .parent_manifest_sha256 = parent,
          .size = Bytes(1),
          .artifact_id = "a-" + hash};
}

CheckpointRow row_of(std::int64_t epoch, const SealedCheckpoint& from, CheckpointState state) {
  CheckpointRow row;
  row.epoch = epoch;
  row.step = from.step;
  row.manifest_sha256 = from.manifest_sha256;
  row.parent_manifest_sha256 = from.parent_manifest_sha256;
  row.artifact_id = from.artifact_id;
  row.state = state;
  return row;
}

TEST(CheckpointMachine, HeadMovesByCompareAndSet) {
  const FenceSet fences;
  const Head head{10, "h10", "a-h10"};
  const std::vector<CheckpointRow> known{row_of(3, sealed(10, "h10"), CheckpointState::kCommitted)};
  const auto decide = [&](std::int64_t epoch, const SealedCheckpoint& one) {
    return decide_publish({epoch, 3, one}, head, known, fences);
  };
  EXPECT_EQ(decide(3, sealed(20, "h20")).verdict, PublishVerdict::kCommitted);
  EXPECT_TRUE(decide(3, sealed(20, "h20")).moves_head);
  EXPECT_EQ(decide(3, sealed(10, "h10")).verdict, PublishVerdict::kCommitted);  // again
  EXPECT_FALSE(decide(3, sealed(10, "h10")).moves_head);
  EXPECT_TRUE(decide(3, sealed(10, "other")).conflict);
  EXPECT_EQ(decide(3, sealed(10, "other")).verdict, PublishVerdict::kRejected);
  EXPECT_EQ(decide(3, sealed(9, "h9")).verdict, PublishVerdict::kRejected);
  EXPECT_EQ(decide(2, sealed(20, "z20")).verdict, PublishVerdict::kOrphan);
  EXPECT_FALSE(decide(2, sealed(20, "z20")).moves_head);
  SealedCheckpoint local = sealed(20, "h20");
  local.artifact_id.clear();
  EXPECT_FALSE(decide(3, local).final);
}

TEST(CheckpointMachine, OrphansAreAdoptedOnlyWhenNewerAndChained) {
  const FenceSet fences;
  const Head head{10, "h10", "a"};
  std::vector<CheckpointRow> known{row_of(1, sealed(20, "z20", "h10"), CheckpointState::kOrphan),
                                   row_of(1, sealed(30, "z30", "z20"), CheckpointState::kOrphan),
                                   row_of(1, sealed(40, "z40", "nobody"), CheckpointState::kOrphan),
                                   row_of(1, sealed(5, "z5", "h10"), CheckpointState::kOrphan)};
  EXPECT_EQ(adoptable(known, head, fences), 1u);
  EXPECT_FALSE(adoptable(known, Head{30, "x", "a"}, fences));
  known[0].state = CheckpointState::kDiscarded;
  EXPECT_FALSE(adoptable(known, head, fences));
  FenceSet no_chain;
  no_chain.disable(ControlCore::Fence::kAdoptionChain);
  EXPECT_EQ(adoptable(known, head, no_chain), 2u);
}

TEST(Leases, TheGrantorWaitsLongerThanTheHolder) {
  const CoreSettings settings;
  const Millis ttl = settings.authority_ttl;
  EXPECT_EQ(lease_end(Millis{500}, ttl, settings), Millis{500} + ttl + Millis{3000 + 1000});
}

TEST(HangWatch, LearnsFromStepTimes) {
  const CoreSettings settings;
  HangWatch watch;
  EXPECT_EQ(watch.limit(settings), settings.first_step_allowance);
  Millis now{0};
  watch.observe(0, Millis{0}, now);
  for (int step = 1; step <= 200; ++step) {
    now += Millis{40000};
    watch.observe(step, Millis{0}, now);
  }
  EXPECT_EQ(watch.p99(), Millis{40000});
  EXPECT_EQ(watch.limit(settings), Millis{200000});
  HangWatch quick;
  quick.observe(0, Millis{0}, Millis{0});
  quick.observe(100, Millis{500}, Millis{10500});
  EXPECT_EQ(quick.p99(), Millis{100});
  EXPECT_EQ(quick.limit(settings), settings.hang_floor);
}

TEST(RecoveryStages, GoInOrderAndKeepTheirTimes) {
  InterruptionRow row;
  row.stages[0] = {.state = StageState::kDone, .began = UnixMillis{0}, .ended = UnixMillis{100}};
  EXPECT_TRUE(begin_stage(row, RecoveryStage::kProvisioning, UnixMillis{100}));
  EXPECT_FALSE(begin_stage(row, RecoveryStage::kProvisioning, UnixMillis{150}));
  EXPECT_TRUE(begin_stage(row, RecoveryStage::kResuming, UnixMillis{300}));
  EXPECT_EQ(row.stages[1].ended, UnixMillis{300});
  EXPECT_EQ(row.stages[2].state, StageState::kDone);
  EXPECT_EQ(stage_seconds(row, RecoveryStage::kProvisioning), 0.2);
  restart_stages(row, UnixMillis{400});
  EXPECT_EQ(row.stages[1].state, StageState::kPending);
  fail_provisioning(row, UnixMillis{500});
  EXPECT_EQ(row.stages[1].state, StageState::kFailed);
  EXPECT_TRUE(begin_stage(row, RecoveryStage::kProvisioning, UnixMillis{600}));
  close_interruption(row, UnixMillis{900});
  EXPECT_FALSE(is_open(row));
  for (const StageRow& stage : row.stages) EXPECT_EQ(stage.state, StageState::kDone);
}

TEST(Timers, ComeInOrderAndCanBeMoved) {
  Timers timers;
  timers.arm(TimerKind::kOffer, "b", Millis{20});
  timers.arm(TimerKind::kOffer, "a", Millis{10});
  timers.arm(TimerKind::kOffer, "b", Millis{5});
  EXPECT_EQ(timers.next(), Millis{5});
  EXPECT_FALSE(timers.pop(Millis{4}));
  EXPECT_EQ(timers.pop(Millis{30})->second, "b");
  EXPECT_FALSE(timers.armed(TimerKind::kOffer, "b"));
  timers.disarm(TimerKind::kOffer, "a");
  EXPECT_FALSE(timers.pop(Millis{30}));
  EXPECT_FALSE(timers.next());
}

}  // namespace
}  // namespace ratchet::control
