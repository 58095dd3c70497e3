#pragma once

// The turns of a conversation, whatever format they came in: their roles, what is learned, tool
// calls and results. check_turns() holds the rules about their order.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/data/row_context.h"

namespace ratchet::trainer {

enum class Role { kSystem, kUser, kAssistant, kTool, kUnknown };

struct Turn {
  Role role = Role::kUnknown;
  bool learned = false;   // assistant turn of weight 1
  bool has_text = false;  // content that is not empty
  bool has_calls = false;
  std::vector<std::string_view> call_ids;  // of its tool calls; "" for a call without id
  std::string_view result_id;              // tool turn: the call it answers, "" when it says none
};

// Reports faults of order and of what is there to be learned. `list` names the member that holds
// the turns ("messages").
void check_turns(RowContext& context, const std::vector<Turn>& turns, std::string_view list);

}  // namespace ratchet::trainer
