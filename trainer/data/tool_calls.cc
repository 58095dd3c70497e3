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

// The arguments of a call: an object, or a string that holds one.
struct Arguments {
  const JsonTree* tree = nullptr;  // nullptr: neither
  const JsonNode* node = nullptr;
  bool is_string = false;
};

// `inner` holds the parsed string where the arguments are one.
Arguments read_arguments(const JsonTree& tree, const JsonNode& call, JsonTree& inner) {
  const JsonNode* node = find_present(tree, call, "arguments");
  if (node == nullptr) return {};
  if (node->type == JsonType::kObject) return {&tree, node, false};
  if (node->type != JsonType::kString || !inner.parse(tree.text(*node)) ||
      inner.root().type != JsonType::kObject) {
    return {};
  }
  return {&inner, &inner.root(), true};
}

// "" when the call is as it should be, else what is wrong with it.
std::string_view call_fault(const JsonTree& tree, const JsonNode& call,
                            const Arguments& arguments) {
  if (call.type != JsonType::kObject) return "The call is not an object.";
  const JsonNode* name = find_present(tree, call, "name");
  if (name == nullptr || name->type != JsonType::kString || tree.text(*name).empty()) {
    return "The call has no function name.";
  }
  if (arguments.tree == nullptr) {
    return "The arguments of the call are neither a JSON object nor a string that holds one.";
  }
  return "";
}

}  // namespace

bool decode_function(RowContext& context, const JsonNode& call, std::string_view place) {
  JsonTree inner;
  const Arguments arguments = read_arguments(context.tree, call, inner);
  const std::string_view fault = call_fault(context.tree, call, arguments);
  if (!fault.empty()) bad_call(context, place, fault, &call);
  return arguments.is_string;
}

std::string decode_function_text(RowContext& context, const JsonNode& text,
                                 std::string_view place) {
  JsonTree tree;
  if (!tree.parse(context.tree.text(text))) {
    bad_call(context, place, "The text of a function_call turn is not JSON.", &text);
    return {};
  }
  JsonTree inner;
  const Arguments arguments = read_arguments(tree, tree.root(), inner);
  const std::string_view fault = call_fault(tree, tree.root(), arguments);
  if (!fault.empty()) {
    bad_call(context, place, fault, &text);
    return {};
  }
  std::string json = "{\"name\":";
  append_json_string(tree.text(*tree.find(tree.root(), "name")), json);
  json += ",\"arguments\":";
  arguments.tree->write(*arguments.node, json);
  return json + "}";
}

bool decode_tool_calls(RowContext& context, const JsonNode& calls, std::string_view path,
                       std::vector<std::string_view>& ids) {
  const JsonTree& tree = context.tree;
  bool string_arguments = false;
  std::size_t index = 0;
  for (const JsonNode* call = tree.first(calls); call != nullptr; call = tree.next(*call)) {
    const std::string place = cat(path, ".tool_calls[", index++, "]");
    const JsonNode* function = find_present(tree, *call, "function");
    const JsonNode* id = find_present(tree, *call, "id");
    const bool has_id = id != nullptr && id->type == JsonType::kString;
    ids.push_back(has_id ? tree.text(*id) : std::string_view{});
    if (function == nullptr || function->type != JsonType::kObject) {
      bad_call(context, place, "The tool call has no object 'function'.", call);
    } else if (id != nullptr && !has_id) {
      bad_call(context, place, "The id of the tool call is not a string.", call);
    } else if (decode_function(context, *function, place + ".function")) {
      string_arguments = true;
    }
  }
  return string_arguments;
}

}  // namespace ratchet::trainer
