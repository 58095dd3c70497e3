#include <limits>

#include "controlplane/store/batch_writer.h"
#include "controlplane/store/paging.h"
#include "controlplane/store/row_readers.h"
#include "controlplane/store/sqlite_reads.h"

namespace ratchet::control {

namespace {

std::string select_webhooks(std::string_view tail) {
  return "SELECT id, tenant, url, description, types, format, enabled, disabled_reason, created_at,"
         " updated_at FROM webhooks " +
         std::string(tail);
}

Result<std::vector<WebhookRow>> read_webhooks(Query& query) {
  std::vector<WebhookRow> rows;
  while (query.next()) {
    WebhookRow& row = rows.emplace_back();
    row.id = query.text(0);
    row.tenant = query.text(1);
    row.url = query.text(2);
    row.description = query.text(3);
    row.types = split_words(query.text(4));
    row.format = query.text(5);
    row.enabled = query.boolean(6);
    row.disabled_reason = query.text(7);
    row.created_at = query.time(8);
    row.updated_at = query.time(9);
  }
  if (!query.status()) return query.status().error();
  return rows;
}

Result<std::vector<std::string>> enabled_webhooks(Database& db) {
  Query query(db, "SELECT id FROM webhooks WHERE enabled = 1 ORDER BY id", {});
  std::vector<std::string> ids;
  while (query.next()) ids.push_back(query.text(0));
  if (!query.status()) return query.status().error();
  return ids;
}

}  // namespace

Result<std::vector<WebhookRow>> SqliteWebhookReads::webhooks(const std::string& tenant) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  const std::string order = "ORDER BY created_at, id";
  if (tenant.empty()) {
    Query query(lease->db(), select_webhooks(order), {});
    return read_webhooks(query);
  }
  Query query(lease->db(), select_webhooks("WHERE tenant = ? " + order), {tenant});
  return read_webhooks(query);
}

Result<WebhookRow> SqliteWebhookReads::webhook(const std::string& id,
                                               const std::string& tenant) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(), select_webhooks("WHERE id = ?"), {id});
  auto rows = read_webhooks(query);
  if (!rows) return rows.error();
  if (rows->empty() || (!tenant.empty() && rows->front().tenant != tenant)) {
    return Error{Code::kNotFound, "There is no webhook " + id + "."};
  }
  return std::move(rows->front());
}

Result<std::vector<WebhookSecret>> SqliteWebhookReads::secrets(
    const std::string& webhook_id) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(),
              "SELECT sealed, created_at, expires_at FROM webhook_secrets WHERE webhook_id = ?"
              " ORDER BY position",
              {webhook_id});
  std::vector<WebhookSecret> secrets;
  while (query.next()) {
    auto secret = box_.open(query.text(0), secret_context(webhook_id));
    if (!secret) return secret.error();
    secrets.push_back({std::move(*secret), query.time(1), query.maybe_time(2)});
  }
  if (!query.status()) return query.status().error();
  return secrets;
}

Result<std::vector<DueDelivery>> SqliteWebhookReads::due(UnixMillis now, std::int64_t each) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Database& db = lease->db();
  const auto ids = enabled_webhooks(db);
  if (!ids) return ids.error();
  std::vector<DueDelivery> found;
  for (const std::string& id : *ids) {
    Query query(db,
                select_deliveries("WHERE webhook_id = ? AND open = 1 AND blocked = 0"
                                  " AND next_at <= ? ORDER BY next_at, id LIMIT ?"),
                {id, now, page_limit(each)});
    while (query.next()) found.push_back({read_delivery(query, store_id_), {}});
    if (!query.status()) return query.status().error();
  }
  for (DueDelivery& due : found) {
    Query query(db, select_events("WHERE id = ?"), {due.delivery.event});
    if (query.next()) due.event = read_event(query, store_id_);
    if (!query.status()) return query.status().error();
  }
  return found;
}

Result<std::optional<UnixMillis>> SqliteWebhookReads::next_due() const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  const auto ids = enabled_webhooks(lease->db());
  if (!ids) return ids.error();
  std::optional<UnixMillis> next;
  for (const std::string& id : *ids) {
    Query query(lease->db(),
                "SELECT next_at FROM deliveries WHERE webhook_id = ? AND open = 1 AND blocked = 0"
                " ORDER BY next_at, id LIMIT 1",
                {id});
    if (query.next()) next = next ? std::min(*next, query.time(0)) : query.time(0);
    if (!query.status()) return query.status().error();
  }
  return next;
}

Result<Page<DeliveryRow>> SqliteWebhookReads::deliveries(const DeliveryQuery& query) const {
  // Ids grow, so the cursor is the id, in the place of the time.
  std::int64_t before = std::numeric_limits<std::int64_t>::max();
  if (!query.page.cursor.empty()) {
    const auto cursor = read_cursor(query.page.cursor);
    if (!cursor) return cursor.error();
    before = cursor->time;
  }
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  std::string tail = "WHERE id < ?";
  std::vector<Value> values{before};
  if (!query.tenant.empty()) {
    tail += " AND tenant = ?";
    values.emplace_back(query.tenant);
  }
  if (!query.webhook_id.empty()) {
    tail += " AND webhook_id = ?";
    values.emplace_back(query.webhook_id);
  }
  if (query.state) {
    tail += " AND state = ?";
    values.emplace_back(to_word(*query.state));
  }
  const std::int64_t limit = page_limit(query.page.limit);
  values.emplace_back(limit + 1);
  Query rows(lease->db(), select_deliveries(tail + " ORDER BY id DESC LIMIT ?"), values);
  Page<DeliveryRow> page;
  while (rows.next()) page.items.push_back(read_delivery(rows, store_id_));
  if (!rows.status()) return rows.status().error();
  finish_page(page, limit, [](const DeliveryRow& row) { return Cursor{row.id, "delivery"}; });
  return page;
}

Result<std::int64_t> SqliteWebhookReads::backlog() const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(), "SELECT COUNT(*) FROM deliveries WHERE open = 1", {});
  if (!query.next()) return query.status().error();
  return query.integer(0);
}

}  // namespace ratchet::control
