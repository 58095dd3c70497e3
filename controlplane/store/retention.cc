#include "controlplane/store/retention.h"

#include <algorithm>

namespace ratchet::control {

namespace {

// Jobs that a portion looks at: some may have events that are kept for a delivery.
constexpr std::int64_t kJobsAPortion = 64;

class Sweep {
 public:
  Sweep(Database& db, const RetentionRequest& request)
      : db_(db),
        request_(request),
        portion_(std::clamp<std::int64_t>(request.portion, 1, 100'000)) {}

  Result<RetentionReport> run() {
    for (const auto part : {&Sweep::deliveries, &Sweep::jobs, &Sweep::jobless, &Sweep::records}) {
      left_ = portion_;
      std::int64_t removed = 0;
      const auto done = with_transaction(db_, [&]() -> Status {
        left_ = portion_;
        if (auto swept = (this->*part)(); !swept) return swept;
        removed = portion_ - left_;
        return ok();
      });
      if (!done) return done.error();
      report_.rows += removed;
      report_.more = report_.more || removed == portion_;
    }
    return report_;
  }

 private:
  Status remove(std::string_view sql, std::initializer_list<Value> values) {
    auto done = db_.run(sql, values);
    if (done) left_ -= db_.changed();
    return done;
  }

  Status deliveries() {
    auto done = remove(
        "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE open = 0"
        " AND ended_at < ? LIMIT ?)",
        {request_.deliveries_before, left_});
    if (!done || left_ == 0) return done;
    return remove(
        "DELETE FROM deliveries WHERE id IN (SELECT deliveries.id FROM webhooks JOIN deliveries"
        " ON deliveries.webhook_id = webhooks.id WHERE webhooks.enabled = 0"
        " AND deliveries.open = 1 AND deliveries.created_at < ? LIMIT ?)",
        {request_.deliveries_before, left_});
  }

  Status jobs() {
    std::vector<std::string> ids;
    {
      Query query(db_,
                  "SELECT id FROM jobs WHERE live = 0 AND pruned = 0 AND ended_at < ?"
                  " ORDER BY ended_at LIMIT ?",
                  {request_.events_before, kJobsAPortion});
      while (query.next()) ids.push_back(query.text(0));
      if (!query.status()) return query.status();
    }
    for (const std::string& id : ids) {
      if (left_ == 0) return ok();
      if (auto done = job(id); !done) return done;
    }
    return ok();
  }

  Status job(const std::string& id) {
    auto done = remove(
        "DELETE FROM trainer_lines WHERE job_id = ? AND (attempt_no, seq) IN"
        " (SELECT attempt_no, seq FROM trainer_lines WHERE job_id = ? LIMIT ?)",
        {id, id, left_});
    if (!done || left_ == 0) return done;
    done = remove(
        "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE job_id = ?"
        " AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.event = events.id) LIMIT ?)",
        {id, left_});
    if (!done || left_ == 0) return done;
    return db_.run(
        "UPDATE jobs SET pruned = 1 WHERE id = ?"
        " AND NOT EXISTS (SELECT 1 FROM events WHERE events.job_id = jobs.id)",
        {id});
  }

  Status jobless() {
    return remove(
        "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE job_id IS NULL AND time < ?"
        " AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.event = events.id) LIMIT ?)",
        {request_.events_before, left_});
  }

  Status records() {
    auto done = remove(
        "DELETE FROM error_logs WHERE error_id IN"
        " (SELECT error_id FROM error_logs WHERE time < ? LIMIT ?)",
        {request_.errors_before, left_});
    if (!done || left_ == 0) return done;
    return remove(
        "DELETE FROM idempotency WHERE (tenant, idempotency_key) IN"
        " (SELECT tenant, idempotency_key FROM idempotency WHERE created_at < ? LIMIT ?)",
        {request_.idempotency_before, left_});
  }

  Database& db_;
  const RetentionRequest& request_;
  const std::int64_t portion_;
  std::int64_t left_ = 0;
  RetentionReport report_;
};

}  // namespace

Result<RetentionReport> remove_old(Database& db, const RetentionRequest& request) {
  return Sweep(db, request).run();
}

}  // namespace ratchet::control
