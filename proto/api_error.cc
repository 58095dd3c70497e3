// The table of codes, and errors to JSON and back.

#include "proto/api_error.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "proto/document.h"
#include "proto/exit_record_json.h"

namespace ratchet {

using nlohmann::json;

namespace {

constexpr auto kTransient = ErrorClass::kTransient;
constexpr auto kPersistent = ErrorClass::kPersistent;

constexpr std::array<ApiErrorRow, 43> kRows{{
    {ApiErrorCode::kInvalidJson, 400, kPersistent, "The request's body is no valid JSON.",
     "Send one JSON object, UTF-8, no key twice."},
    {ApiErrorCode::kInvalidRequest, 400, kPersistent,
     "The request has a parameter that is missing or wrong.",
     "Correct what the message names, then send it again."},
    {ApiErrorCode::kInvalidCursor, 400, kPersistent, "The cursor is none that this list has given.",
     "Begin the list again without a cursor."},
    {ApiErrorCode::kInvalidSpec, 422, kPersistent, "The job's specification has faults.",
     "Correct the keys that the message names; `ratchet validate` checks a file without submitting "
     "it."},
    {ApiErrorCode::kUnauthenticated, 401, kPersistent, "The request has no valid token.",
     "Log in again with `ratchet login`, or ask an administrator for a token."},
    {ApiErrorCode::kForbidden, 403, kPersistent, "The token's scope does not allow this.",
     "Use a token with the scope that the message names."},
    {ApiErrorCode::kRouteNotFound, 404, kPersistent, "There is no such address in this API.",
     "See /v1/openapi.json for the addresses that there are."},
    {ApiErrorCode::kJobNotFound, 404, kPersistent, "There is no job of this id.",
     "See `ratchet list` for the jobs that there are."},
    {ApiErrorCode::kRunNotFound, 404, kPersistent, "There is no run of this id.",
     "See `ratchet list` for the runs that there are."},
    {ApiErrorCode::kAttemptNotFound, 404, kPersistent, "The job has no attempt of this number.",
     "See `ratchet show` for the job's attempts."},
    {ApiErrorCode::kCheckpointNotFound, 404, kPersistent, "The job has no checkpoint of this step.",
     "See `ratchet checkpoints` for those that there are."},
    {ApiErrorCode::kNodeNotFound, 404, kPersistent, "There is no node of this id.",
     "See `ratchet nodes` for the nodes that there are."},
    {ApiErrorCode::kArtifactNotFound, 404, kPersistent, "There is no artifact of this id.",
     "Upload it again: `ratchet submit` does."},
    {ApiErrorCode::kFileNotFound, 404, kPersistent, "The artifact has no file of this path.",
     "See the artifact's list of files."},
    {ApiErrorCode::kWebhookNotFound, 404, kPersistent, "There is no webhook of this id.",
     "See `ratchet webhooks` for those that there are."},
    {ApiErrorCode::kTokenNotFound, 404, kPersistent, "There is no token of this id.",
     "See `ratchet tokens` for those that there are."},
    {ApiErrorCode::kMethodNotAllowed, 405, kPersistent, "This address does not take this method.",
     "See /v1/openapi.json for the methods that it takes."},
    {ApiErrorCode::kRequestTimeout, 408, kTransient, "The request did not arrive in time.",
     "Send it again; check the connection when it happens often."},
    {ApiErrorCode::kJobTerminal, 409, kPersistent, "The job has ended; its state is final.",
     "Submit a new job, with this one as its parent to continue its run."},
    {ApiErrorCode::kInvalidTransition, 409, kPersistent, "The job's state does not allow this now.",
     "See `ratchet show` for its state, and wait or choose another command."},
    {ApiErrorCode::kStaleEpoch, 409, kPersistent,
     "A newer attempt owns the job; this one may change nothing any more.",
     "Nothing is to be done: the newer attempt goes on."},
    {ApiErrorCode::kNeedsHello, 409, kTransient,
     "The control plane does not know this start of the agent.",
     "The agent says hello again by itself."},
    {ApiErrorCode::kVersionMismatch, 426, kPersistent,
     "Agent and control plane are of versions that do not fit together.",
     "Install the same version on both sides."},
    {ApiErrorCode::kIdempotencyConflict, 409, kPersistent,
     "This Idempotency-Key was used before, for another request.",
     "Use a new key for a new request."},
    {ApiErrorCode::kUploadOffsetMismatch, 409, kTransient, "The upload goes on at another offset.",
     "Ask for the offset (HEAD) and send the file from there."},
    {ApiErrorCode::kUploadBusy, 409, kTransient, "Another request is writing this file.",
     "Wait for it to end, then ask for the offset and go on."},
    {ApiErrorCode::kArtifactOpen, 409, kTransient, "The artifact is not complete yet.",
     "Upload the missing files, then seal it."},
    {ApiErrorCode::kArtifactSealed, 409, kPersistent,
     "The artifact is sealed; its files are final.", "Make a new artifact for other content."},
    {ApiErrorCode::kDigestMismatch, 422, kPersistent,
     "The bytes that arrived are not those that were announced.",
     "Check that the file did not change meanwhile, then upload it again."},
    {ApiErrorCode::kNodeGone, 409, kPersistent, "The node is gone; it takes no more commands.",
     "See `ratchet nodes` for the nodes that there are."},
    {ApiErrorCode::kWebhookUrlRefused, 422, kPersistent, "The webhook's address is not allowed.",
     "Use a public https address, or ask the operator to allow its network."},
    {ApiErrorCode::kBodyTooLarge, 413, kPersistent,
     "The request's body is larger than this address takes.",
     "Send less at once; files are uploaded as artifacts."},
    {ApiErrorCode::kUriTooLong, 414, kPersistent, "The request's address is too long.",
     "Shorten the filters."},
    {ApiErrorCode::kUnsupportedMediaType, 415, kPersistent,
     "The request's body is of a type that this address does not take.",
     "Send JSON with Content-Type: application/json."},
    {ApiErrorCode::kRangeNotSatisfiable, 416, kPersistent,
     "The file is shorter than the range that was asked for.",
     "Ask for a range within the file's size."},
    {ApiErrorCode::kHeadersTooLarge, 431, kPersistent, "The request's header is too large.",
     "Send fewer or shorter header fields."},
    {ApiErrorCode::kQuotaExceeded, 403, kPersistent, "The tenant's quota does not allow this.",
     "Wait for other jobs to end, or ask an administrator for more."},
    {ApiErrorCode::kRateLimited, 429, kTransient, "There were too many requests in a short time.",
     "Wait for the time in Retry-After, then send it again."},
    {ApiErrorCode::kInternal, 500, kTransient, "The control plane has failed on its own.",
     "Send it again; report the request id when it happens again."},
    {ApiErrorCode::kNotSupported, 501, kPersistent, "This build does not support this.",
     "Install a version that does."},
    {ApiErrorCode::kStoreUnavailable, 503, kTransient, "The control plane's store does not answer.",
     "Send it again soon; the operator finds the cause under /v1/health."},
    {ApiErrorCode::kNotReady, 503, kTransient, "The control plane is starting or stopping.",
     "Send it again soon."},
    {ApiErrorCode::kStorageFull, 507, kTransient, "The control plane's disk is full.",
     "Remove what is not needed, or ask the operator for more room; then send it again."},
}};

constexpr DocumentLimits kErrorLimits{.max_bytes = 256 * 1024, .max_depth = 8};

}  // namespace

std::span<const Word<ErrorClass>> word_table(ErrorClass) {
  static constexpr std::array<Word<ErrorClass>, 2> kTable{{
      {ErrorClass::kTransient, "transient"},
      {ErrorClass::kPersistent, "persistent"},
  }};
  return kTable;
}

std::span<const Word<ApiErrorCode>> word_table(ApiErrorCode) {
  static constexpr std::array<Word<ApiErrorCode>, 43> kTable{{
      {ApiErrorCode::kInvalidJson, "invalid_json"},
      {ApiErrorCode::kInvalidRequest, "invalid_request"},
      {ApiErrorCode::kInvalidCursor, "invalid_cursor"},
      {ApiErrorCode::kInvalidSpec, "invalid_spec"},
      {ApiErrorCode::kUnauthenticated, "unauthenticated"},
      {ApiErrorCode::kForbidden, "forbidden"},
      {ApiErrorCode::kRouteNotFound, "route_not_found"},
      {ApiErrorCode::kJobNotFound, "job_not_found"},
      {ApiErrorCode::kRunNotFound, "run_not_found"},
      {ApiErrorCode::kAttemptNotFound, "attempt_not_found"},
      {ApiErrorCode::kCheckpointNotFound, "checkpoint_not_found"},
      {ApiErrorCode::kNodeNotFound, "node_not_found"},
      {ApiErrorCode::kArtifactNotFound, "artifact_not_found"},
      {ApiErrorCode::kFileNotFound, "file_not_found"},
      {ApiErrorCode::kWebhookNotFound, "webhook_not_found"},
      {ApiErrorCode::kTokenNotFound, "token_not_found"},
      {ApiErrorCode::kMethodNotAllowed, "method_not_allowed"},
      {ApiErrorCode::kRequestTimeout, "request_timeout"},
      {ApiErrorCode::kJobTerminal, "job_terminal"},
      {ApiErrorCode::kInvalidTransition, "invalid_transition"},
      {ApiErrorCode::kStaleEpoch, "stale_epoch"},
      {ApiErrorCode::kNeedsHello, "needs_hello"},
      {ApiErrorCode::kVersionMismatch, "version_mismatch"},
      {ApiErrorCode::kIdempotencyConflict, "idempotency_conflict"},
      {ApiErrorCode::kUploadOffsetMismatch, "upload_offset_mismatch"},
      {ApiErrorCode::kUploadBusy, "upload_busy"},
      {ApiErrorCode::kArtifactOpen, "artifact_open"},
      {ApiErrorCode::kArtifactSealed, "artifact_sealed"},
      {ApiErrorCode::kDigestMismatch, "digest_mismatch"},
      {ApiErrorCode::kNodeGone, "node_gone"},
      {ApiErrorCode::kWebhookUrlRefused, "webhook_url_refused"},
      {ApiErrorCode::kBodyTooLarge, "body_too_large"},
      {ApiErrorCode::kUriTooLong, "uri_too_long"},
      {ApiErrorCode::kUnsupportedMediaType, "unsupported_media_type"},
      {ApiErrorCode::kRangeNotSatisfiable, "range_not_satisfiable"},
      {ApiErrorCode::kHeadersTooLarge, "headers_too_large"},
      {ApiErrorCode::kQuotaExceeded, "quota_exceeded"},
      {ApiErrorCode::kRateLimited, "rate_limited"},
      {ApiErrorCode::kInternal, "internal"},
      {ApiErrorCode::kNotSupported, "not_supported"},
      {ApiErrorCode::kStoreUnavailable, "store_unavailable"},
      {ApiErrorCode::kNotReady, "not_ready"},
      {ApiErrorCode::kStorageFull, "storage_full"},
  }};
  return kTable;
}

std::span<const ApiErrorRow> api_error_table() { return kRows; }

const ApiErrorRow& api_error_row(ApiErrorCode code) {
  const auto row = std::ranges::find(kRows, code, &ApiErrorRow::code);
  return row != kRows.end() ? *row : api_error_row(ApiErrorCode::kInternal);
}

ApiError make_api_error(ApiErrorCode code, std::string message, std::string next_step) {
  const ApiErrorRow& row = api_error_row(code);
  return {.code = std::string(to_word(code)),
          .error_class = row.error_class,
          .message = message.empty() ? std::string(row.message) : std::move(message),
          .next_step = next_step.empty() ? std::string(row.next_step) : std::move(next_step),
          .details = {},
          .request_id = {}};
}

int http_status_of(std::string_view code) {
  const auto known = from_word<ApiErrorCode>(code);
  return known ? api_error_row(*known).http_status : 500;
}

std::string encode_api_error(const ApiError& error) {
  json details = json::object();
  for (const auto& [key, value] : error.details) {
    details[key] = evidence_json(value, {.text = 16'384, .items = 1000});
  }
  const json out = {{"error",
                     {{"code", error.code},
                      {"class", to_word(error.error_class)},
                      {"message", clip_text(error.message, kLongText.max_length)},
                      {"next_step", error.next_step},
                      {"details", std::move(details)},
                      {"request_id", error.request_id}}}};
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<ApiError> decode_api_error(std::string_view text) {
  FindingList findings;
  ApiError error;
  if (const auto document = Document::parse(text, kErrorLimits, findings)) {
    ObjectReader root = document->root(findings, UnknownKeys::kTolerate);
    root.require("error", "the error");
    if (auto in = root.object("error")) {
      in->require("code", "the error's code");
      in->text("code", error.code, {.min_length = 1, .max_length = 128});
      in->word("class", error.error_class);
      in->text("message", error.message, kLongText);
      in->text("next_step", error.next_step, kLongText);
      in->text("request_id", error.request_id, kLongText);
      get_evidence(*in, "details", error.details);
    }
  }
  if (!findings.empty()) return findings_error("The error answer", findings.take());
  return error;
}

ApiErrorCode api_error_code_for(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
      return ApiErrorCode::kInvalidRequest;
    case Code::kNotFound:
      return ApiErrorCode::kRouteNotFound;
    case Code::kAlreadyExists:
    case Code::kFailedPrecondition:
      return ApiErrorCode::kInvalidTransition;
    case Code::kCorrupt:
      return ApiErrorCode::kDigestMismatch;
    case Code::kUnsupported:
      return ApiErrorCode::kNotSupported;
    case Code::kNoSpace:
      return ApiErrorCode::kStorageFull;
    case Code::kUnavailable:
      return ApiErrorCode::kStoreUnavailable;
    case Code::kIo:
    case Code::kInternal:
      return ApiErrorCode::kInternal;
  }
  return ApiErrorCode::kInternal;
}

}  // namespace ratchet
