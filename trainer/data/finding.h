#pragma once

// Findings of the data checks: one vocabulary for the structural pass, the token pass and `render`.
//
// Every rule has a stable code, one of the error types of the data-set requirements (seven, plus
// the documented extras), a default severity, and the texts that tell a user what is expected and
// how to mend it. trainer/data/README.md lists all rules; a test keeps that list complete.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ratchet::trainer {

enum class Severity { kCritical, kWarning, kInfo };

enum class ErrorType {
  kMissingRequiredField,
  kInvalidDataType,
  kMalformedJson,
  kEncodingError,
  kTokenLengthExceeded,
  kDuplicateId,
  kEmptyArray,
  // Extras of this project.
  kInvalidValue,    // right type, a value that is not allowed (unknown role, weight 0.5)
  kNothingToTrain,  // a row, or the whole set, that trains no token
  kTurnOrder,       // roles in an order that templates or tools do not expect
  kFormatMismatch,  // a row, or file layout, of another format than the declared or detected one
  kDuplicateRow,    // rows whose tokens are the same
  kControlText,     // text of a control token inside data
  kDatasetSize,     // too few rows, rows too long for the reader, ids beyond the tracked number
};

// One entry per line of the rule table in finding.cc, in the same order.
enum class Rule : std::uint8_t {
  kInvalidUtf8,
  kUtf16File,
  kUnexpectedBom,
  kNulByte,
  kControlCharacter,
  kLoneSurrogate,
  kMalformedJson,
  kUnclosedJson,
  kTrailingContent,
  kNonStandardNumber,
  kNumberRange,
  kDuplicateKey,
  kTooDeep,
  kRowTooLong,
  kJsonArrayFile,
  kBrokenDocument,
  kNotAnObject,
  kUnknownFormat,
  kOtherFormat,
  kMissingField,
  kMissingMetadata,
  kEmptyField,
  kEmptyContent,
  kWrongType,
  kWrongMetadataType,
  kEmptyArray,
  kUnknownRole,
  kUnsupportedPart,
  kBadWeight,
  kBadToolCall,
  kNoAssistantTurn,
  kAllWeightsZero,
  kNoTextToTrain,
  kConsecutiveUsers,
  kConsecutiveAssistants,
  kEndsWithoutReply,
  kAssistantFirst,
  kSystemNotFirst,
  kToolCallWithoutResult,
  kToolResultWithoutCall,
  kDuplicateId,
  kIdsNotTracked,
  kNoRows,
  kFewRows,
  kTokenLengthExceeded,
  kTruncated,
  kDroppedOverLong,
  kNoTrainableToken,
  kDuplicateRow,
  kControlTokenText,
  kStringArguments,
  kRenderFailed,
};
inline constexpr std::size_t kRuleCount = static_cast<std::size_t>(Rule::kRenderFailed) + 1;

struct RuleInfo {
  Rule rule;
  std::string_view code;  // stable word, e.g. "no_assistant_turn"
  ErrorType type;
  Severity severity;
  std::string_view expected;  // what is allowed
  std::string_view fix;       // what to do
};

const RuleInfo& rule_info(Rule rule);
std::string_view severity_word(Severity severity);  // "critical", "warning", "info"
std::string_view error_type_word(ErrorType type);   // "missing_required_field", ...

// Where a finding is. `row` counts the non-blank rows of the file from 0 (conversation_index of the
// requirements); `line` is the physical line, from 1, on which the row starts.
struct RowPlace {
  std::uint64_t row = 0;
  std::uint64_t line = 0;
};

struct DataFinding {
  Rule rule = Rule::kMalformedJson;
  Severity severity = Severity::kCritical;
  RowPlace place;
  bool about_file = false;  // the finding concerns the file, not one row; `place` is its start
  std::string id;           // conversation_id or row id; empty when the row has none
  std::string field_path;   // inside the row, e.g. "messages[1].content"; empty: the row itself
  std::string message;      // full sentence
  std::string current;      // the value found, shortened to kShownValueBytes; may be empty
  [[nodiscard]] const RuleInfo& info() const { return rule_info(rule); }
};

inline constexpr std::size_t kShownValueBytes = 120;

// `text` cut to kShownValueBytes at a UTF-8 boundary ("..." appended), with control characters and
// invalid UTF-8 bytes shown as \xNN. Safe to print whatever the bytes were.
std::string shorten_value(std::string_view text);

// JSON object with the fields of the requirements: error_type, code, severity, conversation_index,
// conversation_id (null when none), line, field_path, error_message, current_value, expected,
// suggested_fix. One line.
std::string finding_json(const DataFinding& finding);

// Counts every finding and keeps the first `keep` of each rule, in the order of add().
// Not thread-safe: one log per worker, merged in row order.
class FindingLog {
 public:
  FindingLog() = default;
  explicit FindingLog(std::size_t keep) : keep_(keep) {}

  // Counts one finding; true when its text is wanted, and then the caller fills the returned slot.
  // Usage: if (DataFinding* f = log.add(rule)) f->message = ...;  The pointer is valid until next
  // add().
  DataFinding* add(Rule rule) { return add(rule, rule_info(rule).severity); }
  DataFinding* add(Rule rule, Severity severity);

  // Appends what `later` found; `later` covers rows behind those of this log.
  void merge(FindingLog&& later);

  [[nodiscard]] std::uint64_t count(Rule rule) const { return counts_[index(rule)]; }
  [[nodiscard]] std::uint64_t count(Severity severity) const;
  [[nodiscard]] bool empty() const { return count_all() == 0; }
  [[nodiscard]] std::uint64_t count_all() const;
  // The kept findings in row order (file findings first).
  [[nodiscard]] std::vector<DataFinding> sorted() const;

 private:
  static std::size_t index(Rule rule) { return static_cast<std::size_t>(rule); }

  std::size_t keep_ = 10;
  std::array<std::uint64_t, kRuleCount> counts_{};
  std::array<std::uint64_t, 3> severities_{};
  std::array<std::uint64_t, kRuleCount> kept_{};
  std::vector<DataFinding> findings_;
};

}  // namespace ratchet::trainer
