#include <algorithm>

#include "controlplane/store/batch_writer.h"
#include "controlplane/store/row_readers.h"

namespace ratchet::control {

namespace {

// Sent only to endpoints that name them or their group: one every few hundred steps of every job.
constexpr std::string_view kOffByDefault = "checkpoint.committed";

bool is_over(DeliveryState state) {
  return state == DeliveryState::kDelivered || state == DeliveryState::kDead;
}

Error no_webhook(const std::string& id) {
  return Error{Code::kNotFound, "There is no webhook " + id + "."};
}

}  // namespace

bool wants_event(const std::vector<std::string>& types, std::string_view type) {
  const bool by_star = type != kOffByDefault;
  if (types.empty()) return by_star;
  return std::any_of(types.begin(), types.end(), [&](std::string_view wanted) {
    if (wanted == "*") return by_star;
    if (!wanted.ends_with(".*")) return wanted == type;
    return type.starts_with(wanted.substr(0, wanted.size() - 1));
  });
}

std::string event_id(const std::string& store_id, std::int64_t id) {
  return "evt_" + store_id + "_" + std::to_string(id);
}

Result<const std::vector<BatchWriter::Endpoint>*> BatchWriter::endpoints(
    const std::string& tenant) {
  if (const auto known = endpoints_.find(tenant); known != endpoints_.end()) {
    return &known->second;
  }
  std::vector<Endpoint> found;
  Query query(db_, "SELECT id, types FROM webhooks WHERE tenant = ? AND enabled = 1", {tenant});
  while (query.next()) found.push_back({query.text(0), split_words(query.text(1))});
  if (!query.status()) return query.status().error();
  return &(endpoints_[tenant] = std::move(found));
}

Status BatchWriter::write_event(const EventRow& event, const std::string* only_webhook,
                                CommitInfo& info) {
  EventRecord record;
  record.id = counters_.next_event++;
  record.event_id = event_id(store_id_, record.id);
  record.row = event;
  const Value job = event.job_id.empty() ? Value(nullptr) : Value(event.job_id);
  auto done = db_.run(
      "INSERT INTO events (id, job_id, seq, tenant, type, attempt_no, epoch, step, cause,"
      " data_json, time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      {record.id, job, event.seq, event.tenant, event.type, event.attempt_no, event.epoch,
       event.step, event.cause, event.data_json, event.time});
  if (!done) return done;
  if (only_webhook != nullptr) {
    done = deliver(record, *only_webhook, false, event.time);
    if (!done) return done;
    ++info.deliveries;
  } else {
    const auto wanting = endpoints(event.tenant);
    if (!wanting) return wanting.error();
    for (const Endpoint& endpoint : **wanting) {
      if (!wants_event(endpoint.types, event.type)) continue;
      done = deliver(record, endpoint.id, true, event.time);
      if (!done) return done;
      ++info.deliveries;
    }
  }
  info.events.push_back(std::move(record));
  return ok();
}

// `ordered`: waits for open deliveries of earlier events of the same job to the same endpoint.
Status BatchWriter::deliver(const EventRecord& record, const std::string& webhook_id, bool ordered,
                            UnixMillis now) {
  const std::string order_key = ordered ? record.row.job_id.str() : std::string();
  bool blocked = false;
  if (!order_key.empty()) {
    Query earlier(db_,
                  "SELECT 1 FROM deliveries WHERE webhook_id = ? AND order_key = ? AND open = 1"
                  " LIMIT 1",
                  {webhook_id, order_key});
    blocked = earlier.next();
    if (!earlier.status()) return earlier.status();
  }
  return db_.run(
      "INSERT INTO deliveries (id, webhook_id, tenant, event, job_id, order_key, type, state, open,"
      " blocked, replay, tries, next_at, last_status, last_error, last_ms, created_at, ended_at)"
      " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, 0, ?, 0, '', 0, ?, NULL)",
      {counters_.next_delivery++, webhook_id, record.row.tenant, record.id, record.row.job_id,
       order_key, record.row.type, to_word(DeliveryState::kPending), blocked, !ordered, now, now});
}

Status BatchWriter::write(const UpdateDelivery& update, CommitInfo& info) {
  const DeliveryRow& row = update.row;
  std::string webhook_id;
  std::string order_key;
  bool was_open = false;
  {
    Query stored(db_, "SELECT webhook_id, order_key, open FROM deliveries WHERE id = ?", {row.id});
    if (!stored.next()) {
      if (!stored.status()) return stored.status();
      return Error{Code::kNotFound, "There is no delivery " + std::to_string(row.id) + "."};
    }
    webhook_id = stored.text(0);
    order_key = stored.text(1);
    was_open = stored.boolean(2);
  }
  const bool over = is_over(row.state);
  if (!was_open && !over) {
    return Error{Code::kFailedPrecondition,
                 "Delivery " + std::to_string(row.id) + " is over and cannot be tried again."};
  }
  auto done = db_.run(
      "UPDATE deliveries SET state = ?, open = ?, tries = ?, next_at = ?, last_status = ?,"
      " last_error = ?, last_ms = ?, ended_at = ? WHERE id = ?",
      {to_word(row.state), !over, row.tries, row.next_at, row.last_status, row.last_error,
       row.last_ms, row.ended_at, row.id});
  if (!done || !over || !was_open || order_key.empty()) return done;
  done = db_.run(
      "UPDATE deliveries SET blocked = 0 WHERE id = (SELECT MIN(id) FROM deliveries"
      " WHERE webhook_id = ? AND order_key = ? AND open = 1)",
      {webhook_id, order_key});
  info.deliveries += done && db_.changed() > 0 ? 1 : 0;
  return done;
}

Status BatchWriter::write(const TestEvent& test, CommitInfo& info) {
  if (!test.event.job_id.empty()) {
    return Error{Code::kInvalidArgument, "A test event belongs to no job."};
  }
  {
    Query webhook(db_, "SELECT 1 FROM webhooks WHERE id = ? AND tenant = ?",
                  {test.webhook_id, test.event.tenant});
    if (!webhook.next()) {
      return webhook.status() ? Status(no_webhook(test.webhook_id)) : webhook.status();
    }
  }
  return write_event(test.event, &test.webhook_id, info);
}

Status BatchWriter::write(const ReplayEvents& replay, CommitInfo& info) {
  std::string tenant;
  std::vector<std::string> types;
  {
    Query webhook(db_, "SELECT tenant, types FROM webhooks WHERE id = ?", {replay.webhook_id});
    if (!webhook.next()) {
      return webhook.status() ? Status(no_webhook(replay.webhook_id)) : webhook.status();
    }
    tenant = webhook.text(0);
    types = split_words(webhook.text(1));
  }
  return replay.event != 0 ? replay_one(replay, tenant, info)
                           : replay_range(replay, tenant, types, info);
}

Status BatchWriter::replay_one(const ReplayEvents& replay, const std::string& tenant,
                               CommitInfo& info) {
  EventRecord record;
  {
    Query query(db_, select_events("WHERE id = ? AND tenant = ?"), {replay.event, tenant});
    if (!query.next()) {
      if (!query.status()) return query.status();
      return Error{Code::kNotFound, "There is no event " + event_id(store_id_, replay.event) +
                                        " any more: events are kept for a set time."};
    }
    record = read_event(query, store_id_);
  }
  ++info.deliveries;
  return deliver(record, replay.webhook_id, false, replay.now);
}

Status BatchWriter::replay_range(const ReplayEvents& replay, const std::string& tenant,
                                 const std::vector<std::string>& types, CommitInfo& info) {
  std::vector<EventRecord> records;
  std::int64_t seen = 0;
  {
    Query query(
        db_, select_events("WHERE tenant = ? AND time BETWEEN ? AND ? ORDER BY time, id LIMIT ?"),
        {tenant, replay.from, replay.to, kMaxReplay + 1});
    while (query.next()) {
      ++seen;
      EventRecord record = read_event(query, store_id_);
      if (wants_event(types, record.row.type)) records.push_back(std::move(record));
    }
    if (!query.status()) return query.status();
  }
  if (seen > kMaxReplay) {
    return Error{Code::kInvalidArgument, "The range holds more than " + std::to_string(kMaxReplay) +
                                             " events: replay it in shorter pieces."};
  }
  std::sort(records.begin(), records.end(),
            [](const auto& a, const auto& b) { return a.id < b.id; });
  for (const EventRecord& record : records) {
    if (auto done = deliver(record, replay.webhook_id, false, replay.now); !done) return done;
  }
  info.deliveries += static_cast<std::int64_t>(records.size());
  return ok();
}

}  // namespace ratchet::control
