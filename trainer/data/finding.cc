#include "trainer/data/finding.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "trainer/data/utf8.h"

namespace ratchet::trainer {
namespace {

using enum ErrorType;
using enum Severity;

constexpr std::array<RuleInfo, kRuleCount> kRules = {{
    {Rule::kInvalidUtf8, "invalid_utf8", kEncodingError, kCritical, "UTF-8 text",
     "Save the file as UTF-8; the byte at the named offset is of another encoding."},
    {Rule::kUtf16File, "utf16_file", kEncodingError, kCritical, "UTF-8 text",
     "Convert the file, for example: iconv -f UTF-16 -t UTF-8 IN > OUT."},
    {Rule::kUnexpectedBom, "unexpected_bom", kEncodingError, kCritical,
     "a byte-order mark at the start of the file only",
     "Remove the mark; it is left over from joining files."},
    {Rule::kNulByte, "nul_byte", kEncodingError, kCritical, "no NUL bytes",
     "Remove the NUL bytes; the file may be damaged, or UTF-16 or UTF-32 text."},
    {Rule::kControlCharacter, "control_character", kEncodingError, kCritical,
     "control characters escaped, as in \\n or \\u0001", "Escape the character."},
    {Rule::kLoneSurrogate, "lone_surrogate", kEncodingError, kCritical,
     "\\u escapes of surrogates in pairs",
     "Remove the half character, or write the whole pair; a text cut in the middle leaves halves."},
    {Rule::kMalformedJson, "malformed_json", kMalformedJson, kCritical,
     "one JSON object a line, as json.dumps() writes it",
     "Write the row with a JSON library: double quotes, no trailing comma, null instead of None."},
    {Rule::kUnclosedJson, "unclosed_json", kMalformedJson, kCritical,
     "an object that ends on its line",
     "If the file was cut, get it again; if objects are spread over lines, write one a line, for "
     "example: jq -c . IN > OUT."},
    {Rule::kTrailingContent, "trailing_content", kMalformedJson, kCritical,
     "nothing behind the object of a line", "Put each object on a line of its own."},
    {Rule::kNonStandardNumber, "non_standard_number", kMalformedJson, kCritical,
     "numbers as JSON has them: no NaN, no Infinity",
     "Replace the value by null or a number (json.dumps(..., allow_nan=False) finds them)."},
    {Rule::kNumberRange, "number_range", kMalformedJson, kCritical, "numbers up to about 1.8e308",
     "Write the value as a string, or remove it."},
    {Rule::kDuplicateKey, "duplicate_key", kMalformedJson, kCritical, "each key once in an object",
     "Remove one of the two; readers disagree on which counts."},
    {Rule::kTooDeep, "too_deep", kMalformedJson, kCritical, "at most 128 levels of nesting",
     "Remove the nested value; training does not use it."},
    {Rule::kRowTooLong, "row_too_long", kDatasetSize, kCritical, "rows of at most 64 MiB",
     "Split the row; if the file is one JSON document, give it the ending .json."},
    {Rule::kJsonArrayFile, "json_array_file", kFormatMismatch, kCritical,
     "JSON Lines, or a JSON array in a file that ends in .json",
     "Rename the file to end in .json, or write one object a line: jq -c '.[]' IN > OUT."},
    {Rule::kBrokenDocument, "broken_document", kMalformedJson, kCritical, "one whole JSON document",
     "Mend the document at the named line, or write one row a line."},
    {Rule::kNotAnObject, "not_an_object", kInvalidDataType, kCritical, "a JSON object",
     "Wrap the turns: {\"messages\": [...]}."},
    {Rule::kUnknownFormat, "unknown_format", kFormatMismatch, kCritical,
     "messages, conversations, training_pairs, prompt and completion, or text",
     "Name the format (data.format), or the columns (data.columns) that hold the two texts."},
    {Rule::kOtherFormat, "other_format", kFormatMismatch, kCritical, "rows of one format in a file",
     "Put rows of other formats into files of their own."},
    {Rule::kMissingField, "missing_field", kMissingRequiredField, kCritical,
     "the field present and not null", "Add the field."},
    {Rule::kMissingMetadata, "missing_metadata", kMissingRequiredField, kWarning,
     "the field present and not null", "Add the field; it is shown, not trained on."},
    {Rule::kEmptyField, "empty_field", kMissingRequiredField, kCritical, "a text that is not empty",
     "Fill the field, or remove the row."},
    {Rule::kEmptyContent, "empty_content", kMissingRequiredField, kWarning,
     "a text that is not empty", "Fill the turn, or remove it."},
    {Rule::kWrongType, "wrong_type", kInvalidDataType, kCritical, "the type that the field has",
     "Write the value in the expected type."},
    {Rule::kWrongMetadataType, "wrong_metadata_type", kInvalidDataType, kWarning,
     "the type that the field has", "Write the value in the expected type; it is not trained on."},
    {Rule::kEmptyArray, "empty_array", kEmptyArray, kCritical, "a list with at least one element",
     "Fill the list, or remove the row."},
    {Rule::kUnknownRole, "unknown_role", kInvalidValue, kCritical, "a role that is known",
     "Use one of the known roles; check the spelling."},
    {Rule::kUnsupportedPart, "unsupported_part", kInvalidDataType, kCritical, "text parts only",
     "Remove images, audio and files: a text model is trained."},
    {Rule::kBadWeight, "bad_weight", kInvalidValue, kCritical,
     "weight 0 or 1, as a number, on assistant turns only", "Correct or remove the weight."},
    {Rule::kBadToolCall, "bad_tool_call", kInvalidValue, kCritical,
     "tool calls with a function name and arguments that are a JSON object",
     "Correct the call; arguments are an object, or a string that holds one."},
    {Rule::kNoAssistantTurn, "no_assistant_turn", kNothingToTrain, kCritical,
     "at least one assistant turn", "Add the reply that is to be learned, or remove the row."},
    {Rule::kAllWeightsZero, "all_weights_zero", kNothingToTrain, kCritical,
     "at least one assistant turn of weight 1", "Set a weight to 1, or remove the row."},
    {Rule::kNoTextToTrain, "no_text_to_train", kNothingToTrain, kCritical,
     "a reply that is not empty", "Fill the reply, or remove the row."},
    {Rule::kConsecutiveUsers, "consecutive_users", kTurnOrder, kWarning,
     "user and assistant turns that alternate",
     "Join the turns; some chat templates refuse such rows."},
    {Rule::kConsecutiveAssistants, "consecutive_assistants", kTurnOrder, kWarning,
     "user and assistant turns that alternate",
     "Join the turns; some chat templates refuse such rows."},
    {Rule::kEndsWithoutReply, "ends_without_reply", kTurnOrder, kWarning,
     "an assistant turn at the end", "Add the reply or remove the last turn; it is not learned."},
    {Rule::kAssistantFirst, "assistant_first", kTurnOrder, kInfo,
     "a user turn before the first reply",
     "Nothing, if the reply is meant to open the conversation."},
    {Rule::kSystemNotFirst, "system_not_first", kTurnOrder, kWarning,
     "the system turn at the start", "Move the turn; some chat templates drop or refuse it."},
    {Rule::kToolCallWithoutResult, "tool_call_without_result", kTurnOrder, kWarning,
     "a tool turn for every tool call", "Add the tool turn with the call's tool_call_id."},
    {Rule::kToolResultWithoutCall, "tool_result_without_call", kTurnOrder, kWarning,
     "a tool call before every tool turn", "Add the call, or correct the tool_call_id."},
    {Rule::kDuplicateId, "duplicate_id", kDuplicateId, kCritical, "ids that occur once",
     "Give the row an id of its own, or remove the copy."},
    {Rule::kIdsNotTracked, "ids_not_tracked", kDatasetSize, kInfo,
     "ids compared among the first 12 million", "Nothing; later ids were not compared."},
    {Rule::kNoRows, "no_rows", kEmptyArray, kCritical, "at least one row",
     "Check that the path names the right file."},
    {Rule::kFewRows, "few_rows", kDatasetSize, kWarning, "at least 10 rows",
     "Add rows; so few can hardly teach anything that holds elsewhere."},
    {Rule::kTokenLengthExceeded, "token_length_exceeded", kTokenLengthExceeded, kCritical,
     "at most sequence_length tokens",
     "Shorten the row, raise data.sequence_length, or set data.over_long to drop or truncate."},
    {Rule::kTruncated, "truncated", kTokenLengthExceeded, kWarning,
     "at most sequence_length tokens",
     "Nothing, if losing the end of the row is fine; else raise data.sequence_length."},
    {Rule::kDroppedOverLong, "dropped_over_long", kTokenLengthExceeded, kWarning,
     "at most sequence_length tokens",
     "Nothing, if losing the row is fine; else raise data.sequence_length."},
    {Rule::kNoTrainableToken, "no_trainable_token", kNothingToTrain, kWarning,
     "at least one trained token",
     "Shorten the prompt, raise data.sequence_length, or fill the reply; the row was left out."},
    {Rule::kDuplicateRow, "duplicate_row", kDuplicateRow, kWarning, "rows that differ",
     "Remove the copies, unless they are meant to count more."},
    {Rule::kControlTokenText, "control_token_text", kControlText, kWarning,
     "no text of control tokens inside data",
     "Remove or change the text: the tokenizer turns it into the control token itself."},
    {Rule::kStringArguments, "string_arguments", kInvalidDataType, kWarning,
     "tool arguments as an object, for this chat template",
     "Write the arguments as an object: this template quotes a string a second time."},
    {Rule::kRenderFailed, "render_failed", kInvalidValue, kCritical,
     "a row that the chat template and the tokenizer accept",
     "Change the row as the message says, or name another template (data.chat_template)."},
}};

constexpr bool rules_in_order() {
  for (std::size_t i = 0; i < kRules.size(); ++i) {
    if (static_cast<std::size_t>(kRules[i].rule) != i) return false;
  }
  return true;
}
static_assert(rules_in_order());

}  // namespace

const RuleInfo& rule_info(Rule rule) { return kRules[static_cast<std::size_t>(rule)]; }

std::string_view severity_word(Severity severity) {
  switch (severity) {
    case kCritical:
      return "critical";
    case kWarning:
      return "warning";
    case kInfo:
      return "info";
  }
  return "critical";
}

std::string_view error_type_word(ErrorType type) {
  switch (type) {
    case kMissingRequiredField:
      return "missing_required_field";
    case kInvalidDataType:
      return "invalid_data_type";
    case kMalformedJson:
      return "malformed_json";
    case kEncodingError:
      return "encoding_error";
    case kTokenLengthExceeded:
      return "token_length_exceeded";
    case kDuplicateId:
      return "duplicate_id";
    case kEmptyArray:
      return "empty_array";
    case kInvalidValue:
      return "invalid_value";
    case kNothingToTrain:
      return "nothing_to_train";
    case kTurnOrder:
      return "turn_order";
    case kFormatMismatch:
      return "format_mismatch";
    case kDuplicateRow:
      return "duplicate_row";
    case kControlText:
      return "control_text";
    case kDatasetSize:
      return "dataset_size";
  }
  return "invalid_value";
}

std::string shorten_value(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (out.size() >= kShownValueBytes) return out + "...";
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::size_t length = utf8_sequence(text.substr(i));
    if (length == 0 || byte < 0x20 || byte == 0x7f) {
      out += "\\x";
      out += kHex[byte >> 4U];
      out += kHex[byte & 0xfU];
      ++i;
    } else {
      out.append(text, i, length);
      i += length;
    }
  }
  return out;
}

std::string finding_json(const DataFinding& finding) {
  const RuleInfo& info = finding.info();
  nlohmann::ordered_json json;
  json["error_type"] = error_type_word(info.type);
  json["code"] = info.code;
  json["severity"] = severity_word(finding.severity);
  if (finding.about_file) {
    json["conversation_index"] = nullptr;
  } else {
    json["conversation_index"] = finding.place.row;
  }
  if (finding.id.empty()) {
    json["conversation_id"] = nullptr;
  } else {
    json["conversation_id"] = finding.id;
  }
  json["line"] = finding.place.line;
  json["field_path"] = finding.field_path;
  json["error_message"] = finding.message;
  json["current_value"] = finding.current;
  json["expected"] = info.expected;
  json["suggested_fix"] = info.fix;
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

DataFinding* FindingLog::add(Rule rule, Severity severity) {
  ++counts_[index(rule)];
  ++severities_[static_cast<std::size_t>(severity)];
  if (kept_[index(rule)] >= keep_) return nullptr;
  ++kept_[index(rule)];
  DataFinding& finding = findings_.emplace_back();
  finding.rule = rule;
  finding.severity = severity;
  return &finding;
}

void FindingLog::merge(FindingLog&& later) {
  for (std::size_t i = 0; i < kRuleCount; ++i) counts_[i] += later.counts_[i];
  for (std::size_t i = 0; i < severities_.size(); ++i) severities_[i] += later.severities_[i];
  for (DataFinding& finding : later.findings_) {
    std::uint64_t& kept = kept_[index(finding.rule)];
    if (kept >= keep_) continue;
    ++kept;
    findings_.push_back(std::move(finding));
  }
}

std::uint64_t FindingLog::count(Severity severity) const {
  return severities_[static_cast<std::size_t>(severity)];
}

std::uint64_t FindingLog::count_all() const {
  return severities_[0] + severities_[1] + severities_[2];
}

std::vector<DataFinding> FindingLog::sorted() const {
  std::vector<const DataFinding*> order;
  order.reserve(findings_.size());
  for (const DataFinding& finding : findings_) order.push_back(&finding);
  std::sort(order.begin(), order.end(), [](const DataFinding* a, const DataFinding* b) {
    if (a->about_file != b->about_file) return a->about_file;
    if (a->place.row != b->place.row) return a->place.row < b->place.row;
    return a < b;  // both in findings_: the one found first
  });
  std::vector<DataFinding> sorted;
  sorted.reserve(order.size());
  for (const DataFinding* finding : order) sorted.push_back(*finding);
  return sorted;
}

}  // namespace ratchet::trainer
