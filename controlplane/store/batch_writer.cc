#include "controlplane/store/batch_writer.h"

#include <set>

#include "controlplane/store/row_codec.h"

namespace ratchet::control {

namespace {

Error refused(std::string message) {
  return Error{Code::kFailedPrecondition,
               "The store refused a change that contradicts what it holds: " + std::move(message)};
}

bool is_first_attempt(const JobRow& row) { return row.attempts <= 1; }

}  // namespace

Status BatchWriter::apply(const Batch& batch, CommitInfo& info) {
  if (auto fits = scan_events(batch); !fits) return fits;
  std::set<JobId> recovering;
  // Jobs first: all else refers to them.
  for (const Row& row : batch.rows) {
    const auto* job = std::get_if<JobRow>(&row);
    if (job == nullptr) continue;
    if (auto done = write(*job); !done) return done;
    if (job->phase == JobPhase::kRecovering) recovering.insert(job->id);
  }
  for (const Row& row : batch.rows) {
    if (std::holds_alternative<JobRow>(row)) continue;
    if (const auto* stages = std::get_if<InterruptionRow>(&row)) recovering.insert(stages->job_id);
    auto done = std::visit([this](const auto& held) { return write(held); }, row);
    if (!done) return done;
  }
  for (const JobId& job : recovering) {
    if (auto done = settle_state(job); !done) return done;
  }
  for (const EventRow& event : batch.events) {
    if (auto done = write_event(event, nullptr, info); !done) return done;
  }
  if (auto done = write_lines(batch.lines, info); !done) return done;
  for (const MetricRow& row : batch.metrics) {
    if (auto done = write(row); !done) return done;
  }
  for (const EvaluationRow& row : batch.evaluations) {
    if (auto done = write(row); !done) return done;
  }
  for (const Write& one : batch.writes) {
    auto done = std::visit([&](const auto& held) { return write(held, info); }, one);
    if (!done) return done;
  }
  return ok();
}

// Seqs of each job must be contiguous in the batch, and each job with events must have its row in
// it: the row carries event_seq, from which the core numbers on after a restart.
Status BatchWriter::scan_events(const Batch& batch) {
  seqs_.clear();
  for (const EventRow& event : batch.events) {
    if (event.job_id.empty()) continue;
    auto [entry, is_new] = seqs_.try_emplace(event.job_id, Seqs{event.seq, event.seq});
    if (is_new) continue;
    if (event.seq != entry->second.last + 1) {
      return refused("event " + std::to_string(event.seq) + " of job " + event.job_id.str() +
                     " follows event " + std::to_string(entry->second.last) + ".");
    }
    entry->second.last = event.seq;
  }
  std::set<JobId> with_row;
  for (const Row& row : batch.rows) {
    if (const auto* job = std::get_if<JobRow>(&row)) with_row.insert(job->id);
  }
  for (const auto& [job, seqs] : seqs_) {
    if (!with_row.contains(job)) {
      return refused("event " + std::to_string(seqs.first) + " of job " + job.str() +
                     " came without the job's row.");
    }
  }
  return ok();
}

Status BatchWriter::check_job(const JobRow& row, bool& is_new) {
  std::int64_t last_seq = 0;
  {
    Query stored(db_, "SELECT epoch, phase, last_seq, tenant FROM jobs WHERE id = ?", {row.id});
    is_new = !stored.next();
    if (!stored.status()) return stored.status();
    if (!is_new) {
      const std::string phase = stored.text(1);
      const auto known = from_word<JobPhase>(phase);
      last_seq = stored.integer(2);
      if (row.epoch < stored.integer(0)) {
        return refused("epoch " + std::to_string(row.epoch) + " of job " + row.id.str() +
                       " is lower than " + std::to_string(stored.integer(0)) + ".");
      }
      if (known && is_terminal(*known) && *known != row.phase) {
        return refused("job " + row.id.str() + " is " + phase + " and cannot become " +
                       std::string(to_word(row.phase)) + ".");
      }
      if (stored.text(3) != row.tenant) {
        return refused("job " + row.id.str() + " belongs to another tenant.");
      }
    }
  }
  const auto seqs = seqs_.find(row.id);
  const std::int64_t first = seqs == seqs_.end() ? last_seq + 1 : seqs->second.first;
  const std::int64_t last = seqs == seqs_.end() ? last_seq : seqs->second.last;
  if (first != last_seq + 1) {
    return refused("event " + std::to_string(first) + " of job " + row.id.str() +
                   " follows event " + std::to_string(last_seq) + ".");
  }
  if (row.event_seq != last) {
    return refused("job " + row.id.str() + " says its last event is " +
                   std::to_string(row.event_seq) + ", and it is " + std::to_string(last) + ".");
  }
  return ok();
}

Status BatchWriter::write(const JobRow& row) {
  bool is_new = false;
  if (auto fits = check_job(row, is_new); !fits) return fits;
  const bool live = !is_terminal(row.phase);
  const JobState state = user_state(row.phase, is_first_attempt(row), false);
  auto done = db_.run(
      "INSERT INTO jobs (id, tenant, run_id, name, phase, state, live, epoch, attempts, last_seq,"
      " head_artifact, result_artifact, created_at, ended_at, pruned, doc)"
      " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)"
      " ON CONFLICT (id) DO UPDATE SET phase = excluded.phase, state = excluded.state,"
      " live = excluded.live, epoch = excluded.epoch, attempts = excluded.attempts,"
      " last_seq = excluded.last_seq, head_artifact = excluded.head_artifact,"
      " result_artifact = excluded.result_artifact, ended_at = excluded.ended_at,"
      " doc = excluded.doc",
      {row.id, row.tenant, row.run_id, row.name, to_word(row.phase), to_word(state), live,
       row.epoch, row.attempts, row.event_seq, row.head.artifact_id, row.result_artifact,
       row.created_at, row.ended_at, encode_row(row)});
  if (!done || !is_new) return done;
  return write_spec(row);
}

Status BatchWriter::write_spec(const JobRow& row) {
  auto done = db_.run("INSERT INTO job_specs (job_id, spec_json, inputs_json) VALUES (?, ?, ?)",
                      {row.id, row.spec_json, encode_inputs(row.inputs)});
  if (!done) return done;
  for (const std::string& tag : spec_tags(row.spec_json)) {
    done = db_.run(
        "INSERT INTO job_tags (tenant, tag, created_at, job_id) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (tag, tenant, created_at, job_id) DO NOTHING",
        {row.tenant, tag, row.created_at, row.id});
    if (!done) return done;
  }
  return ok();
}

Status BatchWriter::settle_state(const JobId& job) {
  bool waiting = false;
  std::int64_t attempts = 0;
  {
    Query query(db_,
                "SELECT jobs.phase, jobs.attempts, interruptions.waiting FROM jobs"
                " LEFT JOIN interruptions ON interruptions.job_id = jobs.id"
                " WHERE jobs.id = ? ORDER BY interruptions.number DESC LIMIT 1",
                {job});
    if (!query.next()) return query.status();
    if (query.text(0) != to_word(JobPhase::kRecovering)) return ok();
    attempts = query.integer(1);
    waiting = query.boolean(2);
  }
  const JobState state = user_state(JobPhase::kRecovering, attempts <= 1, waiting);
  return db_.run("UPDATE jobs SET state = ? WHERE id = ?", {to_word(state), job});
}

Status BatchWriter::write(const AttemptRow& row) {
  return db_.run(
      "INSERT INTO attempts (job_id, attempt_no, epoch, ended, doc) VALUES (?, ?, ?, ?, ?)"
      " ON CONFLICT (job_id, attempt_no) DO UPDATE SET epoch = excluded.epoch,"
      " ended = excluded.ended, doc = excluded.doc",
      {row.job_id, row.attempt_no, row.epoch, is_terminal(row.state), encode_row(row)});
}

Status BatchWriter::write(const NodeRow& row) {
  return db_.run(
      "INSERT INTO nodes (id, tenant, gone, created_at, doc) VALUES (?, ?, ?, ?, ?)"
      " ON CONFLICT (id) DO UPDATE SET gone = excluded.gone, doc = excluded.doc",
      {row.id, row.tenant, row.provider == ProviderState::kGone, row.created_at, encode_row(row)});
}

Status BatchWriter::write(const CheckpointRow& row) {
  const bool retired = row.state == CheckpointState::kRetired;
  const bool kept = !retired && row.state != CheckpointState::kDiscarded;
  return db_.run(
      "INSERT INTO checkpoints (job_id, step, epoch, manifest_sha256, artifact_id, kept, retired,"
      " doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
      " ON CONFLICT (job_id, step, epoch, manifest_sha256) DO UPDATE SET"
      " artifact_id = excluded.artifact_id, kept = excluded.kept, retired = excluded.retired,"
      " doc = excluded.doc",
      {row.job_id, row.step, row.epoch, row.manifest_sha256, row.artifact_id, kept, retired,
       encode_row(row)});
}

Status BatchWriter::write(const IntentRow& row) {
  return db_.run(
      "INSERT INTO intents (intent_key, done, doc) VALUES (?, ?, ?)"
      " ON CONFLICT (intent_key) DO UPDATE SET done = excluded.done, doc = excluded.doc",
      {row.key, row.state == IntentState::kDone, encode_row(row)});
}

Status BatchWriter::write(const InterruptionRow& row) {
  const auto stage = static_cast<std::size_t>(RecoveryStage::kProvisioning);
  const bool waiting = row.stages[stage].state == StageState::kPending;
  return db_.run(
      "INSERT INTO interruptions (job_id, number, waiting, doc) VALUES (?, ?, ?, ?)"
      " ON CONFLICT (job_id, number) DO UPDATE SET waiting = excluded.waiting,"
      " doc = excluded.doc",
      {row.job_id, row.number, waiting, encode_row(row)});
}

}  // namespace ratchet::control
