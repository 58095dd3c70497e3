// The conversation schema: one conversation with its training pairs (conversation.schema.json).

#include <array>

#include "trainer/data/row_decoders.h"
#include "trainer/model/file_io.h"

namespace ratchet::trainer {
namespace {

// Shown to people, not trained on: faults are warnings.
constexpr std::array<std::string_view, 3> kMetadata = {"persona", "emotional_arc", "topic"};

void check_metadata(RowContext& context, const JsonNode& object, std::string_view key,
                    std::string_view place, bool allow_text) {
  const auto path = [&] { return member_path(place, key); };
  const JsonNode* node = find_present(context.tree, object, key);
  if (node == nullptr || (node->type == JsonType::kString && context.tree.text(*node).empty())) {
    context.report(Rule::kMissingMetadata, path,
                   [&] { return cat("The field '", key, "' is missing, null or empty."); });
    return;
  }
  const bool fits =
      node->type == JsonType::kObject ||
      (allow_text && (node->type == JsonType::kString || node->type == JsonType::kArray));
  if (!fits) {
    context.report(
        Rule::kWrongMetadataType, path,
        [&] {
          return cat("'", key, "' is ", json_type_word(node->type), ", not ",
                     allow_text ? "a text, a list or an object." : "an object.");
        },
        node);
  }
}

const JsonNode* filled_text(RowContext& context, const JsonNode& object, std::string_view key,
                            std::string_view place) {
  const JsonNode* text = required_text(context, object, key, place);
  if (text == nullptr || !context.tree.text(*text).empty()) return text;
  context.report(
      Rule::kEmptyField, [&] { return member_path(place, key); },
      [&] { return cat("The field '", key, "' is empty."); });
  return nullptr;
}

// One training pair; appends its row when `rows` is not null and the pair is good.
void decode_pair(RowContext& context, const JsonNode& pair, std::size_t index,
                 std::vector<Row>* rows) {
  const std::string place = cat("training_pairs[", index, "]");
  if (pair.type != JsonType::kObject) {
    context.report(
        Rule::kWrongType, [&] { return std::string(place); },
        [] { return std::string("The training pair is not an object."); }, &pair);
    return;
  }
  const JsonNode* query = filled_text(context, pair, "user_query", place);
  const JsonNode* response = filled_text(context, pair, "target_response", place);
  const JsonNode* background = find_present(context.tree, pair, "prompt_context");
  if (background == nullptr) {
    context.report(
        Rule::kMissingMetadata, [&] { return place + ".prompt_context"; },
        [] { return std::string("The field 'prompt_context' is missing or null."); });
  } else {
    background = required_text(context, pair, "prompt_context", place);
  }
  check_metadata(context, pair, "scaffolding_metadata", place, false);
  if (rows == nullptr || query == nullptr || response == nullptr) return;
  Row row = new_row(context, RowKind::kChat);
  row.part = static_cast<std::uint32_t>(index);
  std::string messages;
  if (background != nullptr && !context.tree.text(*background).empty()) {
    append_message("system", context.tree.text(*background), messages);
  }
  append_message("user", context.tree.text(*query), messages);
  append_message("assistant", context.tree.text(*response), messages);
  row.messages_json = "[" + messages + "]";
  rows->push_back(std::move(row));
}

}  // namespace

std::uint32_t decode_conversation(RowContext& context, std::vector<Row>* rows) {
  const JsonNode& root = context.tree.root();
  (void)filled_text(context, root, "conversation_id", "");
  for (const std::string_view key : kMetadata) check_metadata(context, root, key, "", true);
  const JsonNode* pairs = required_list(context, "training_pairs");
  if (pairs == nullptr) return 0;
  const std::size_t before = rows == nullptr ? 0 : rows->size();
  std::size_t index = 0;
  for (const JsonNode* pair = context.tree.first(*pairs); pair != nullptr;
       pair = context.tree.next(*pair)) {
    decode_pair(context, *pair, index++, rows);
  }
  // A conversation is taken whole or not at all.
  if (rows != nullptr && !context.good()) rows->resize(before);
  return pairs->children;
}

}  // namespace ratchet::trainer
