#include "agent/core/failure_classifier.h"

#include <gtest/gtest.h>

namespace ratchet::agent {
namespace {

ExitRecord record(ExitKind kind) {
  ExitRecord out;
  out.kind = kind;
  out.message = "The trainer's own words.";
  return out;
}

// Everything at once; the table's order decides.
struct Evidence {
  ExitFacts facts;
  EndContext context;
  EndCause cause() const { return classify(facts, context).cause; }
};

TEST(FailureClassifierTest, FirstHitWins) {
  Evidence e;
  e.facts.signal = 9;
  e.facts.oom_kills = 1;
  e.facts.xids = {79};
  e.facts.record = record(ExitKind::kOomGpu);
  e.context.notice = NoticeKind::kReclaim;
  e.context.ordered = EndCause::kCancelled;
  EXPECT_EQ(e.cause(), EndCause::kCancelled);
  e.context.ordered = EndCause::kSuperseded;
  EXPECT_EQ(e.cause(), EndCause::kSuperseded);
  e.context.ordered = EndCause::kPreempted;
  EXPECT_EQ(e.cause(), EndCause::kPreempted);
  e.context.ordered.reset();
  EXPECT_EQ(e.cause(), EndCause::kPreempted) << "the notice";
  e.context.notice = NoticeKind::kRebalance;
  EXPECT_EQ(e.cause(), EndCause::kOomGpu) << "only a reclaim takes the node";
  e.facts.record.reset();
  EXPECT_EQ(e.cause(), EndCause::kGpuFault);
  e.facts.xids = {45, 154, 43};
  EXPECT_EQ(e.cause(), EndCause::kOomHost) << "these Xids say nothing by themselves";
  e.facts.oom_kills = 0;
  e.context.ordered = EndCause::kHang;
  EXPECT_EQ(e.cause(), EndCause::kHang);
  e.context.ordered.reset();
  EXPECT_EQ(e.cause(), EndCause::kUnknown);
}

TEST(FailureClassifierTest, AFinishedJobIsFinishedUnlessItIsNotWanted) {
  Evidence e;
  e.facts.record = record(ExitKind::kCompleted);
  e.context.ordered = EndCause::kPreempted;
  e.context.notice = NoticeKind::kReclaim;
  EXPECT_EQ(e.cause(), EndCause::kCompleted);
  e.context.ordered = EndCause::kSuperseded;
  e.context.unwanted = true;
  EXPECT_EQ(e.cause(), EndCause::kSuperseded);
}

TEST(FailureClassifierTest, EveryRecordHasItsCause) {
  for (const Word<ExitKind>& entry : word_table(ExitKind{})) {
    Evidence e;
    e.facts.record = record(entry.value);
    EXPECT_EQ(to_word(e.cause()), entry.word);
  }
}

TEST(FailureClassifierTest, AnInternalErrorOfABrokenGpuIsTheGpus) {
  Evidence e;
  e.facts.record = record(ExitKind::kInternal);
  EXPECT_EQ(e.cause(), EndCause::kInternal);
  e.facts.xids = {31, 79};
  const Verdict verdict = classify(e.facts, e.context);
  EXPECT_EQ(verdict.cause, EndCause::kGpuFault);
  EXPECT_EQ(verdict.record.evidence.at("xid"), EvidenceValue(std::int64_t{79}));
  EXPECT_EQ(verdict.record.evidence.at("trainer_said"), EvidenceValue(std::string("internal")));
}

TEST(FailureClassifierTest, AHungTrainerThatSavedOnTheStopStillHung) {
  Evidence e;
  e.context.ordered = EndCause::kHang;
  e.facts.record = record(ExitKind::kPreempted);
  EXPECT_EQ(e.cause(), EndCause::kHang);
  e.facts.record = record(ExitKind::kDataError);
  EXPECT_EQ(e.cause(), EndCause::kDataError);
}

TEST(FailureClassifierTest, MessagesSayWhatWasSeen) {
  ExitFacts facts;
  facts.exit_code = 134;
  facts.last_words = "terminate called";
  EndContext context;
  context.step = 12;
  context.stage = "training";
  const Verdict verdict = classify(facts, context);
  EXPECT_NE(verdict.record.message.find("step 12"), std::string::npos);
  EXPECT_NE(verdict.record.message.find("134"), std::string::npos);
  EXPECT_NE(verdict.record.message.find("terminate called"), std::string::npos);
  EXPECT_EQ(verdict.record.step, 12);
}

TEST(FailureClassifierTest, XidsFallIntoTheVendorsClasses) {
  EXPECT_EQ(xid_class(79), XidClass::kReplaceNode);
  EXPECT_EQ(xid_class(48), XidClass::kReplaceNode);
  EXPECT_EQ(xid_class(95), XidClass::kResetGpu);
  EXPECT_EQ(xid_class(94), XidClass::kRestartApp);
  EXPECT_EQ(xid_class(63), XidClass::kIgnored);
}

}  // namespace
}  // namespace ratchet::agent
