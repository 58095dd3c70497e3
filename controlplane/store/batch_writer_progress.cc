#include <algorithm>
#include <map>

#include "controlplane/store/batch_writer.h"

namespace ratchet::control {

namespace {

// A value of SQLite is never NaN: it stores NULL, which reads as NaN (Query::number).
constexpr std::string_view kUpsertMetric =
    "INSERT INTO metrics (job_id, step, attempt_no, total_steps, loss, loss_bits, grad_norm, lr,"
    " data_epoch, tokens, tokens_per_s, step_ms, eta_s, vram_allocated, vram_peak, replayed,"
    " replay_mismatch, time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)"
    " ON CONFLICT (job_id, step) DO UPDATE SET attempt_no = excluded.attempt_no,"
    " total_steps = excluded.total_steps, loss = excluded.loss, loss_bits = excluded.loss_bits,"
    " grad_norm = excluded.grad_norm, lr = excluded.lr, data_epoch = excluded.data_epoch,"
    " tokens = excluded.tokens, tokens_per_s = excluded.tokens_per_s,"
    " step_ms = excluded.step_ms, eta_s = excluded.eta_s,"
    " vram_allocated = excluded.vram_allocated, vram_peak = excluded.vram_peak,"
    " replayed = excluded.replayed, replay_mismatch = CASE WHEN metrics.replay_mismatch = 1"
    " OR metrics.loss_bits <> excluded.loss_bits THEN 1 ELSE 0 END, time = excluded.time"
    // What an older attempt says late changes nothing.
    " WHERE excluded.attempt_no >= metrics.attempt_no";

}  // namespace

Result<bool> BatchWriter::has_job(const JobId& job) {
  Query query(db_, "SELECT 1 FROM jobs WHERE id = ?", {job});
  const bool found = query.next();
  if (!query.status()) return query.status().error();
  return found;
}

// Lines are a stream: those that continue it are taken, known ones are passed over, those after a
// gap are left to be sent again.
Status BatchWriter::write_lines(const std::vector<TrainerLine>& lines, CommitInfo& info) {
  std::map<std::pair<JobId, std::int64_t>, std::vector<const TrainerLine*>> groups;
  for (const TrainerLine& line : lines) groups[{line.job_id, line.attempt_no}].push_back(&line);
  for (auto& [key, group] : groups) {
    const auto known = has_job(key.first);
    if (!known) return known.error();
    if (!*known) continue;
    if (auto done = write_line_group(group, info); !done) return done;
  }
  return ok();
}

Status BatchWriter::write_line_group(std::vector<const TrainerLine*>& lines, CommitInfo& info) {
  const JobId& job = lines.front()->job_id;
  const std::int64_t attempt_no = lines.front()->attempt_no;
  std::uint64_t cursor = 0;
  {
    Query query(db_, "SELECT seq FROM line_cursors WHERE job_id = ? AND attempt_no = ?",
                {job, attempt_no});
    if (query.next()) cursor = static_cast<std::uint64_t>(query.integer(0));
    if (!query.status()) return query.status();
  }
  const std::uint64_t before = cursor;
  std::stable_sort(lines.begin(), lines.end(),
                   [](const TrainerLine* a, const TrainerLine* b) { return a->seq < b->seq; });
  for (const TrainerLine* line : lines) {
    if (line->seq != cursor + 1) continue;
    auto done = db_.run(
        "INSERT INTO trainer_lines (job_id, attempt_no, seq, epoch, line) VALUES (?, ?, ?, ?, ?)",
        {job, attempt_no, line->seq, line->epoch, line->line});
    if (!done) return done;
    cursor = line->seq;
  }
  info.acked_lines.push_back({job, attempt_no, cursor});
  if (cursor == before) return ok();
  return db_.run(
      "INSERT INTO line_cursors (job_id, attempt_no, seq) VALUES (?, ?, ?)"
      " ON CONFLICT (job_id, attempt_no) DO UPDATE SET seq = excluded.seq",
      {job, attempt_no, cursor});
}

Status BatchWriter::write(const MetricRow& row) {
  const auto known = has_job(row.job_id);
  if (!known) return known.error();
  if (!*known) return ok();
  return db_.run(kUpsertMetric,
                 {row.job_id, row.step, row.attempt_no, row.total_steps, row.loss, row.loss_bits,
                  row.grad_norm, row.lr, row.data_epoch, row.tokens, row.tokens_per_s, row.step_ms,
                  row.eta_s, row.vram_allocated, row.vram_peak, row.replayed, row.time});
}

Status BatchWriter::write(const EvaluationRow& row) {
  const auto known = has_job(row.job_id);
  if (!known) return known.error();
  if (!*known) return ok();
  return db_.run(
      "INSERT INTO evaluations (job_id, step, attempt_no, loss, best, time)"
      " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (job_id, step) DO UPDATE SET"
      " attempt_no = excluded.attempt_no, loss = excluded.loss, best = excluded.best,"
      " time = excluded.time WHERE excluded.attempt_no >= evaluations.attempt_no",
      {row.job_id, row.step, row.attempt_no, row.loss, row.best, row.time});
}

}  // namespace ratchet::control
