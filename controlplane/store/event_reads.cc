#include "controlplane/store/paging.h"
#include "controlplane/store/row_readers.h"
#include "controlplane/store/sqlite_reads.h"

namespace ratchet::control {

namespace {

std::string select_metrics(std::string_view tail) {
  return "SELECT step, attempt_no, total_steps, loss, loss_bits, grad_norm, lr, data_epoch, tokens,"
         " tokens_per_s, step_ms, eta_s, vram_allocated, vram_peak, replayed, replay_mismatch, time"
         " FROM metrics " +
         std::string(tail);
}

MetricRow read_metric(const Query& query, const JobId& job) {
  MetricRow row;
  row.job_id = job;
  row.step = query.integer(0);
  row.attempt_no = query.integer(1);
  row.total_steps = query.integer(2);
  row.loss = query.number(3);
  row.loss_bits = query.text(4);
  row.grad_norm = query.number(5);
  row.lr = query.number(6);
  row.data_epoch = query.number(7);
  row.tokens = query.integer(8);
  row.tokens_per_s = query.number(9);
  row.step_ms = query.number(10);
  row.eta_s = query.number(11);
  row.vram_allocated = Bytes(query.integer(12));
  row.vram_peak = Bytes(query.integer(13));
  row.replayed = query.boolean(14);
  row.replay_mismatch = query.boolean(15);
  row.time = query.time(16);
  return row;
}

Result<std::vector<EventRecord>> read_events(Query& query, const std::string& store_id) {
  std::vector<EventRecord> records;
  while (query.next()) records.push_back(read_event(query, store_id));
  if (!query.status()) return query.status().error();
  return records;
}

}  // namespace

Result<std::vector<EventRecord>> SqliteEventReads::job_events(const JobId& id,
                                                              std::int64_t after_seq,
                                                              std::int64_t limit) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(), select_events("WHERE job_id = ? AND seq > ? ORDER BY seq LIMIT ?"),
              {id, after_seq, page_limit(limit)});
  return read_events(query, store_id_);
}

Result<std::vector<EventRecord>> SqliteEventReads::events(const EventQuery& query) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  std::string tail = "WHERE id > ?";
  std::vector<Value> values{query.after};
  if (!query.tenant.empty()) {
    tail += " AND tenant = ?";
    values.emplace_back(query.tenant);
  }
  if (!query.type.empty()) {
    tail += " AND type = ?";
    values.emplace_back(query.type);
  }
  values.emplace_back(page_limit(query.limit));
  Query rows(lease->db(), select_events(tail + " ORDER BY id LIMIT ?"), values);
  return read_events(rows, store_id_);
}

Result<EventRecord> SqliteEventReads::event(std::int64_t id, const std::string& tenant) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(), select_events("WHERE id = ?"), {id});
  auto records = read_events(query, store_id_);
  if (!records) return records.error();
  if (records->empty() || (!tenant.empty() && records->front().row.tenant != tenant)) {
    return Error{Code::kNotFound, "There is no event " + std::to_string(id) + "."};
  }
  return std::move(records->front());
}

Result<std::vector<MetricRow>> SqliteEventReads::metrics(const JobId& id, std::int64_t after_step,
                                                         std::int64_t limit) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(), select_metrics("WHERE job_id = ? AND step > ? ORDER BY step LIMIT ?"),
              {id, after_step, page_limit(limit)});
  std::vector<MetricRow> rows;
  while (query.next()) rows.push_back(read_metric(query, id));
  if (!query.status()) return query.status().error();
  return rows;
}

// The newest attempt's furthest step: after a resume that is not the furthest of all.
Result<std::optional<MetricRow>> SqliteEventReads::last_metric(const JobId& id) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(),
              select_metrics("WHERE job_id = ? ORDER BY attempt_no DESC, step DESC LIMIT 1"), {id});
  std::optional<MetricRow> row;
  if (query.next()) row = read_metric(query, id);
  if (!query.status()) return query.status().error();
  return row;
}

Result<std::vector<EvaluationRow>> SqliteEventReads::evaluations(const JobId& id) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(),
              "SELECT step, attempt_no, loss, best, time FROM evaluations WHERE job_id = ?"
              " ORDER BY step",
              {id});
  std::vector<EvaluationRow> rows;
  while (query.next()) {
    rows.push_back(
        {id, query.integer(0), query.integer(1), query.number(2), query.boolean(3), query.time(4)});
  }
  if (!query.status()) return query.status().error();
  return rows;
}

Result<std::vector<TrainerLine>> SqliteEventReads::lines(const JobId& id, std::int64_t attempt_no,
                                                         std::uint64_t after_seq,
                                                         std::int64_t limit) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(),
              "SELECT epoch, seq, line FROM trainer_lines WHERE job_id = ? AND attempt_no = ?"
              " AND seq > ? ORDER BY seq LIMIT ?",
              {id, attempt_no, after_seq, page_limit(limit)});
  std::vector<TrainerLine> rows;
  while (query.next()) {
    rows.push_back({id, attempt_no, query.integer(0), static_cast<std::uint64_t>(query.integer(1)),
                    query.text(2)});
  }
  if (!query.status()) return query.status().error();
  return rows;
}

Result<std::uint64_t> SqliteEventReads::line_cursor(const JobId& id,
                                                    std::int64_t attempt_no) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(), "SELECT seq FROM line_cursors WHERE job_id = ? AND attempt_no = ?",
              {id, attempt_no});
  std::uint64_t seq = 0;
  if (query.next()) seq = static_cast<std::uint64_t>(query.integer(0));
  if (!query.status()) return query.status().error();
  return seq;
}

}  // namespace ratchet::control
