// Rows of two columns, and rows of plain text.

#include <array>

#include "trainer/data/row_decoders.h"
#include "trainer/model/file_io.h"

namespace ratchet::trainer {
namespace {

constexpr std::array kKnownPairs = {
    ColumnPair{"prompt", "completion", ""},
    ColumnPair{"question", "answer", ""},
    ColumnPair{"instruction", "output", "input"},
};

// A column may hold a text or, as TRL has it, a list of messages.
struct Column {
  std::string_view name;
  const JsonNode* node = nullptr;  // string or array; nullptr after a fault
  [[nodiscard]] bool is_list() const { return node != nullptr && node->type == JsonType::kArray; }
};

Column read_column(RowContext& context, std::string_view name) {
  const JsonNode* node = find_present(context.tree, context.tree.root(), name);
  if (node != nullptr && node->type == JsonType::kArray) {
    return {name, required_list(context, name)};
  }
  return {name, required_text(context, context.tree.root(), name, "")};
}

void decode_column(RowContext& context, const Column& column, std::string_view role, bool learn,
                   bool want_json, DecodedTurns& out) {
  if (column.is_list()) {
    decode_messages(context, *column.node, column.name, {want_json, learn}, out);
    return;
  }
  const std::string_view text = context.tree.text(*column.node);
  Turn& turn = out.turns.emplace_back();
  turn.role = learn ? Role::kAssistant : Role::kUser;
  turn.learned = learn;
  turn.has_text = !text.empty();
  if (want_json) append_message(role, text, out.json);
}

void decode_lists(RowContext& context, const Column& prompt, const Column& completion,
                  std::vector<Row>* rows) {
  DecodedTurns decoded;
  const bool want_json = rows != nullptr;
  decode_column(context, prompt, "user", false, want_json, decoded);
  decode_column(context, completion, "assistant", true, want_json, decoded);
  std::string tools = decode_tools(context, want_json);
  check_turns(context, decoded.turns, completion.name);
  if (!want_json || !context.good()) return;
  rows->push_back(chat_row(context, decoded, std::move(tools)));
}

void check_texts(RowContext& context, const Column& prompt, const Column& completion) {
  const auto path = [](std::string_view name) { return [name] { return std::string(name); }; };
  if (context.tree.text(*prompt.node).empty()) {
    context.report(Rule::kEmptyContent, path(prompt.name),
                   [&] { return cat("The prompt '", prompt.name, "' is empty."); });
  }
  if (context.tree.text(*completion.node).empty()) {
    context.report(Rule::kNoTextToTrain, path(completion.name),
                   [&] { return cat("The completion '", completion.name, "' is empty."); });
  }
}

}  // namespace

ColumnPair columns_of(const JsonTree& tree, const DataColumns& columns) {
  const DataColumns defaults;
  if (!(columns == defaults)) return {columns.prompt, columns.completion, ""};
  for (const ColumnPair& pair : kKnownPairs) {
    if (tree.find(tree.root(), pair.prompt) != nullptr &&
        tree.find(tree.root(), pair.completion) != nullptr) {
      return pair;
    }
  }
  for (const ColumnPair& pair : kKnownPairs) {
    if (tree.find(tree.root(), pair.prompt) != nullptr ||
        tree.find(tree.root(), pair.completion) != nullptr) {
      return pair;
    }
  }
  return {};
}

std::uint32_t decode_columns(RowContext& context, const DataColumns& columns,
                             std::vector<Row>* rows) {
  ColumnPair pair = columns_of(context.tree, columns);
  if (pair.prompt.empty()) pair = kKnownPairs.front();
  const Column prompt = read_column(context, pair.prompt);
  const Column completion = read_column(context, pair.completion);
  if (prompt.node == nullptr || completion.node == nullptr) return 0;
  if (prompt.is_list() || completion.is_list()) {
    decode_lists(context, prompt, completion, rows);
    return 1;
  }
  check_texts(context, prompt, completion);
  std::string_view input;
  if (!pair.input.empty()) {
    const JsonNode* node = find_present(context.tree, context.tree.root(), pair.input);
    if (node != nullptr) {
      node = required_text(context, context.tree.root(), pair.input, "");
      if (node != nullptr) input = context.tree.text(*node);
    }
  }
  if (rows != nullptr && context.good()) {
    Row row = new_row(context, RowKind::kPromptCompletion);
    row.prompt = std::string(context.tree.text(*prompt.node));
    if (!input.empty()) row.prompt += cat("\n", input);
    row.completion = std::string(context.tree.text(*completion.node));
    rows->push_back(std::move(row));
  }
  return 1;
}

std::uint32_t decode_text(RowContext& context, std::vector<Row>* rows) {
  const JsonNode* text = required_text(context, context.tree.root(), "text", "");
  if (text == nullptr) return 0;
  if (context.tree.text(*text).empty()) {
    context.report(
        Rule::kEmptyField, [] { return std::string("text"); },
        [] { return std::string("The text is empty."); });
  }
  if (rows != nullptr && context.good()) {
    Row row = new_row(context, RowKind::kText);
    row.text = std::string(context.tree.text(*text));
    rows->push_back(std::move(row));
  }
  return 1;
}

}  // namespace ratchet::trainer
