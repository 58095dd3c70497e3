// ShareGPT rows: {"conversations": [{"from", "value"}], "system", "tools"}.

#include <array>

#include "trainer/data/row_decoders.h"
#include "trainer/data/tool_calls.h"
#include "trainer/model/file_io.h"

namespace ratchet::trainer {
namespace {

constexpr std::string_view kList = "conversations";

struct Speaker {
  std::string_view word;
  Role role;
  std::string_view written;
};

constexpr std::array kSpeakers = {
    Speaker{"human", Role::kUser, "user"},
    Speaker{"gpt", Role::kAssistant, "assistant"},
    Speaker{"user", Role::kUser, "user"},
    Speaker{"assistant", Role::kAssistant, "assistant"},
    Speaker{"system", Role::kSystem, "system"},
    Speaker{"function_call", Role::kAssistant, "assistant"},
    Speaker{"observation", Role::kTool, "tool"},
    Speaker{"tool", Role::kTool, "tool"},
};

const Speaker* find_speaker(std::string_view word) {
  for (const Speaker& speaker : kSpeakers) {
    if (speaker.word == word) return &speaker;
  }
  return nullptr;
}

class TurnDecoder {
 public:
  TurnDecoder(RowContext& context, const JsonNode& node, std::size_t index)
      : context_(context), tree_(context.tree), node_(node), index_(index) {}

  void decode(bool want_json, DecodedTurns& out) {
    if (node_.type != JsonType::kObject) {
      context_.report(
          Rule::kWrongType, [&] { return place(); },
          [] { return std::string("The turn is not an object."); }, &node_);
      return;
    }
    Turn turn;
    const Speaker* speaker = decode_speaker();
    const JsonNode* value = required_value();
    if (speaker != nullptr) turn.role = speaker->role;
    turn.learned = turn.role == Role::kAssistant;
    if (speaker != nullptr && value != nullptr) {
      turn.has_text = !tree_.text(*value).empty();
      if (speaker->word == "function_call") {
        turn.has_calls = true;
        turn.call_ids.emplace_back();
        append_call(*value, want_json ? &out : nullptr);
      } else if (want_json) {
        append_message(speaker->written, tree_.text(*value), out.json);
      }
    }
    out.turns.push_back(std::move(turn));
  }

 private:
  std::string place() const { return cat(kList, "[", index_, "]"); }

  const Speaker* decode_speaker() {
    const JsonNode* from = find_present(tree_, node_, "from");
    if (from == nullptr) {
      context_.report(
          Rule::kMissingField, [&] { return place() + ".from"; },
          [] { return std::string("The turn does not say who it is from."); });
      return nullptr;
    }
    const Speaker* speaker =
        from->type == JsonType::kString ? find_speaker(tree_.text(*from)) : nullptr;
    if (speaker == nullptr) {
      context_.report(
          from->type == JsonType::kString ? Rule::kUnknownRole : Rule::kWrongType,
          [&] { return place() + ".from"; },
          [] {
            return std::string(
                "'from' is none of human, user, gpt, assistant, system, function_call, "
                "observation, tool.");
          },
          from);
    }
    return speaker;
  }

  const JsonNode* required_value() {
    const JsonNode* value = find_present(tree_, node_, "value");
    const bool text = value != nullptr && value->type == JsonType::kString;
    if (!text) {
      context_.report(
          value == nullptr ? Rule::kMissingField : Rule::kWrongType,
          [&] { return place() + ".value"; },
          [] { return std::string("The turn has no text 'value'."); }, value);
      return nullptr;
    }
    if (tree_.text(*value).empty()) {
      context_.report(
          Rule::kEmptyContent, [&] { return place() + ".value"; },
          [] { return std::string("The turn is empty."); });
    }
    return value;
  }

  void append_call(const JsonNode& value, DecodedTurns* out) {
    const std::string function = decode_function_text(context_, value, place() + ".value");
    if (out == nullptr) return;
    if (!out->json.empty()) out->json += ',';
    out->json +=
        R"({"role":"assistant","content":null,"tool_calls":[{"type":"function","function":)";
    out->json += function + "}]}";
  }

  RowContext& context_;
  const JsonTree& tree_;
  const JsonNode& node_;
  std::size_t index_;
};

// The text of the row's own system turn; "" when it has none.
std::string_view decode_system(RowContext& context) {
  const JsonNode* system = find_present(context.tree, context.tree.root(), "system");
  if (system == nullptr) return {};
  if (system->type != JsonType::kString) {
    context.report(
        Rule::kWrongType, [] { return std::string("system"); },
        [] { return std::string("The system text is not a string."); }, system);
    return {};
  }
  return context.tree.text(*system);
}

}  // namespace

std::uint32_t decode_sharegpt(RowContext& context, std::vector<Row>* rows) {
  const JsonNode* list = required_list(context, kList);
  const bool want_json = rows != nullptr;
  std::string tools = decode_tools(context, want_json);
  const std::string_view system = decode_system(context);
  if (list == nullptr) return 0;
  DecodedTurns decoded;
  decoded.turns.reserve(list->children);
  if (!system.empty() && want_json) append_message("system", system, decoded.json);
  std::size_t index = 0;
  for (const JsonNode* node = context.tree.first(*list); node != nullptr;
       node = context.tree.next(*node)) {
    TurnDecoder(context, *node, index++).decode(want_json, decoded);
  }
  check_turns(context, decoded.turns, kList);
  if (want_json && context.good()) {
    rows->push_back(chat_row(context, decoded, std::move(tools)));
  }
  return 1;
}

}  // namespace ratchet::trainer
