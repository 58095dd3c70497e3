// OpenAI chat rows, and the list of messages that prompt/completion rows may hold too.

#include <array>
#include <optional>

#include "trainer/data/row_decoders.h"
#include "trainer/data/tool_calls.h"
#include "trainer/model/file_io.h"

namespace ratchet::trainer {
namespace {

struct RoleName {
  std::string_view word;
  Role role;
  std::string_view written;  // what the template gets
};

constexpr std::array kRoles = {
    RoleName{"user", Role::kUser, "user"},
    RoleName{"assistant", Role::kAssistant, "assistant"},
    RoleName{"system", Role::kSystem, "system"},
    RoleName{"tool", Role::kTool, "tool"},
    RoleName{"developer", Role::kSystem, "system"},
    RoleName{"function", Role::kTool, "tool"},
};

const RoleName* find_role(std::string_view word) {
  for (const RoleName& name : kRoles) {
    if (name.word == word) return &name;
  }
  return nullptr;
}

// Decodes one message. Its path is list[index].
class MessageDecoder {
 public:
  MessageDecoder(RowContext& context, const JsonNode& message, std::string_view list,
                 std::size_t index, const MessageOptions& options)
      : context_(context),
        tree_(context.tree),
        message_(message),
        list_(list),
        index_(index),
        options_(options) {}

  void decode(DecodedTurns& out) {
    if (message_.type != JsonType::kObject) {
      report(Rule::kWrongType, "", "The message is not an object.", &message_);
      if (options_.want_json) {
        if (!out.json.empty()) out.json += ',';
        tree_.write(message_, out.json);
      }
      return;
    }
    const RoleName* role = decode_role();
    const bool assistant = role != nullptr && role->role == Role::kAssistant;
    Turn& turn = out.turns.emplace_back();
    turn.role = role == nullptr ? Role::kUnknown : role->role;
    turn.learned = decode_weight(assistant) && assistant && options_.learn;
    decode_calls(assistant, turn, out);
    decode_content(turn, out);
    decode_result_id(turn);
    if (options_.want_json) write_message(assistant && !turn.learned, out.json);
  }

 private:
  std::string path(std::string_view member) const {
    const std::string place = cat(list_, "[", index_, "]");
    return member.empty() ? place : cat(place, ".", member);
  }

  void report(Rule rule, std::string_view member, std::string_view message,
              const JsonNode* value = nullptr) {
    context_.report(
        rule, [&] { return path(member); }, [&] { return std::string(message); }, value);
  }

  const RoleName* decode_role() {
    const JsonNode* role = find_present(tree_, message_, "role");
    if (role == nullptr) {
      report(Rule::kMissingField, "role", "The message has no role.");
      return nullptr;
    }
    if (role->type != JsonType::kString) {
      report(Rule::kWrongType, "role", "The role is not a string.", role);
      return nullptr;
    }
    const RoleName* name = find_role(tree_.text(*role));
    if (name == nullptr) {
      report(Rule::kUnknownRole, "role",
             "The role is none of system, developer, user, assistant, tool, function.", role);
    }
    return name;
  }

  // False when the message says weight 0.
  bool decode_weight(bool assistant) {
    const JsonNode* weight = find_present(tree_, message_, "weight");
    if (weight == nullptr) return true;
    const std::string_view literal = tree_.text(*weight);
    if (!assistant) {
      report(Rule::kBadWeight, "weight", "A message that is no assistant turn has a weight.",
             weight);
    } else if (weight->type != JsonType::kInteger || (literal != "0" && literal != "1")) {
      report(Rule::kBadWeight, "weight", "The weight is neither 0 nor 1.", weight);
    }
    return literal != "0";
  }

  void decode_calls(bool assistant, Turn& turn, DecodedTurns& out) {
    const JsonNode* calls = find_present(tree_, message_, "tool_calls");
    const JsonNode* call = find_present(tree_, message_, "function_call");
    const JsonNode* either = calls != nullptr ? calls : call;
    if (either == nullptr) return;
    if (!assistant) {
      report(Rule::kBadToolCall, calls != nullptr ? "tool_calls" : "function_call",
             "A message that is no assistant turn makes a tool call.", either);
    } else if (calls == nullptr) {
      turn.call_ids.emplace_back();
      turn.has_calls = true;
      out.has_string_arguments |= decode_function(context_, *call, path("function_call"));
    } else if (calls->type != JsonType::kArray) {
      report(Rule::kWrongType, "tool_calls", "The tool calls are not a list.", calls);
    } else if (calls->children == 0) {
      report(Rule::kEmptyArray, "tool_calls", "The list of tool calls is empty.", calls);
    } else {
      turn.has_calls = true;
      out.has_string_arguments |= decode_tool_calls(context_, *calls, path(""), turn.call_ids);
    }
  }

  void decode_content(Turn& turn, DecodedTurns& out) {
    const JsonNode* content = find_present(tree_, message_, "content");
    if (content == nullptr) {
      if (!turn.has_calls) report(Rule::kMissingField, "content", "The message has no content.");
      return;
    }
    if (content->type == JsonType::kArray) {
      out.has_parts = true;
      turn.has_text = check_parts(*content);
    } else if (content->type == JsonType::kString) {
      turn.has_text = !tree_.text(*content).empty();
    } else {
      report(Rule::kWrongType, "content", "The content is neither a string nor a list of parts.",
             content);
      return;
    }
    if (!turn.has_text && !turn.has_calls) {
      report(Rule::kEmptyContent, "content", "The content is empty.");
    }
  }

  // True when one of the parts holds text, or a fault was reported.
  bool check_parts(const JsonNode& parts) {
    bool has_text = parts.children == 0;
    if (parts.children == 0) {
      report(Rule::kEmptyArray, "content", "The list of content parts is empty.", &parts);
    }
    std::size_t index = 0;
    for (const JsonNode* part = tree_.first(parts); part != nullptr; part = tree_.next(*part)) {
      const std::string place = cat("content[", index++, "]");
      const JsonNode* type = find_present(tree_, *part, "type");
      if (part->type != JsonType::kObject || type == nullptr || type->type != JsonType::kString) {
        report(Rule::kWrongType, place, "The content part is not an object with a type.", part);
        has_text = true;
      } else if (tree_.text(*type) != "text") {
        report(Rule::kUnsupportedPart, place, "The content part is not text.", type);
        has_text = true;
      } else if (const JsonNode* text = find_present(tree_, *part, "text");
                 text != nullptr && text->type == JsonType::kString) {
        has_text = has_text || !tree_.text(*text).empty();
      } else {
        report(Rule::kWrongType, place + ".text", "The text of the part is not a string.", part);
        has_text = true;
      }
    }
    return has_text;
  }

  void decode_result_id(Turn& turn) {
    const JsonNode* id = find_present(tree_, message_, "tool_call_id");
    if (id == nullptr || turn.role != Role::kTool) return;
    if (id->type != JsonType::kString) {
      report(Rule::kWrongType, "tool_call_id", "The tool_call_id is not a string.", id);
      return;
    }
    turn.result_id = tree_.text(*id);
  }

  void write_message(bool left_out, std::string& json) const {
    if (!json.empty()) json += ',';
    json += '{';
    bool first = true;
    const auto write_key = [&](std::string_view key) {
      if (!first) json += ',';
      first = false;
      append_json_string(key, json);
      json += ':';
    };
    const bool has_calls = find_present(tree_, message_, "tool_calls") != nullptr;
    for (const JsonNode* member = tree_.first(message_); member != nullptr;
         member = tree_.next(*member)) {
      const std::string_view key = tree_.key(*member);
      if (key == "weight" || (member->type == JsonType::kNull && key != "content")) continue;
      if (key == "function_call" && !has_calls) {
        write_key("tool_calls");
        json += "[{\"type\":\"function\",\"function\":";
        tree_.write(*member, json);
        json += "}]";
        continue;
      }
      write_key(key);
      const RoleName* role = key == "role" && member->type == JsonType::kString
                                 ? find_role(tree_.text(*member))
                                 : nullptr;
      if (role != nullptr) {
        append_json_string(role->written, json);
      } else {
        tree_.write(*member, json);
      }
    }
    if (left_out) {
      write_key("weight");
      json += '0';
    }
    json += '}';
  }

  RowContext& context_;
  const JsonTree& tree_;
  const JsonNode& message_;
  std::string_view list_;
  std::size_t index_;
  MessageOptions options_;
};

}  // namespace

void decode_messages(RowContext& context, const JsonNode& list, std::string_view path,
                     const MessageOptions& options, DecodedTurns& out) {
  std::size_t index = 0;
  for (const JsonNode* message = context.tree.first(list); message != nullptr;
       message = context.tree.next(*message)) {
    MessageDecoder(context, *message, path, index++, options).decode(out);
  }
}

std::string member_path(std::string_view place, std::string_view key) {
  return place.empty() ? std::string(key) : cat(place, ".", key);
}

const JsonNode* required_list(RowContext& context, std::string_view key) {
  const auto path = [&] { return std::string(key); };
  const JsonNode* list = find_present(context.tree, context.tree.root(), key);
  if (list == nullptr) {
    context.report(Rule::kMissingField, path, [&] { return cat("The row has no ", key, "."); });
    return nullptr;
  }
  if (list->type != JsonType::kArray) {
    context.report(
        Rule::kWrongType, path,
        [&] { return cat("'", key, "' is ", json_type_word(list->type), ", not a list."); }, list);
    return nullptr;
  }
  if (list->children == 0) {
    context.report(
        Rule::kEmptyArray, path, [&] { return cat("The list '", key, "' is empty."); }, list);
    return nullptr;
  }
  return list;
}

const JsonNode* required_text(RowContext& context, const JsonNode& object, std::string_view key,
                              std::string_view place) {
  const auto path = [&] { return member_path(place, key); };
  const JsonNode* text = find_present(context.tree, object, key);
  if (text == nullptr) {
    context.report(Rule::kMissingField, path,
                   [&] { return cat("The field '", key, "' is missing or null."); });
    return nullptr;
  }
  if (text->type != JsonType::kString) {
    context.report(
        Rule::kWrongType, path,
        [&] { return cat("'", key, "' is ", json_type_word(text->type), ", not a string."); },
        text);
    return nullptr;
  }
  return text;
}

std::string decode_tools(RowContext& context, bool want_json) {
  const JsonTree& tree = context.tree;
  const JsonNode* tools = find_present(tree, tree.root(), "tools");
  const JsonNode* functions = find_present(tree, tree.root(), "functions");
  const bool old = tools == nullptr && functions != nullptr;
  const JsonNode* list = old ? functions : tools;
  if (list == nullptr) return {};
  JsonTree inner;
  const JsonTree* holder = &tree;
  const JsonNode* array = list;
  if (list->type == JsonType::kString) {
    if (tree.text(*list).find_first_not_of(" \t\r\n") == std::string_view::npos) return {};
    const bool parsed = inner.parse(tree.text(*list));
    holder = &inner;
    array = parsed ? &inner.root() : nullptr;
  }
  if (array == nullptr || array->type != JsonType::kArray) {
    context.report(
        Rule::kWrongType, [&] { return std::string(old ? "functions" : "tools"); },
        [] {
          return std::string("The tools are neither a list nor a string that holds a JSON list.");
        },
        list);
    return {};
  }
  if (!want_json || array->children == 0) return {};
  std::string json = "[";
  for (const JsonNode* tool = holder->first(*array); tool != nullptr; tool = holder->next(*tool)) {
    if (json.size() > 1) json += ',';
    if (old) json += "{\"type\":\"function\",\"function\":";
    holder->write(*tool, json);
    if (old) json += '}';
  }
  return json + "]";
}

Row new_row(const RowContext& context, RowKind kind) {
  Row row;
  row.kind = kind;
  row.id = std::string(context.id());
  row.place = context.place();
  return row;
}

Row chat_row(const RowContext& context, const DecodedTurns& decoded, std::string tools) {
  Row row = new_row(context, RowKind::kChat);
  row.messages_json = "[" + decoded.json + "]";
  row.tools_json = std::move(tools);
  row.has_parts = decoded.has_parts;
  row.has_string_arguments = decoded.has_string_arguments;
  return row;
}

void append_message(std::string_view role, std::string_view content, std::string& json) {
  if (!json.empty()) json += ',';
  json += "{\"role\":";
  append_json_string(role, json);
  json += ",\"content\":";
  append_json_string(content, json);
  json += '}';
}

std::uint32_t decode_chat(RowContext& context, std::vector<Row>* rows, RowDecoder::Take take) {
  const bool want_json = rows != nullptr;
  std::string tools = decode_tools(context, want_json);
  const JsonNode* list = required_list(context, "messages");
  const bool whole_lists = take == RowDecoder::Take::kWholeLists;
  if (list == nullptr && whole_lists) {
    list = context.tree.find(context.tree.root(), "messages");  // an empty list, perhaps
    if (list != nullptr && list->type != JsonType::kArray) list = nullptr;
  }
  if (list == nullptr) return 0;
  DecodedTurns decoded;
  decoded.turns.reserve(list->children);
  decode_messages(context, *list, "messages", {want_json, true}, decoded);
  check_turns(context, decoded.turns, "messages");
  if (want_json && (context.good() || whole_lists)) {
    rows->push_back(chat_row(context, decoded, std::move(tools)));
  }
  return 1;
}

}  // namespace ratchet::trainer
