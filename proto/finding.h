#pragma once

// What is wrong with a document, all of it at once. Decoders return Decoded<T>: a value, or
// findings.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"

namespace ratchet {

struct Finding {
  std::string path;     // JSON path of the value: "$.training.learning_rate", "$.tags[3]"
  std::string value;    // the offending value as JSON, shortened; empty when it is missing
  std::string message;  // what is wrong and what is allowed, one sentence
  bool operator==(const Finding&) const = default;
};

// Keeps the first kMax findings and counts the rest, so that a hostile document stays cheap.
class FindingList {
 public:
  static constexpr std::size_t kMax = 100;
  void add(std::string path, std::string value, std::string message);
  [[nodiscard]] bool empty() const { return findings_.empty(); }
  [[nodiscard]] bool full() const { return findings_.size() >= kMax; }
  // Ends with one finding that says how many more there were, when there were.
  [[nodiscard]] std::vector<Finding> take();

 private:
  std::vector<Finding> findings_;
  std::size_t more_ = 0;
};

// Exactly one of the two: a value and no finding, or at least one finding and no value.
template <class T>
struct Decoded {
  std::optional<T> value;
  std::vector<Finding> findings;
  [[nodiscard]] bool ok() const { return value.has_value(); }
};

// One line a finding, "  $.lora.rank = 0: must be an integer from 1 to 1024.", for a terminal.
std::string format_findings(const std::vector<Finding>& findings);

// An Error whose message is "<what> has N fault(s):" and the formatted findings.
// `what` names the document as a reader knows it, a file name as a rule.
Error findings_error(std::string_view what, const std::vector<Finding>& findings);

// Decoded<T> as Result<T>, for callers that only print.
template <class T>
Result<T> to_result(std::string_view what, Decoded<T> decoded) {
  if (decoded.value) return *std::move(decoded.value);
  return findings_error(what, decoded.findings);
}

}  // namespace ratchet
