#include "controlplane/store/batch_writer.h"
#include "controlplane/store/paging.h"
#include "controlplane/store/sqlite_reads.h"

namespace ratchet::control {

namespace {

std::string select_tokens(std::string_view tail) {
  return "SELECT id, tenant, name, sha256, scopes, node_id, created_at, expires_at, revoked_at,"
         " last_used_at FROM tokens " +
         std::string(tail);
}

TokenRow read_token(const Query& query) {
  TokenRow row;
  row.id = query.text(0);
  row.tenant = query.text(1);
  row.name = query.text(2);
  row.sha256 = query.text(3);
  row.scopes = split_words(query.text(4));
  row.node_id = query.text(5);
  row.created_at = query.time(6);
  row.expires_at = query.maybe_time(7);
  row.revoked_at = query.maybe_time(8);
  row.last_used_at = query.maybe_time(9);
  return row;
}

// "WHERE .. AND (time, id) < (..)" of a list that is sorted newest first; `after` is what the
// values point into.
struct NewestFirst {
  std::string tail;
  std::vector<Value> values;
  std::int64_t limit = 1;
};

Result<NewestFirst> newest_first(const std::string& tenant, const PageRequest& page,
                                 const std::string& time, const std::string& id, Cursor& after) {
  NewestFirst sql;
  if (!tenant.empty()) {
    sql.tail = "WHERE tenant = ?";
    sql.values.emplace_back(tenant);
  }
  if (!page.cursor.empty()) {
    auto cursor = read_cursor(page.cursor);
    if (!cursor) return cursor.error();
    after = std::move(*cursor);
    sql.tail += sql.values.empty() ? "WHERE (" : " AND (";
    sql.tail += time + ", " + id + ") < (?, ?)";
    sql.values.emplace_back(after.time);
    sql.values.emplace_back(after.id);
  }
  sql.tail += " ORDER BY " + time + " DESC, " + id + " DESC LIMIT ?";
  sql.limit = page_limit(page.limit);
  sql.values.emplace_back(sql.limit + 1);
  return sql;
}

}  // namespace

Result<std::vector<TenantRow>> SqliteAccountReads::tenants() const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(), "SELECT id, name, created_at FROM tenants ORDER BY id", {});
  std::vector<TenantRow> rows;
  while (query.next()) rows.push_back({query.text(0), query.text(1), query.time(2)});
  if (!query.status()) return query.status().error();
  return rows;
}

Result<TokenRow> SqliteAccountReads::token_by_sha256(const std::string& sha256) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(), select_tokens("WHERE sha256 = ?"), {sha256});
  if (query.next()) return read_token(query);
  if (!query.status()) return query.status().error();
  return Error{Code::kNotFound, "The token is not known."};
}

Result<TokenRow> SqliteAccountReads::token(const std::string& id, const std::string& tenant) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(), select_tokens("WHERE id = ?"), {id});
  if (query.next()) {
    TokenRow row = read_token(query);
    if (tenant.empty() || row.tenant == tenant) return row;
  }
  if (!query.status()) return query.status().error();
  return Error{Code::kNotFound, "There is no token " + id + "."};
}

Result<Page<TokenRow>> SqliteAccountReads::tokens(const std::string& tenant,
                                                  PageRequest request) const {
  Cursor after;
  const auto sql = newest_first(tenant, request, "created_at", "id", after);
  if (!sql) return sql.error();
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(), select_tokens(sql->tail), sql->values);
  Page<TokenRow> page;
  while (query.next()) page.items.push_back(read_token(query));
  if (!query.status()) return query.status().error();
  finish_page(page, sql->limit,
              [](const TokenRow& row) { return Cursor{row.created_at.count(), row.id}; });
  return page;
}

Result<std::optional<IdempotencyRow>> SqliteAccountReads::idempotency(const std::string& tenant,
                                                                      const std::string& key,
                                                                      UnixMillis now) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(),
              "SELECT body_sha256, status, answer, created_at FROM idempotency WHERE tenant = ?"
              " AND idempotency_key = ? AND created_at >= ?",
              {tenant, key, now - kIdempotencyLife});
  std::optional<IdempotencyRow> row;
  if (query.next()) {
    row = IdempotencyRow{tenant,        key,
                         query.text(0), static_cast<int>(query.integer(1)),
                         query.text(2), query.time(3)};
  }
  if (!query.status()) return query.status().error();
  return row;
}

Result<std::vector<SettingRow>> SqliteAccountReads::settings() const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(
      lease->db(),
      "SELECT setting_key, value, changed_by, changed_at FROM settings ORDER BY setting_key", {});
  std::vector<SettingRow> rows;
  while (query.next()) {
    rows.push_back({query.text(0), query.text(1), query.text(2), query.time(3)});
  }
  if (!query.status()) return query.status().error();
  return rows;
}

Result<Page<ErrorLogRow>> SqliteAccountReads::error_logs(const std::string& tenant,
                                                         PageRequest request) const {
  Cursor after;
  const auto sql = newest_first(tenant, request, "time", "error_id", after);
  if (!sql) return sql.error();
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(),
              "SELECT error_id, tenant, error_type, error_code, message, stack_trace, context_json,"
              " user_name, job_id, severity, time FROM error_logs " +
                  sql->tail,
              sql->values);
  Page<ErrorLogRow> page;
  while (query.next()) {
    page.items.push_back({query.text(0), query.text(1), query.text(2), query.text(3), query.text(4),
                          query.text(5), query.text(6), query.text(7), JobId(query.text(8)),
                          query.text(9), query.time(10)});
  }
  if (!query.status()) return query.status().error();
  finish_page(page, sql->limit,
              [](const ErrorLogRow& row) { return Cursor{row.time.count(), row.error_id}; });
  return page;
}

}  // namespace ratchet::control
