#pragma once

// A DeliverySource in memory, for tests of the dispatcher.

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "controlplane/webhooks/dispatcher.h"
#include "controlplane/webhooks/signing.h"

namespace ratchet::control::testing {

inline UnixMillis now() {
  return std::chrono::duration_cast<UnixMillis>(
      std::chrono::system_clock::now().time_since_epoch());
}

// Keeps rows as the store does: of a job and an endpoint, only the first that is open is due.
class MemorySource : public DeliverySource {
 public:
  void add_endpoint(const std::string& id, const std::string& url) {
    WebhookTarget& target = targets[id];
    target.row.id = id;
    target.row.url = url;
    target.row.format = "standard";
    target.secrets = {make_webhook_secret().value()};
  }
  void add_event(const std::string& webhook_id, const std::string& job_id, std::int64_t seq) {
    DueDelivery due;
    due.delivery.id = static_cast<std::int64_t>(rows.size()) + 1;
    due.delivery.webhook_id = webhook_id;
    due.delivery.event_id = "evt_m_" + std::to_string(due.delivery.id);
    due.delivery.job_id = JobId(job_id);
    due.delivery.created_at = due.delivery.next_at = now();
    due.event.event_id = due.delivery.event_id;
    due.event.row.job_id = JobId(job_id);
    due.event.row.seq = seq;
    due.event.row.type = "job.started";
    due.event.row.data_json = "{}";
    due.event.row.time = now();
    rows[due.delivery.id] = due;
  }
  std::size_t count(DeliveryState state) const {
    return static_cast<std::size_t>(std::ranges::count_if(
        rows, [&](const auto& entry) { return entry.second.delivery.state == state; }));
  }

  asio::awaitable<Result<std::vector<DueDelivery>>> due(UnixMillis time,
                                                        std::int64_t each) override {
    std::vector<DueDelivery> out;
    std::map<std::string, std::int64_t> found;
    std::set<std::pair<std::string, std::string>> open;
    for (const auto& [id, row] : rows) {
      const DeliveryRow& delivery = row.delivery;
      if (delivery.ended_at || !targets[delivery.webhook_id].row.enabled) continue;
      if (!open.insert({delivery.webhook_id, delivery.job_id.str()}).second) continue;
      if (delivery.next_at <= time && found[delivery.webhook_id]++ < each) out.push_back(row);
    }
    co_return out;
  }
  asio::awaitable<Result<WebhookTarget>> target(std::string webhook_id, UnixMillis) override {
    co_return targets.at(webhook_id);
  }
  asio::awaitable<Status> record(std::vector<DeliveryRow> changed,
                                 std::vector<EndpointDisabled> disabled) override {
    if (fail_records > 0) {
      --fail_records;
      co_return Error{Code::kUnavailable, "The store does not answer."};
    }
    for (const DeliveryRow& row : changed) rows.at(row.id).delivery = row;
    for (const EndpointDisabled& endpoint : disabled) {
      targets.at(endpoint.webhook_id).row.enabled = false;
      targets.at(endpoint.webhook_id).row.disabled_reason = endpoint.reason;
    }
    co_return ok();
  }

  std::map<std::int64_t, DueDelivery> rows;
  std::map<std::string, WebhookTarget> targets;
  int fail_records = 0;
};

}  // namespace ratchet::control::testing
