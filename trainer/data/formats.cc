#include "trainer/data/formats.h"

#include <algorithm>
#include <array>

#include "trainer/data/document_splitter.h"
#include "trainer/data/row_decoders.h"
#include "trainer/model/file_io.h"

namespace ratchet::trainer {
namespace {

constexpr std::size_t kRowsLookedAt = 100;

// The member without which a row cannot be of the format; "" (which no row has) where there is none
// or a choice.
std::string_view main_member(DataFormat format) {
  switch (format) {
    case DataFormat::kChat:
      return "messages";
    case DataFormat::kShareGpt:
      return "conversations";
    case DataFormat::kText:
      return "text";
    case DataFormat::kConversations:
      return "training_pairs";
    case DataFormat::kAuto:
    case DataFormat::kPromptCompletion:
      break;
  }
  return "";
}

bool has_main_member(const JsonTree& tree, DataFormat format, const DataColumns& columns) {
  const auto has = [&](std::string_view key) { return tree.find(tree.root(), key) != nullptr; };
  if (format != DataFormat::kPromptCompletion) return has(main_member(format));
  const ColumnPair pair = columns_of(tree, columns);
  return !pair.prompt.empty() && (has(pair.prompt) || has(pair.completion));
}

std::string key_list(const JsonTree& tree) {
  std::string keys;
  for (const JsonNode* node = tree.first(tree.root()); node != nullptr; node = tree.next(*node)) {
    if (!keys.empty()) keys += ", ";
    keys += tree.key(*node);
  }
  return keys.empty() ? "none" : shorten_value(keys);
}

// Id of a row: conversation_id or id, a text or a number.
std::string_view row_id(const JsonTree& tree) {
  for (const std::string_view key : {"conversation_id", "id"}) {
    const JsonNode* id = tree.find(tree.root(), key);
    if (id != nullptr && (id->type == JsonType::kString || id->type == JsonType::kInteger)) {
      return tree.text(*id);
    }
  }
  return {};
}

// Reports a row that is of another format, or of none; true when it is of `format`.
bool check_format(RowContext& context, DataFormat format, const DataColumns& columns) {
  const JsonTree& tree = context.tree;
  const auto nowhere = [] { return std::string(); };
  if (tree.root().type != JsonType::kObject) {
    context.report(
        Rule::kNotAnObject, nowhere,
        [&] { return cat("The row is ", json_type_word(tree.root().type), ", not an object."); },
        &tree.root());
    return false;
  }
  if (has_main_member(tree, format, columns)) return true;
  const DataFormat looks_like = recognise_format(tree, columns);
  if (format == DataFormat::kAuto) {
    context.report(Rule::kUnknownFormat, nowhere, [&] {
      return cat("The row is of no known format; its keys are: ", key_list(tree), ".");
    });
    return false;
  }
  if (looks_like == DataFormat::kAuto || looks_like == format) return true;
  context.report(Rule::kOtherFormat, nowhere, [&] {
    return cat("The row looks like '", to_word(looks_like), "', but the file is read as '",
               to_word(format), "'; the row's keys are: ", key_list(tree), ".");
  });
  return false;
}

class FormatVotes {
 public:
  void add(DataFormat format) {
    if (format == DataFormat::kAuto) return;
    const auto index = static_cast<std::size_t>(format);
    if (votes_[index]++ == 0) order_[index] = seen_++;
  }
  [[nodiscard]] DataFormat winner() const {
    std::size_t best = 0;  // kAuto never has a vote
    for (std::size_t i = 1; i < votes_.size(); ++i) {
      const bool more = votes_[i] > votes_[best];
      const bool earlier = votes_[i] == votes_[best] && votes_[i] > 0 && order_[i] < order_[best];
      if (more || earlier) best = i;
    }
    return static_cast<DataFormat>(best);
  }

 private:
  std::array<std::size_t, 6> votes_{};
  std::array<std::size_t, 6> order_{};
  std::size_t seen_ = 0;
};

// The whole rows of the head, as texts.
std::vector<std::string_view> rows_of_head(std::string_view head, DataLayout layout) {
  std::vector<std::string_view> texts;
  if (layout == DataLayout::kJsonLines) {
    for (std::size_t begin = 0; begin < head.size() && texts.size() < kRowsLookedAt;) {
      const std::size_t newline = std::min(head.find('\n', begin), head.size());
      const std::string_view text = head.substr(begin, newline - begin);
      if (text.find_first_not_of(" \t\r") != std::string_view::npos) texts.push_back(text);
      begin = newline + 1;
    }
    return texts;
  }
  DocumentSplitter splitter(layout == DataLayout::kJsonArray ? "" : "conversations");
  std::vector<RawRow> rows;
  splitter.scan(head, 0, 0, rows);
  rows.resize(std::min(rows.size(), kRowsLookedAt));
  for (const RawRow& row : rows) texts.push_back(head.substr(row.offset, row.length));
  return texts;
}

}  // namespace

DataFormat recognise_format(const JsonTree& tree, const DataColumns& columns) {
  const JsonNode& root = tree.root();
  if (root.type != JsonType::kObject) return DataFormat::kAuto;
  const auto has = [&](std::string_view key) { return tree.find(root, key) != nullptr; };
  const bool named = !(columns == DataColumns{});
  if (named && has(columns.prompt) && has(columns.completion)) return DataFormat::kPromptCompletion;
  if (has("messages")) return DataFormat::kChat;
  if (has("training_pairs")) return DataFormat::kConversations;
  if (has("conversations")) return DataFormat::kShareGpt;
  if (!columns_of(tree, DataColumns{}).prompt.empty()) return DataFormat::kPromptCompletion;
  if (has("text")) return DataFormat::kText;
  if (has("conversation_id")) return DataFormat::kConversations;
  return DataFormat::kAuto;
}

DataFormat detect_format(std::string_view head, DataLayout layout, const DataColumns& columns) {
  FormatVotes votes;
  JsonTree tree;
  for (const std::string_view text : rows_of_head(head, layout)) {
    if (tree.parse(text)) votes.add(recognise_format(tree, columns));
  }
  return votes.winner();
}

RowDecoder::RowDecoder(DataFormat format, DataColumns columns)
    : format_(format), columns_(std::move(columns)) {}

RowDecoder::Outcome RowDecoder::decode(const JsonTree& tree, RowPlace place, FindingLog& log,
                                       std::vector<Row>* rows, Take take) const {
  RowContext context(tree, place, log);
  Outcome outcome;
  outcome.id = row_id(tree);
  context.set_id(outcome.id);
  if (!check_format(context, format_, columns_)) return outcome;
  switch (format_) {
    case DataFormat::kChat:
      outcome.samples = decode_chat(context, rows, take);
      break;
    case DataFormat::kShareGpt:
      outcome.samples = decode_sharegpt(context, rows);
      break;
    case DataFormat::kPromptCompletion:
      outcome.samples = decode_columns(context, columns_, rows);
      break;
    case DataFormat::kText:
      outcome.samples = decode_text(context, rows);
      break;
    case DataFormat::kConversations:
      outcome.samples = decode_conversation(context, rows);
      break;
    case DataFormat::kAuto:
      break;
  }
  outcome.good = context.good();
  if (!outcome.good) outcome.samples = 0;
  return outcome;
}

}  // namespace ratchet::trainer
