#include "controlplane/service/webhook_source.h"

#include "controlplane/core/event_data.h"
#include "controlplane/service/blocking.h"

namespace ratchet::control {

namespace {

Result<WebhookTarget> read_target(const Store& store, const std::string& id, UnixMillis now) {
  auto row = store.webhooks().webhook(id, "");
  if (!row) return row.error();
  auto secrets = store.webhooks().secrets(id);
  if (!secrets) return secrets.error();
  WebhookTarget out{.row = *std::move(row), .secrets = {}};
  for (auto& secret : *secrets) {
    if (!secret.expires_at || *secret.expires_at > now) {
      out.secrets.push_back(std::move(secret.secret));
    }
  }
  return out;
}

using Rows = Result<std::vector<WebhookRow>>;

Rows read_rows(const Store& store, const std::vector<EndpointDisabled>& disabled) {
  std::vector<WebhookRow> out;
  for (const auto& endpoint : disabled) {
    auto row = store.webhooks().webhook(endpoint.webhook_id, "");
    if (!row && row.error().code == Code::kNotFound) continue;
    if (!row) return row.error();
    row->enabled = false;
    row->disabled_reason = endpoint.reason;
    out.push_back(*std::move(row));
  }
  return out;
}

}  // namespace

asio::awaitable<Result<std::vector<DueDelivery>>> WebhookSource::due(UnixMillis now,
                                                                     std::int64_t each) {
  std::function<Result<std::vector<DueDelivery>>()> read = [this, now, each] {
    return store_.webhooks().due(now, each);
  };
  co_return co_await run_in(pool_, std::move(read));
}

asio::awaitable<Result<WebhookTarget>> WebhookSource::target(std::string webhook_id,
                                                             UnixMillis now) {
  std::function<Result<WebhookTarget>()> read = [this, id = std::move(webhook_id), now] {
    return read_target(store_, id, now);
  };
  co_return co_await run_in(pool_, std::move(read));
}

asio::awaitable<Status> WebhookSource::record(std::vector<DeliveryRow> rows,
                                              std::vector<EndpointDisabled> disabled) {
  Batch batch;
  for (auto& row : rows) batch.writes.emplace_back(UpdateDelivery{std::move(row)});
  if (!disabled.empty()) {
    std::function<Rows()> read = [this, disabled] { return read_rows(store_, disabled); };
    auto endpoints = co_await run_in(pool_, std::move(read));
    if (!endpoints) co_return endpoints.error();
    const auto now = Service::now().wall;
    for (auto& row : *endpoints) {
      EventRow event;
      event.tenant = row.tenant;
      event.type = "webhook.endpoint_disabled";
      event.data_json =
          EventData().text("webhook_id", row.id).text("reason", row.disabled_reason).str();
      event.time = now;
      row.updated_at = now;
      batch.events.push_back(std::move(event));
      batch.writes.emplace_back(std::move(row));
    }
  }
  const auto done = co_await service_.commit(std::move(batch));
  if (!done) co_return done.error();
  co_return ok();
}

}  // namespace ratchet::control
