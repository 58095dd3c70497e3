#include "agent/core/failure_classifier.h"

#include <algorithm>
#include <array>

namespace ratchet::agent {

namespace {

constexpr int kSigKill = 9;

constexpr std::array<std::int64_t, 9> kReplaceNode{48, 74, 79, 144, 145, 146, 147, 148, 149};
constexpr std::array<std::int64_t, 14> kResetGpu{46,  62,  64,  95,  109, 110, 119,
                                                 120, 136, 140, 143, 155, 156, 158};
// 45 follows another Xid; 154 only says that the wished recovery action changed.
constexpr std::array<std::int64_t, 21> kIgnored{
    37, 38, 43, 44, 45, 63, 66, 67, 92, 93, 106, 107, 121, 137, 141, 152, 153, 154, 157, 160, 161};

bool within(std::span<const std::int64_t> codes, std::int64_t xid) {
  return std::ranges::find(codes, xid) != codes.end();
}

// The last serious Xid; the first is often the program's own, the last what the device came to.
std::optional<std::int64_t> telling_xid(const std::vector<std::int64_t>& xids) {
  std::optional<std::int64_t> found;
  for (const std::int64_t xid : xids) {
    if (xid_class(xid) == XidClass::kIgnored) continue;
    if (!found || xid_class(xid) >= xid_class(*found)) found = xid;
  }
  return found;
}

std::string_view words(XidClass kind) {
  switch (kind) {
    case XidClass::kIgnored:
      return "ignored";
    case XidClass::kRestartApp:
      return "restart_app";
    case XidClass::kResetGpu:
      return "reset_gpu";
    case XidClass::kReplaceNode:
      return "replace_node";
  }
  return "ignored";
}

std::string at_step(const EndContext& context) {
  std::string text = " at step " + std::to_string(context.step);
  if (!context.stage.empty()) text += " (" + context.stage + ")";
  return text;
}

std::string how_it_left(const ExitFacts& facts) {
  if (facts.signal) return "It was ended by signal " + std::to_string(*facts.signal) + ".";
  if (facts.exit_code) return "Its exit code was " + std::to_string(*facts.exit_code) + ".";
  return "How its process ended is not known, because the agent had been restarted meanwhile.";
}

ExitKind kind_of(EndCause cause) {
  switch (cause) {
    case EndCause::kCancelled:
    case EndCause::kSuperseded:
    case EndCause::kPreempted:
      return ExitKind::kPreempted;
    case EndCause::kGpuFault:
      return ExitKind::kGpuFault;
    default:
      return ExitKind::kInternal;
  }
}

class Classifier {
 public:
  Classifier(const ExitFacts& facts, const EndContext& context)
      : facts_(facts), context_(context) {}

  Verdict run() {
    if (context_.unwanted && context_.ordered) return told_to_leave();
    if (recorded(ExitKind::kCompleted)) return own(EndCause::kCompleted);
    if (context_.ordered && !ordered(EndCause::kHang)) return told_to_leave();
    if (context_.notice == NoticeKind::kReclaim) {
      return made(EndCause::kPreempted, "The node was reclaimed by its provider.");
    }
    return by_evidence();
  }

 private:
  bool ordered(EndCause cause) const { return context_.ordered == cause; }
  bool recorded(ExitKind kind) const { return facts_.record && facts_.record->kind == kind; }

  Verdict told_to_leave() const {
    switch (*context_.ordered) {
      case EndCause::kSuperseded:
        return made(EndCause::kSuperseded,
                    "The attempt was stopped because a newer one owns the job.");
      case EndCause::kCancelled:
        return made(EndCause::kCancelled, "The attempt was stopped at the user's wish.");
      default:
        return made(*context_.ordered, "The attempt was told to leave the node.");
    }
  }

  Verdict by_evidence() {
    if (facts_.record && !recorded(ExitKind::kInternal) &&
        !(recorded(ExitKind::kPreempted) && ordered(EndCause::kHang))) {
      return own(cause_of(facts_.record->kind));
    }
    if (const auto xid = telling_xid(facts_.xids)) {
      Verdict verdict =
          made(EndCause::kGpuFault, "The kernel log has GPU error Xid " + std::to_string(*xid) +
                                        " while the trainer ran" + at_step(context_) + ".");
      verdict.record.evidence["xid"] = *xid;
      verdict.record.evidence["xid_class"] = std::string(words(xid_class(*xid)));
      return verdict;
    }
    if (facts_.oom_kills > 0 || facts_.kernel_oom_line) {
      Verdict verdict = made(EndCause::kOomHost,
                             "The kernel killed the trainer because the node's memory ran "
                             "out" +
                                 at_step(context_) + ".");
      verdict.record.evidence["oom_kills"] = facts_.oom_kills;
      return verdict;
    }
    if (ordered(EndCause::kHang)) {
      return made(EndCause::kHang,
                  "The trainer gave no sign of life and was killed" + at_step(context_) + ".");
    }
    if (facts_.record) return own(EndCause::kInternal);
    return unexplained();
  }

  Verdict unexplained() {
    std::string message =
        "The trainer ended without saying why" + at_step(context_) + ". " + how_it_left(facts_);
    if (facts_.signal == kSigKill && !context_.killed) {
      message += " Nobody here sent it; neither the kernel log nor the memory counters explain it.";
    }
    if (!facts_.last_words.empty()) message += " It last wrote: " + facts_.last_words;
    return made(EndCause::kUnknown, std::move(message));
  }

  // The trainer's record, as it stands.
  Verdict own(EndCause cause) const { return Verdict{cause, *facts_.record}; }

  // A verdict of ours; what the trainer recorded stays in it as evidence.
  Verdict made(EndCause cause, std::string message) const {
    Verdict verdict;
    verdict.cause = cause;
    if (facts_.record) {
      verdict.record = *facts_.record;
      verdict.record.evidence["trainer_said"] = std::string(to_word(facts_.record->kind));
    } else {
      verdict.record.step = context_.step;
      verdict.record.stage = context_.stage;
    }
    verdict.record.kind = kind_of(cause);
    verdict.record.message = std::move(message);
    if (facts_.exit_code) {
      verdict.record.evidence["exit_code"] = static_cast<std::int64_t>(*facts_.exit_code);
    }
    if (facts_.signal) {
      verdict.record.evidence["signal"] = static_cast<std::int64_t>(*facts_.signal);
    }
    if (context_.killed) verdict.record.evidence["killed_by_agent"] = true;
    return verdict;
  }

  const ExitFacts& facts_;
  const EndContext& context_;
};

}  // namespace

XidClass xid_class(std::int64_t xid) {
  if (within(kReplaceNode, xid) || xid == 150 || xid == 151) return XidClass::kReplaceNode;
  if (within(kResetGpu, xid)) return XidClass::kResetGpu;
  if (within(kIgnored, xid)) return XidClass::kIgnored;
  return XidClass::kRestartApp;
}

Verdict classify(const ExitFacts& facts, const EndContext& context) {
  return Classifier(facts, context).run();
}

}  // namespace ratchet::agent
