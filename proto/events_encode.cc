// Events to JSON lines.

#include <cmath>
#include <nlohmann/json.hpp>

#include "proto/document.h"
#include "proto/events.h"
#include "proto/exit_record_json.h"

namespace ratchet {

using nlohmann::json;

namespace {

json finite_or_null(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

// Its line must stay below kMaxEventBytes.
using EncodeLimits = ExitRecordLimits;

json clip_list(const std::vector<std::string>& texts, EncodeLimits limits) {
  json out = json::array();
  for (const std::string& text : texts) {
    if (out.size() == limits.items) break;
    out.push_back(clip_text(text, limits.text));
  }
  return out;
}

void put(json& out, const StageEvent& event, EncodeLimits limits) {
  out["stage"] = to_word(event.stage);
  out["detail"] = clip_text(event.detail, limits.text);
}

void put(json& out, const StepEvent& event, EncodeLimits) {
  out["step"] = event.step;
  out["total_steps"] = event.total_steps;
  out["data_epoch"] = event.data_epoch;
  out["loss"] = finite_or_null(event.loss);
  out["loss_bits"] = double_bits(event.loss);
  out["grad_norm"] = finite_or_null(event.grad_norm);
  out["grad_norm_bits"] = double_bits(event.grad_norm);
  out["lr"] = event.lr;
  out["tokens"] = event.tokens;
  out["trained_tokens"] = event.trained_tokens;
  out["tokens_per_s"] = event.tokens_per_s;
  out["times"] = {{"total_ms", event.times.total_ms},
                  {"data_ms", event.times.data_ms},
                  {"forward_ms", event.times.forward_ms},
                  {"backward_ms", event.times.backward_ms},
                  {"optimizer_ms", event.times.optimizer_ms},
                  {"checkpoint_stall_ms", event.times.checkpoint_stall_ms}};
  out["eta_s"] = event.eta_s;
  out["replayed"] = event.replayed;
  if (event.vram) {
    out["vram"] = {{"allocated_bytes", event.vram->allocated.count()},
                   {"reserved_bytes", event.vram->reserved.count()},
                   {"peak_bytes", event.vram->peak.count()},
                   {"device_used_bytes", event.vram->device_used.count()}};
  }
}

void put(json& out, const EvaluationEvent& event, EncodeLimits) {
  out["step"] = event.step;
  out["loss"] = finite_or_null(event.loss);
  out["loss_bits"] = double_bits(event.loss);
  out["trained_tokens"] = event.trained_tokens;
  out["duration_ms"] = event.duration_ms;
  out["best"] = event.best;
}

void put(json& out, const CheckpointEvent& event, EncodeLimits limits) {
  out["step"] = event.step;
  out["reason"] = to_word(event.reason);
  out["path"] = clip_text(event.path, limits.text);
  out["manifest_sha256"] = clip_text(event.manifest_sha256, limits.text);
  out["bytes"] = event.size.count();
  out["stall_us"] = event.stall_us;
  out["copy_ms"] = event.copy_ms;
  out["write_ms"] = event.write_ms;
  out["skipped"] = clip_text(event.skipped, limits.text);
}

void put(json& out, const ResumeEvent& event, EncodeLimits limits) {
  out["step"] = event.step;
  out["path"] = clip_text(event.path, limits.text);
  out["class"] = to_word(event.resume_class);
  out["reasons"] = clip_list(event.reasons, limits);
  out["replay_steps"] = event.replay_steps;
  json rejected = json::array();
  for (const RejectedCheckpoint& entry : event.rejected) {
    if (rejected.size() == limits.items) break;
    rejected.push_back({{"path", clip_text(entry.path, limits.text)},
                        {"rung", clip_text(entry.rung, limits.text)},
                        {"reason", clip_text(entry.reason, limits.text)}});
  }
  out["rejected"] = std::move(rejected);
}

void put(json& out, const WarningEvent& event, EncodeLimits limits) {
  out["kind"] = clip_text(event.kind, limits.text);
  out["message"] = clip_text(event.message, limits.text);
  out["step"] = event.step;
}

void put(json& out, const ExitRecord& record, EncodeLimits limits) {
  put_exit_record(out, record, limits);
}

}  // namespace

std::string encode_event(const Event& event) {
  json out = {{"schema", kEventSchema},
              {"type", event_type(event.body)},
              {"seq", event.header.seq},
              {"time_ms", event.header.time.count()},
              {"job_id", event.header.job_id.str()},
              {"attempt_no", event.header.attempt_no},
              {"epoch", event.header.epoch}};
  // A step event always fits; others shrink what they quote until they do.
  for (EncodeLimits limits; limits.items > 0; limits.text /= 2, limits.items /= 2) {
    std::visit([&](const auto& body) { put(out, body, limits); }, event.body);
    std::string line = out.dump(-1, ' ', false, json::error_handler_t::replace);
    if (line.size() <= kMaxEventBytes) return line;
  }
  std::visit([&](const auto& body) { put(out, body, {.text = 0, .items = 0}); }, event.body);
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace ratchet
