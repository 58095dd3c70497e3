#include "controlplane/cli/problem.h"

#include "controlplane/cli/format.h"
#include "controlplane/cli/json_values.h"

namespace ratchet::control::cli {
namespace {

constexpr std::size_t kMaxErrorBytes = 256 * 1024;
constexpr std::size_t kQuotedColumns = 200;

int exit_of_status(int status) {
  if (status == 401 || status == 403) return kExitNotAllowed;
  if (status == 404) return kExitNotFound;
  if (status == 502 || status == 503 || status == 504) return kExitUnreachable;
  return kExitFailed;
}

}  // namespace

Problem problem_of(const Error& error) {
  Problem problem;
  problem.code = code_name(error.code);
  problem.message = error.message;
  if (error.code == Code::kNotFound) problem.exit = kExitNotFound;
  if (error.code == Code::kUnavailable) {
    problem.exit = kExitUnreachable;
    problem.error_class = "transient";
  }
  return problem;
}

Problem usage_problem(const Error& error) {
  Problem problem = problem_of(error);
  problem.code = "usage";
  problem.exit = kExitUsage;
  return problem;
}

Problem interrupted_problem() {
  Problem problem;
  problem.code = "interrupted";
  problem.error_class = "transient";
  problem.message = "Interrupted.";
  problem.exit = kExitInterrupted;
  return problem;
}

Problem lost_secret(const std::string& thing, const std::string& id, const std::string& undo) {
  Problem problem;
  problem.code = "secret_lost";
  problem.message =
      "The " + thing + " " + id + " was made, but the connection broke before its secret arrived.";
  problem.next_step = "Secrets are told once: run 'ratchet " + undo + " " + id + "' and try again.";
  return problem;
}

Problem problem_of_answer(int status, std::string_view body, std::string_view url) {
  Problem problem;
  problem.status = status;
  problem.exit = exit_of_status(status);
  const Json parsed = parse_json(body, kMaxErrorBytes);
  const Json& error = object_at(parsed, "error");
  problem.message = text_at(error, "message");
  if (!problem.message.empty()) {
    problem.code = text_at(error, "code", "failed");
    problem.error_class = text_at(error, "class", "persistent");
    problem.next_step = text_at(error, "next_step");
    problem.request_id = text_at(error, "request_id");
    return problem;
  }
  problem.code = "unexpected_answer";
  problem.message = "The server at " + std::string(url) + " answered with HTTP status " +
                    std::to_string(status) + ", not in the form of a control plane";
  problem.message += body.empty() ? "." : ": " + fit(printable(body), kQuotedColumns);
  problem.next_step = "Check that the URL names ratchet-control and not another service.";
  return problem;
}

Json problem_json(const Problem& problem) {
  Json error = {{"code", problem.code},
                {"class", problem.error_class},
                {"message", problem.message},
                {"next_step", problem.next_step},
                {"exit_code", problem.exit}};
  if (!problem.request_id.empty()) error["request_id"] = problem.request_id;
  return {{"error", error}};
}

}  // namespace ratchet::control::cli
