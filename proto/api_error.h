#pragma once

// Errors of the HTTP API, in one form:
//
//   {"error": {"code": "job_not_found", "class": "persistent", "message": "...", "next_step":
//   "...",
//              "details": {}, "request_id": "..."}}
//
// Codes are stable: one never changes its meaning, status or class. Table: proto/README.md.

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "proto/exit_record.h"
#include "proto/result.h"
#include "proto/words.h"

namespace ratchet {

enum class ErrorClass {
  kTransient,   // the same request may succeed later
  kPersistent,  // it will not, until something else changes
};
std::span<const Word<ErrorClass>> word_table(ErrorClass);

enum class ApiErrorCode {
  kInvalidJson,
  kInvalidRequest,
  kInvalidCursor,
  kInvalidSpec,
  kUnauthenticated,
  kForbidden,
  kRouteNotFound,
  kJobNotFound,
  kRunNotFound,
  kAttemptNotFound,
  kCheckpointNotFound,
  kNodeNotFound,
  kArtifactNotFound,
  kFileNotFound,
  kWebhookNotFound,
  kTokenNotFound,
  kMethodNotAllowed,
  kRequestTimeout,
  kJobTerminal,
  kInvalidTransition,
  kStaleEpoch,
  kNeedsHello,
  kVersionMismatch,
  kIdempotencyConflict,
  kUploadOffsetMismatch,
  kUploadBusy,
  kArtifactOpen,
  kArtifactSealed,
  kDigestMismatch,
  kNodeGone,
  kWebhookUrlRefused,
  kBodyTooLarge,
  kUriTooLong,
  kUnsupportedMediaType,
  kRangeNotSatisfiable,
  kHeadersTooLarge,
  kQuotaExceeded,
  kRateLimited,
  kInternal,
  kNotSupported,
  kStoreUnavailable,
  kNotReady,
  kStorageFull,
};
std::span<const Word<ApiErrorCode>> word_table(ApiErrorCode);

struct ApiErrorRow {
  ApiErrorCode code;
  int http_status;
  ErrorClass error_class;
  std::string_view message;    // for when nothing more precise is known
  std::string_view next_step;  // what the user can do
};
std::span<const ApiErrorRow> api_error_table();
const ApiErrorRow& api_error_row(ApiErrorCode code);

struct ApiError {
  std::string code;  // word of ApiErrorCode, or of a newer server
  ErrorClass error_class = ErrorClass::kPersistent;
  std::string message;
  std::string next_step;
  std::map<std::string, EvidenceValue> details;
  std::string request_id;
  bool operator==(const ApiError&) const = default;
};

// What is empty comes from the table.
ApiError make_api_error(ApiErrorCode code, std::string message = {}, std::string next_step = {});

// Status of a code's word; 500 when it is not known.
int http_status_of(std::string_view code);

std::string encode_api_error(const ApiError& error);
// Fails when the text is none: an answer of something else than our API.
Result<ApiError> decode_api_error(std::string_view text);

// The code that fits an Error of our own functions: kNotFound and the like.
ApiErrorCode api_error_code_for(Code code);

}  // namespace ratchet
