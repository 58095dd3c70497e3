#include "controlplane/api/forms.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "controlplane/api/forms_json.h"
#include "proto/words.h"

namespace ratchet::control {

using nlohmann::json;

json time_form(const std::optional<UnixMillis>& time) {
  return time && time->count() != 0 ? json(time->count()) : json(nullptr);
}

json text_or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

json number_form(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

json evidence_form(const std::map<std::string, EvidenceValue>& evidence) {
  auto out = json::object();
  for (const auto& [key, value] : evidence) {
    std::visit([&](const auto& held) { out[key] = held; }, value);
  }
  return out;
}

std::string to_text(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json list_form(json items, const std::string& next_cursor) {
  return {{"items", std::move(items)}, {"next_cursor", text_or_null(next_cursor)}};
}

json event_form(const EventRecord& record) {
  const auto& row = record.row;
  auto data = json::parse(row.data_json, nullptr, false);
  if (!data.is_object()) data = json::object();
  return {{"id", record.id},
          {"event_id", record.event_id},
          {"type", row.type},
          {"job_id", text_or_null(row.job_id.str())},
          {"job_seq", row.seq},
          {"attempt_no", row.attempt_no},
          {"epoch", row.epoch},
          {"step", row.step},
          {"cause", text_or_null(row.cause)},
          {"data", std::move(data)},
          {"occurred_at_ms", row.time.count()}};
}

json step_form(const LastStep& step) {
  return {{"step", step.step},
          {"total_steps", step.total_steps},
          {"percent", percent_of(step.step, step.total_steps)},
          {"data_epoch", number_form(step.data_epoch)},
          {"loss", number_form(step.loss)},
          {"lr", number_form(step.lr)},
          {"tokens_per_s", number_form(step.tokens_per_s)},
          {"eta_s", number_form(step.eta_s)},
          {"replayed", step.replayed},
          {"vram",
           {{"allocated_bytes", step.vram_allocated.count()},
            {"peak_bytes", step.vram_peak.count()},
            {"device_used_bytes", step.vram_used.count()}}},
          {"at_ms", step.time.count()}};
}

json metric_form(const MetricRow& row) {
  return {{"step", row.step},
          {"attempt_no", row.attempt_no},
          {"total_steps", row.total_steps},
          {"data_epoch", number_form(row.data_epoch)},
          {"loss", number_form(row.loss)},
          {"loss_bits", row.loss_bits},
          {"grad_norm", number_form(row.grad_norm)},
          {"lr", number_form(row.lr)},
          {"tokens", row.tokens},
          {"tokens_per_s", number_form(row.tokens_per_s)},
          {"step_ms", number_form(row.step_ms)},
          {"eta_s", number_form(row.eta_s)},
          {"vram_allocated_bytes", row.vram_allocated.count()},
          {"vram_peak_bytes", row.vram_peak.count()},
          {"replayed", row.replayed},
          {"replay_mismatch", row.replay_mismatch},
          {"at_ms", row.time.count()}};
}

json evaluation_form(const EvaluationRow& row) {
  return {{"step", row.step},
          {"attempt_no", row.attempt_no},
          {"loss", number_form(row.loss)},
          {"best", row.best},
          {"at_ms", row.time.count()}};
}

json artifact_form(const ArtifactRow& row) {
  return {{"id", row.id},
          {"kind", to_word(row.kind)},
          {"state", to_word(row.state)},
          {"bytes", row.bytes},
          {"file_count", row.file_count},
          {"pinned", row.pinned},
          {"created_by", text_or_null(row.created_by)},
          {"created_at_ms", row.created_at.count()},
          {"sealed_at_ms", time_form(row.sealed_at)}};
}

json artifact_form(const ArtifactStatus& status) {
  auto out = artifact_form(status.row);
  auto files = json::array();
  for (const auto& file : status.files) {
    files.push_back({{"path", file.file.path},
                     {"bytes", file.file.bytes},
                     {"sha256", file.file.sha256},
                     {"received_bytes", file.received},
                     {"complete", file.complete}});
  }
  out["files"] = std::move(files);
  return out;
}

json token_form(const TokenRow& row) {
  return {{"id", row.id},
          {"name", row.name},
          {"tenant", row.tenant},
          {"scope", row.scopes.empty() ? "" : row.scopes.front()},
          {"node_id", text_or_null(row.node_id)},
          {"created_at_ms", row.created_at.count()},
          {"expires_at_ms", time_form(row.expires_at)},
          {"revoked_at_ms", time_form(row.revoked_at)},
          {"last_used_at_ms", time_form(row.last_used_at)}};
}

json fault_form(const ErrorLogRow& row) {
  return {{"id", row.error_id},
          {"type", row.error_type},
          {"code", row.error_code},
          {"message", row.message},
          {"stack_trace", text_or_null(row.stack_trace)},
          {"user", text_or_null(row.user)},
          {"job_id", text_or_null(row.job_id.str())},
          {"severity", row.severity},
          {"at_ms", row.time.count()}};
}

json webhook_form(const WebhookRow& row) {
  return {{"id", row.id},
          {"url", row.url},
          {"description", row.description},
          {"types", row.types},
          {"format", row.format},
          {"disabled", !row.enabled},
          {"disabled_reason", text_or_null(row.disabled_reason)},
          {"created_at_ms", row.created_at.count()},
          {"updated_at_ms", row.updated_at.count()}};
}

json delivery_form(const DeliveryRow& row) {
  return {{"id", row.id},
          {"webhook_id", row.webhook_id},
          {"event_id", row.event_id},
          {"job_id", text_or_null(row.job_id.str())},
          {"type", row.type},
          {"state", to_word(row.state)},
          {"replay", row.replay},
          {"tries", row.tries},
          {"next_at_ms", row.ended_at ? json(nullptr) : json(row.next_at.count())},
          {"last_status", row.last_status},
          {"last_error", text_or_null(row.last_error)},
          {"last_duration_ms", row.last_ms},
          {"created_at_ms", row.created_at.count()},
          {"ended_at_ms", time_form(row.ended_at)}};
}

json store_health_form(const StoreHealth& health) {
  return {{"ok", health.ok},
          {"message", health.message},
          {"schema_version", health.schema_version},
          {"database_bytes", health.database_size.count()},
          {"wal_bytes", health.wal_size.count()},
          {"pool",
           {{"connections", health.readers},
            {"idle", health.readers_idle},
            {"waiting", health.readers_waiting}}},
          {"queued_batches", health.queued},
          {"batches", health.batches},
          {"failed_batches", health.failed_batches},
          {"transactions", health.transactions},
          {"busy_retries", health.busy_retries},
          {"commit_ms_mean", number_form(health.commit_ms_mean)},
          {"commit_ms_max", number_form(health.commit_ms_max)}};
}

double percent_of(std::int64_t step, std::int64_t total_steps) {
  if (total_steps <= 0) return 0;
  return std::clamp(100.0 * static_cast<double>(step) / static_cast<double>(total_steps), 0.0,
                    100.0);
}

}  // namespace ratchet::control
