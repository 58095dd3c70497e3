#pragma once

// What went wrong, as a person and as a program reads it, and the exit codes of `ratchet`.

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "proto/result.h"

namespace ratchet::control::cli {

// Documented in `ratchet --help` and controlplane/cli/README.md; they never change meaning.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;  // refused by the control plane, or a fault of a local file
inline constexpr int kExitUsage = 2;
inline constexpr int kExitJobFailed = 3;      // watch: the job failed or was cancelled
inline constexpr int kExitNotFound = 4;       // no such job, node, webhook, token or file
inline constexpr int kExitUnreachable = 5;    // the control plane does not answer
inline constexpr int kExitNotAllowed = 6;     // no token, a wrong one, or one without the right
inline constexpr int kExitInterrupted = 130;  // Ctrl-C; what was asked for goes on

struct Problem {
  std::string code = "failed";             // stable word: of the API (proto/api_error.h) or of Code
  std::string error_class = "persistent";  // or "transient": the same may work later
  std::string message;                     // full sentences
  std::string next_step;                   // what to do; may be empty when the message says it
  std::string request_id;                  // of the control plane's log
  int exit = kExitFailed;
  int status = 0;  // HTTP; 0: there was no answer
};

// A value, or what went wrong. `if (!answer) return answer.error();` (Result<T> cannot hold JSON,
// which converts to everything.)
template <class T>
class [[nodiscard]] Answer {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): a value is an answer
  Answer(T value) : value_(std::move(value)) {}
  // NOLINTNEXTLINE(google-explicit-constructor): a problem is an answer
  Answer(Problem problem) : problem_(std::move(problem)) {}
  explicit operator bool() const { return value_.has_value(); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return *std::move(value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }
  [[nodiscard]] const Problem& error() const { return problem_; }

 private:
  std::optional<T> value_;
  Problem problem_;
};

template <>
class [[nodiscard]] Answer<void> {
 public:
  Answer() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): a problem is an answer
  Answer(Problem problem) : problem_(std::move(problem)) {}
  explicit operator bool() const { return !problem_.has_value(); }
  [[nodiscard]] const Problem& error() const { return *problem_; }

 private:
  std::optional<Problem> problem_;
};

Problem problem_of(const Error& error);
// The same for a flag's value: kExitUsage.
Problem usage_problem(const Error& error);

// After Ctrl-C.
Problem interrupted_problem();

// A create went through, but the connection broke before its secret arrived, and secrets are told
// once. `undo` is the command that ends the thing.
Problem lost_secret(const std::string& thing, const std::string& id, const std::string& undo);

// What an answer of 400 and above means; `body` as it came.
Problem problem_of_answer(int status, std::string_view body, std::string_view url);

// {"error":{"code","class","message","next_step","request_id"}}, the API's own form.
nlohmann::json problem_json(const Problem& problem);

}  // namespace ratchet::control::cli
