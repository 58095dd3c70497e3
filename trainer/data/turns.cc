#include "trainer/data/turns.h"

#include <algorithm>

#include "trainer/model/file_io.h"

namespace ratchet::trainer {
namespace {

void check_learned(RowContext& context, const std::vector<Turn>& turns, std::string_view list) {
  const auto path = [&] { return std::string(list); };
  bool assistant = false;
  bool learned = false;
  bool learned_text = false;
  for (const Turn& turn : turns) {
    if (turn.role != Role::kAssistant) continue;
    assistant = true;
    learned = learned || turn.learned;
    learned_text = learned_text || (turn.learned && (turn.has_text || turn.has_calls));
  }
  if (!assistant) {
    context.report(Rule::kNoAssistantTurn, path, [] {
      return std::string("The row has no assistant turn, so there is nothing to learn from it.");
    });
  } else if (!learned) {
    context.report(Rule::kAllWeightsZero, path, [] {
      return std::string("Every assistant turn has weight 0, so there is nothing to learn.");
    });
  } else if (!learned_text) {
    context.report(Rule::kNoTextToTrain, path, [] {
      return std::string("Every assistant turn that is to be learned is empty.");
    });
  }
}

void check_order(RowContext& context, const std::vector<Turn>& turns, std::string_view list) {
  const auto path = [&](std::size_t i) { return [&list, i] { return cat(list, "[", i, "]"); }; };
  bool user_seen = false;
  bool assistant_seen = false;
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const Role role = turns[i].role;
    const Role before = i == 0 ? Role::kUnknown : turns[i - 1].role;
    if (role == Role::kUser && before == Role::kUser) {
      context.report(Rule::kConsecutiveUsers, path(i),
                     [] { return std::string("Two user turns follow each other."); });
    }
    if (role == Role::kAssistant && before == Role::kAssistant && !turns[i - 1].has_calls) {
      context.report(Rule::kConsecutiveAssistants, path(i),
                     [] { return std::string("Two assistant turns follow each other."); });
    }
    if (role == Role::kSystem && i > 0) {
      context.report(Rule::kSystemNotFirst, path(i),
                     [] { return std::string("A system turn stands behind other turns."); });
    }
    if (role == Role::kAssistant && !user_seen && !assistant_seen) {
      context.report(Rule::kAssistantFirst, path(i), [] {
        return std::string("The first assistant turn comes before any user turn.");
      });
    }
    user_seen = user_seen || role == Role::kUser;
    assistant_seen = assistant_seen || role == Role::kAssistant;
  }
  if (assistant_seen && turns.back().role != Role::kAssistant) {
    context.report(Rule::kEndsWithoutReply, path(turns.size() - 1), [] {
      return std::string("The last turn has no reply; what follows the last reply is not learned.");
    });
  }
}

class CallMatcher {
 public:
  CallMatcher(RowContext& context, std::string_view list) : context_(context), list_(list) {}

  void take(const Turn& turn, std::size_t index) {
    if (turn.role == Role::kTool) {
      take_result(turn, index);
      return;
    }
    report_open();
    open_ = turn.call_ids;
    calls_at_ = index;
  }

 private:
  void take_result(const Turn& turn, std::size_t index) {
    auto call = open_.begin();
    if (!turn.result_id.empty()) call = std::find(open_.begin(), open_.end(), turn.result_id);
    if (call != open_.end()) {
      open_.erase(call);
      return;
    }
    context_.report(
        Rule::kToolResultWithoutCall, [&] { return cat(list_, "[", index, "]"); },
        [&] {
          if (turn.result_id.empty()) return std::string("A tool turn answers no tool call.");
          return cat("The tool turn answers the call '", shorten_value(turn.result_id),
                     "', which the turn before it does not make.");
        });
  }

  void report_open() {
    for (const std::string_view id : open_) {
      context_.report(
          Rule::kToolCallWithoutResult, [&] { return cat(list_, "[", calls_at_, "].tool_calls"); },
          [&] {
            return cat("The tool call '", shorten_value(id), "' has no tool turn with its result.");
          });
    }
    open_.clear();
  }

  RowContext& context_;
  std::string_view list_;
  std::vector<std::string_view> open_;
  std::size_t calls_at_ = 0;
};

}  // namespace

void check_turns(RowContext& context, const std::vector<Turn>& turns, std::string_view list) {
  if (turns.empty()) return;
  check_learned(context, turns, list);
  check_order(context, turns, list);
  CallMatcher matcher(context, list);
  for (std::size_t i = 0; i < turns.size(); ++i) matcher.take(turns[i], i);
}

}  // namespace ratchet::trainer
