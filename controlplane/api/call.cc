#include "controlplane/api/call.h"

#include <charconv>

#include "proto/document.h"

namespace ratchet::control {

namespace {

const std::string kNone;

}  // namespace

const std::string& Call::parameter(std::string_view name) const {
  const auto found = parameters.find(name);
  return found == parameters.end() ? kNone : found->second;
}

std::string Call::query(std::string_view name) const {
  return std::string(request->parameter(name).value_or(""));
}

ApiError problem(ApiErrorCode code, std::string message, std::string next_step) {
  return make_api_error(code, std::move(message), std::move(next_step));
}

ApiError problem_of(const Error& error, ApiErrorCode missing) {
  switch (error.code) {
    case Code::kNotFound:
      return problem(missing);
    case Code::kNoSpace:
      return problem(ApiErrorCode::kStorageFull, error.message);
    case Code::kIo:
    case Code::kCorrupt:
    case Code::kUnavailable:
      return problem(ApiErrorCode::kStoreUnavailable);
    default:
      return problem(api_error_code_for(error.code), error.message);
  }
}

ApiError problem_of(std::vector<Finding> findings, ApiErrorCode code) {
  std::vector<std::string> lines;
  for (const auto& finding : findings) {
    lines.push_back(finding.path + (finding.value.empty() ? "" : " = " + finding.value) + ": " +
                    finding.message);
  }
  auto out = problem(code, "The request has " + std::to_string(lines.size()) +
                               (lines.size() == 1 ? " fault: " : " faults, the first: ") +
                               (lines.empty() ? "" : lines.front()));
  out.details["findings"] = std::move(lines);
  return out;
}

Result<std::optional<std::int64_t>> integer_query(const Call& call, std::string_view name,
                                                  std::int64_t min, std::int64_t max) {
  const auto text = call.request->parameter(name);
  if (!text) return std::optional<std::int64_t>();
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || value < min || value > max) {
    return Error{Code::kInvalidArgument, "The query parameter " + std::string(name) + " = '" +
                                             clip_text(*text, 40) + "' must be an integer from " +
                                             std::to_string(min) + " to " + std::to_string(max) +
                                             "."};
  }
  return std::optional(value);
}

Result<PageArgs> page_query(const Call& call) {
  PageArgs out;
  const auto limit = integer_query(call, "limit", 1, 1000);
  if (!limit) return limit.error();
  out.limit = limit->value_or(out.limit);
  out.cursor = call.query("cursor");
  return out;
}

}  // namespace ratchet::control
