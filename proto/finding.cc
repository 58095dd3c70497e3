#include "proto/finding.h"

#include <utility>

namespace ratchet {

void FindingList::add(std::string path, std::string value, std::string message) {
  if (full()) {
    ++more_;
    return;
  }
  findings_.push_back({std::move(path), std::move(value), std::move(message)});
}

std::vector<Finding> FindingList::take() {
  if (more_ > 0) {
    findings_.push_back({"$", "", "has " + std::to_string(more_) + " more findings."});
    more_ = 0;
  }
  return std::exchange(findings_, {});
}

std::string format_findings(const std::vector<Finding>& findings) {
  std::string out;
  for (const Finding& finding : findings) {
    if (!out.empty()) out += '\n';
    out += "  " + finding.path;
    if (!finding.value.empty()) out += " = " + finding.value;
    out += ": " + finding.message;
  }
  return out;
}

Error findings_error(std::string_view what, const std::vector<Finding>& findings) {
  std::string message(what);
  message += " has " + std::to_string(findings.size()) +
             (findings.size() == 1 ? " fault:\n" : " faults:\n") + format_findings(findings);
  return Error{Code::kInvalidArgument, std::move(message)};
}

}  // namespace ratchet
