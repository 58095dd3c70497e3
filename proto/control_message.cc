#include "proto/control_message.h"

#include <array>
#include <nlohmann/json.hpp>

#include "proto/document.h"

namespace ratchet {

using nlohmann::json;

namespace {

constexpr DocumentLimits kControlLimits{.max_bytes = kMaxControlBytes, .max_depth = 8};
constexpr TextRule kErrorText{.max_length = 16'384, .kind = TextKind::kAny};

std::string to_line(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// Parses a line, reads it with `read` and turns findings into an error that names `what`.
template <class T, class Read>
Result<T> decode(std::string_view what, std::string_view line, Read read) {
  FindingList findings;
  T out;
  if (const auto document = Document::parse(line, kControlLimits, findings)) {
    ObjectReader in = document->root(findings, UnknownKeys::kTolerate);
    read(in, out);
  }
  if (!findings.empty()) return findings_error(what, findings.take());
  return out;
}

void read_request(ObjectReader& in, ControlRequest& request) {
  in.require("request", list_words<ControlVerb>());
  in.word("request", request.verb);
  std::int64_t deadline_ms = 0;
  if (in.integer("deadline_ms", deadline_ms, {1, kMaxControlDeadline.count()})) {
    request.deadline = std::chrono::milliseconds(deadline_ms);
  }
}

void read_response(ObjectReader& in, ControlResponse& response) {
  std::string schema;
  in.require("schema", "\"control/1\"");
  if (in.text("schema", schema) && schema != kControlSchema) {
    in.add_finding("schema", "must be \"control/1\", the version that this build reads.");
  }
  in.require("ok", "true or false");
  in.boolean("ok", response.ok);
  in.require("request", list_words<ControlVerb>());
  in.word("request", response.verb);
  in.text("error", response.error, kErrorText);
  std::string id;
  if (in.id("job_id", id)) response.job_id = JobId(id);
  in.word("stage", response.stage);
  in.integer("step", response.step, kCount);
  in.integer("total_steps", response.total_steps, kCount);
  if (auto checkpoint = in.object("checkpoint")) {
    ControlCheckpoint& value = response.checkpoint.emplace();
    checkpoint->integer("step", value.step, kCount);
    checkpoint->text("path", value.path);
    checkpoint->text("manifest_sha256", value.manifest_sha256);
  }
}

}  // namespace

std::span<const Word<ControlVerb>> word_table(ControlVerb) {
  static constexpr std::array<Word<ControlVerb>, 3> kTable{{
      {ControlVerb::kCheckpoint, "checkpoint"},
      {ControlVerb::kStatus, "status"},
      {ControlVerb::kStop, "stop"},
  }};
  return kTable;
}

std::string encode_control_request(const ControlRequest& request) {
  json out = {{"request", to_word(request.verb)}};
  if (request.deadline) out["deadline_ms"] = request.deadline->count();
  return to_line(out);
}

Result<ControlRequest> decode_control_request(std::string_view line) {
  return decode<ControlRequest>("The control request", line, read_request);
}

std::string encode_control_response(const ControlResponse& response) {
  json out = {{"schema", kControlSchema},
              {"ok", response.ok},
              {"request", to_word(response.verb)},
              {"stage", to_word(response.stage)},
              {"step", response.step},
              {"total_steps", response.total_steps}};
  if (!response.job_id.empty()) out["job_id"] = response.job_id.str();
  if (!response.error.empty()) out["error"] = response.error;
  if (response.checkpoint) {
    out["checkpoint"] = {{"step", response.checkpoint->step},
                         {"path", response.checkpoint->path},
                         {"manifest_sha256", response.checkpoint->manifest_sha256}};
  }
  return to_line(out);
}

Result<ControlResponse> decode_control_response(std::string_view line) {
  return decode<ControlResponse>("The control response", line, read_response);
}

}  // namespace ratchet
