#include "proto/finding.h"

namespace ratchet {

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
