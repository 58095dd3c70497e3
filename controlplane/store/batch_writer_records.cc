#include "controlplane/store/batch_writer.h"

#include <algorithm>

namespace ratchet::control {

namespace {

Error missing(std::string_view what, const std::string& id) {
  return Error{Code::kNotFound, "There is no " + std::string(what) + " " + id + "."};
}

}  // namespace

std::string secret_context(const std::string& webhook_id) { return "webhook " + webhook_id; }

std::string join_words(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    if (!text.empty()) text += ' ';
    text += word;
  }
  return text;
}

std::vector<std::string> split_words(const std::string& text) {
  std::vector<std::string> words;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    if (end > begin) words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

Status BatchWriter::write(const TenantRow& row, CommitInfo& /*info*/) {
  return db_.run(
      "INSERT INTO tenants (id, name, created_at) VALUES (?, ?, ?)"
      " ON CONFLICT (id) DO UPDATE SET name = excluded.name",
      {row.id, row.name, row.created_at});
}

Status BatchWriter::write(const TokenRow& row, CommitInfo& /*info*/) {
  return db_.run(
      "INSERT INTO tokens (id, tenant, name, sha256, scopes, node_id, created_at, expires_at,"
      " revoked_at, last_used_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)"
      " ON CONFLICT (id) DO UPDATE SET name = excluded.name, scopes = excluded.scopes,"
      " expires_at = excluded.expires_at, revoked_at = excluded.revoked_at",
      {row.id, row.tenant, row.name, row.sha256, join_words(row.scopes), row.node_id,
       row.created_at, row.expires_at, row.revoked_at});
}

Status BatchWriter::write(const TokenUse& use, CommitInfo& /*info*/) {
  return db_.run("UPDATE tokens SET last_used_at = ? WHERE id = ?", {use.time, use.token_id});
}

Status BatchWriter::write(const WebhookRow& row, CommitInfo& /*info*/) {
  endpoints_.erase(row.tenant);
  auto done = db_.run(
      "INSERT INTO webhooks (id, tenant, url, description, types, format, enabled,"
      " disabled_reason, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
      " ON CONFLICT (id) DO UPDATE SET url = excluded.url, description = excluded.description,"
      " types = excluded.types, format = excluded.format, enabled = excluded.enabled,"
      " disabled_reason = excluded.disabled_reason, updated_at = excluded.updated_at",
      {row.id, row.tenant, row.url, row.description, join_words(row.types), row.format, row.enabled,
       row.disabled_reason, row.created_at, row.updated_at});
  if (!done || row.secrets.empty()) return done;
  done = db_.run("DELETE FROM webhook_secrets WHERE webhook_id = ?", {row.id});
  std::int64_t position = 0;
  for (const WebhookSecret& secret : row.secrets) {
    if (!done) return done;
    auto sealed = box_.seal(secret.secret, secret_context(row.id));
    if (!sealed) return sealed.error();
    const Blob blob{std::move(*sealed)};
    done = db_.run(
        "INSERT INTO webhook_secrets (webhook_id, position, sealed, created_at, expires_at)"
        " VALUES (?, ?, ?, ?, ?)",
        {row.id, position++, blob, secret.created_at, secret.expires_at});
  }
  return done;
}

Status BatchWriter::write(const DeleteWebhook& removal, CommitInfo& /*info*/) {
  endpoints_.clear();
  auto done = db_.run("DELETE FROM webhooks WHERE id = ?", {removal.id});
  if (done && db_.changed() == 0) return missing("webhook", removal.id);
  return done;
}

Status BatchWriter::write(const PutArtifact& put, CommitInfo& /*info*/) {
  const ArtifactRow& row = put.row;
  auto done = db_.run(
      "INSERT INTO artifacts (id, tenant, kind, state, bytes, file_count, created_by, pinned,"
      " created_at, updated_at, sealed_at, tombstone_at)"
      " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      {row.id, row.tenant, to_word(row.kind), to_word(row.state), row.bytes, row.file_count,
       row.created_by, row.pinned, row.created_at, row.updated_at, row.sealed_at,
       row.tombstone_at});
  for (const ArtifactFile& file : put.files) {
    if (!done) return done;
    done = db_.run(
        "INSERT INTO artifact_files (artifact_id, path, tenant, bytes, sha256)"
        " VALUES (?, ?, ?, ?, ?)",
        {row.id, file.path, row.tenant, file.bytes, file.sha256});
  }
  return done;
}

Status BatchWriter::write(const UpdateArtifact& update, CommitInfo& /*info*/) {
  const ArtifactRow& row = update.row;
  auto done = db_.run(
      "UPDATE artifacts SET state = ?, pinned = ?, updated_at = ?, sealed_at = ?,"
      " tombstone_at = ? WHERE id = ? AND tenant = ?",
      {to_word(row.state), row.pinned, row.updated_at, row.sealed_at, row.tombstone_at, row.id,
       row.tenant});
  if (done && db_.changed() == 0) return missing("artifact", row.id);
  return done;
}

Status BatchWriter::write(const DeleteArtifact& removal, CommitInfo& /*info*/) {
  auto done = db_.run("DELETE FROM artifacts WHERE id = ?", {removal.id});
  if (done && db_.changed() == 0) return missing("artifact", removal.id);
  return done;
}

Status BatchWriter::write(const IdempotencyRow& row, CommitInfo& /*info*/) {
  auto done =
      db_.run("DELETE FROM idempotency WHERE tenant = ? AND idempotency_key = ? AND created_at < ?",
              {row.tenant, row.key, row.created_at - kIdempotencyLife});
  if (!done) return done;
  return db_.run(
      "INSERT INTO idempotency (tenant, idempotency_key, body_sha256, status, answer, created_at)"
      " VALUES (?, ?, ?, ?, ?, ?)",
      {row.tenant, row.key, row.body_sha256, row.status, row.answer, row.created_at});
}

Status BatchWriter::write(const ErrorLogRow& row, CommitInfo& /*info*/) {
  return db_.run(
      "INSERT INTO error_logs (error_id, tenant, error_type, error_code, message, stack_trace,"
      " context_json, user_name, job_id, severity, time)"
      " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (error_id) DO NOTHING",
      {row.error_id, row.tenant, row.error_type, row.error_code, row.message, row.stack_trace,
       row.context_json, row.user, row.job_id, row.severity, row.time});
}

Status BatchWriter::write(const SettingRow& row, CommitInfo& /*info*/) {
  return db_.run(
      "INSERT INTO settings (setting_key, value, changed_by, changed_at) VALUES (?, ?, ?, ?)"
      " ON CONFLICT (setting_key) DO UPDATE SET value = excluded.value,"
      " changed_by = excluded.changed_by, changed_at = excluded.changed_at",
      {row.key, row.value, row.changed_by, row.changed_at});
}

}  // namespace ratchet::control
