#include "trainer/data/tool_calls.h"

#include "trainer/model/file_io.h"

namespace ratchet::trainer {
namespace {

void bad_call(RowContext& context, std::string_view place, std::string_view message,
              const JsonNode* value) {
  context.report(
      Rule::kBadToolCall, [&] { return std::string(place); }, [&] { return std::string(message); },
      value);
}

// Writes the arguments of a call as an object. `tree` is the one that holds `arguments`.
bool append_arguments(const JsonTree& tree, const JsonNode& arguments, std::string* json) {
  if (arguments.type == JsonType::kObject) {
    if (json != nullptr) tree.write(arguments, *json);
    return true;
  }
  if (arguments.type != JsonType::kString) return false;
  JsonTree inner;
  if (!inner.parse(tree.text(arguments)) || inner.root().type != JsonType::kObject) return false;
  if (json != nullptr) inner.write(inner.root(), *json);
  return true;
}

// `shown` is the node of the row to show, for `tree` may be that of a nested text.
void append_function(RowContext& context, const JsonTree& tree, const JsonNode& call,
                     std::string_view place, const JsonNode& shown, std::string* json) {
  const JsonNode* name = find_present(tree, call, "name");
  if (name == nullptr || name->type != JsonType::kString || tree.text(*name).empty()) {
    bad_call(context, place, "The call has no function name.", &shown);
    return;
  }
  if (json != nullptr) {
    *json += "{\"name\":";
    append_json_string(tree.text(*name), *json);
    *json += ",\"arguments\":";
  }
  const JsonNode* arguments = find_present(tree, call, "arguments");
  if (arguments == nullptr || !append_arguments(tree, *arguments, json)) {
    bad_call(context, place,
             "The arguments of the call are neither a JSON object nor a string that holds one.",
             &shown);
    return;
  }
  if (json != nullptr) *json += '}';
}

}  // namespace

void decode_function(RowContext& context, const JsonNode& call, std::string_view place,
                     std::string* json) {
  append_function(context, context.tree, call, place, call, json);
}

void decode_function_text(RowContext& context, const JsonNode& text, std::string_view place,
                          std::string* json) {
  JsonTree inner;
  if (!inner.parse(context.tree.text(text)) || inner.root().type != JsonType::kObject) {
    bad_call(context, place, "The text of a function_call turn is not a JSON object.", &text);
    return;
  }
  append_function(context, inner, inner.root(), place, text, json);
}

void decode_tool_calls(RowContext& context, const JsonNode& calls, std::string_view path,
                       std::string* json, std::vector<std::string_view>& ids) {
  const JsonTree& tree = context.tree;
  if (json != nullptr) *json += '[';
  std::size_t index = 0;
  for (const JsonNode* call = tree.first(calls); call != nullptr; call = tree.next(*call)) {
    const std::string place = cat(path, ".tool_calls[", index, "]");
    const JsonNode* function = find_present(tree, *call, "function");
    const JsonNode* id = find_present(tree, *call, "id");
    const bool has_id = id != nullptr && id->type == JsonType::kString;
    ids.push_back(has_id ? tree.text(*id) : std::string_view{});
    if (function == nullptr || function->type != JsonType::kObject) {
      bad_call(context, place, "The tool call has no object 'function'.", call);
    } else if (id != nullptr && !has_id) {
      bad_call(context, place, "The id of the tool call is not a string.", call);
    } else {
      if (json != nullptr) {
        if (index > 0) *json += ',';
        *json += '{';
        if (has_id) {
          *json += "\"id\":";
          append_json_string(tree.text(*id), *json);
          *json += ',';
        }
        *json += "\"type\":\"function\",\"function\":";
      }
      decode_function(context, *function, place + ".function", json);
      if (json != nullptr) *json += '}';
    }
    ++index;
  }
  if (json != nullptr) *json += ']';
}

}  // namespace ratchet::trainer
