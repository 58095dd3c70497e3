#include "controlplane/store/paging.h"
#include "controlplane/store/row_codec.h"
#include "controlplane/store/sqlite_reads.h"

namespace ratchet::control {

namespace {

constexpr std::string_view kSelectJobs =
    "SELECT jobs.doc, job_specs.spec_json, job_specs.inputs_json, jobs.state,"
    " (SELECT MAX(number) FROM interruptions WHERE interruptions.job_id = jobs.id)";

Status read_job(const Query& query, JobView& view) {
  if (auto decoded = decode_row(query.text(0), view.row); !decoded) return decoded;
  view.row.spec_json = query.text(1);
  if (auto decoded = decode_inputs(query.text(2), view.row.inputs); !decoded) return decoded;
  view.state = from_word<JobState>(query.text(3)).value_or(view.state);
  view.interruptions = query.integer(4);
  return ok();
}

template <class Row>
Result<std::vector<Row>> read_docs(Query& query) {
  std::vector<Row> rows;
  while (query.next()) {
    if (auto decoded = decode_row(query.text(0), rows.emplace_back()); !decoded) {
      return decoded.error();
    }
  }
  if (!query.status()) return query.status().error();
  return rows;
}

template <class Row>
Result<std::vector<Row>> docs_of_job(ReaderPool& pool, std::string_view sql, const JobId& id) {
  const auto lease = pool.take();
  if (!lease) return lease.error();
  Query query(lease->db(), sql, {id});
  return read_docs<Row>(query);
}

// Text that LIKE takes as it is, in lower case.
std::string like_part(const std::string& text) {
  std::string out = "%";
  for (const char c : text) {
    if (c == '%' || c == '_' || c == '\\') out += '\\';
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out + "%";
}

struct JobSql {
  std::string text;
  std::vector<Value> values;

  void where(std::string_view condition, Value value) {
    text += values.empty() ? " WHERE " : " AND ";
    text += condition;
    values.push_back(value);
  }
};

// `name` and `after` are what the values point into.
JobSql job_sql(const JobQuery& query, const std::string& name, const Cursor* after,
               std::int64_t limit) {
  JobSql sql;
  sql.text = kSelectJobs;
  // A tag leads: it is the narrowest.
  const bool tagged = !query.tag.empty();
  const std::string time = tagged ? "job_tags.created_at" : "jobs.created_at";
  const std::string id = tagged ? "job_tags.job_id" : "jobs.id";
  sql.text += tagged ? " FROM job_tags JOIN jobs ON jobs.id = job_tags.job_id" : " FROM jobs";
  sql.text += " JOIN job_specs ON job_specs.job_id = jobs.id";
  if (tagged) sql.where("job_tags.tag = ?", query.tag);
  if (!query.tenant.empty()) {
    sql.where(tagged ? "job_tags.tenant = ?" : "jobs.tenant = ?", query.tenant);
  }
  if (!query.run_id.empty()) sql.where("jobs.run_id = ?", query.run_id);
  if (query.state) sql.where("jobs.state = ?", to_word(*query.state));
  if (query.phase) sql.where("jobs.phase = ?", to_word(*query.phase));
  if (!query.name.empty()) sql.where("lower(jobs.name) LIKE ? ESCAPE '\\'", name);
  const bool newest = query.order == Order::kNewestFirst;
  if (after != nullptr) {
    sql.where("(" + time + ", " + id + (newest ? ") < (?, ?)" : ") > (?, ?)"), after->time);
    sql.values.emplace_back(after->id);
  }
  const std::string direction = newest ? " DESC" : " ASC";
  sql.text += " ORDER BY " + time + direction + ", " + id + direction + " LIMIT ?";
  sql.values.emplace_back(limit + 1);
  return sql;
}

}  // namespace

Result<Page<JobView>> SqliteJobReads::jobs(const JobQuery& query) const {
  std::optional<Cursor> after;
  if (!query.page.cursor.empty()) {
    auto cursor = read_cursor(query.page.cursor);
    if (!cursor) return cursor.error();
    after = std::move(*cursor);
  }
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  const std::int64_t limit = page_limit(query.page.limit);
  const std::string name = like_part(query.name);
  const JobSql sql = job_sql(query, name, after ? &*after : nullptr, limit);
  Query rows(lease->db(), sql.text, sql.values);
  Page<JobView> page;
  while (rows.next()) {
    if (auto read = read_job(rows, page.items.emplace_back()); !read) return read.error();
  }
  if (!rows.status()) return rows.status().error();
  finish_page(page, limit, [](const JobView& view) {
    return Cursor{view.row.created_at.count(), view.row.id.str()};
  });
  return page;
}

Result<JobView> SqliteJobReads::job(const JobId& id, const std::string& tenant) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  const std::string sql = std::string(kSelectJobs) +
                          " FROM jobs JOIN job_specs ON job_specs.job_id = jobs.id"
                          " WHERE jobs.id = ?";
  Query query(lease->db(), sql, {id});
  JobView view;
  if (query.next()) {
    if (auto read = read_job(query, view); !read) return read.error();
    if (tenant.empty() || view.row.tenant == tenant) return view;
  }
  if (!query.status()) return query.status().error();
  return Error{Code::kNotFound, "There is no job " + id.str() + "."};
}

Result<std::vector<AttemptRow>> SqliteJobReads::attempts(const JobId& id) const {
  return docs_of_job<AttemptRow>(
      pool_, "SELECT doc FROM attempts WHERE job_id = ? ORDER BY attempt_no", id);
}

Result<std::vector<InterruptionRow>> SqliteJobReads::interruptions(const JobId& id) const {
  return docs_of_job<InterruptionRow>(
      pool_, "SELECT doc FROM interruptions WHERE job_id = ? ORDER BY number", id);
}

Result<std::vector<CheckpointRow>> SqliteJobReads::checkpoints(const JobId& id) const {
  return docs_of_job<CheckpointRow>(
      pool_, "SELECT doc FROM checkpoints WHERE job_id = ? ORDER BY step, epoch", id);
}

Result<std::map<JobState, std::int64_t>> SqliteJobReads::counts(const std::string& tenant) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  std::string sql = "SELECT state, COUNT(*) FROM jobs";
  std::vector<Value> values;
  if (!tenant.empty()) {
    sql += " WHERE tenant = ?";
    values.emplace_back(tenant);
  }
  Query query(lease->db(), sql + " GROUP BY state", values);
  std::map<JobState, std::int64_t> counts;
  while (query.next()) {
    if (const auto state = from_word<JobState>(query.text(0))) counts[*state] = query.integer(1);
  }
  if (!query.status()) return query.status().error();
  return counts;
}

Result<std::vector<NodeRow>> SqliteJobReads::nodes(const std::string& tenant,
                                                   bool with_gone) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  std::string sql = "SELECT doc FROM nodes";
  std::vector<Value> values;
  if (!tenant.empty()) {
    sql += " WHERE tenant = ?";
    values.emplace_back(tenant);
  }
  if (!with_gone) sql += values.empty() ? " WHERE gone = 0" : " AND gone = 0";
  Query query(lease->db(), sql + " ORDER BY created_at, id", values);
  return read_docs<NodeRow>(query);
}

Result<NodeRow> SqliteJobReads::node(const std::string& id, const std::string& tenant) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(), "SELECT doc FROM nodes WHERE id = ?", {id});
  auto rows = read_docs<NodeRow>(query);
  if (!rows) return rows.error();
  if (rows->empty() || (!tenant.empty() && rows->front().tenant != tenant)) {
    return Error{Code::kNotFound, "There is no node " + id + "."};
  }
  return std::move(rows->front());
}

Result<LoadedRows> load_rows(Database& db) {
  LoadedRows rows;
  {
    const std::string sql = std::string(kSelectJobs) +
                            " FROM jobs JOIN job_specs ON job_specs.job_id = jobs.id"
                            " WHERE jobs.live = 1 ORDER BY jobs.created_at, jobs.id";
    Query query(db, sql, {});
    while (query.next()) {
      JobView view;
      if (auto read = read_job(query, view); !read) return read.error();
      rows.jobs.push_back(std::move(view.row));
    }
    if (!query.status()) return query.status().error();
  }
  const auto load = [&db](std::string_view sql, auto& into) -> Status {
    Query query(db, sql, {});
    auto read = read_docs<typename std::decay_t<decltype(into)>::value_type>(query);
    if (!read) return read.error();
    into = std::move(*read);
    return ok();
  };
  // UNION compares the key, so that an open attempt that is its job's last comes once.
  auto done = load(
      "SELECT doc FROM (SELECT job_id, attempt_no, doc FROM attempts WHERE ended = 0"
      " UNION SELECT attempts.job_id, attempts.attempt_no, attempts.doc FROM jobs"
      " JOIN attempts ON attempts.job_id = jobs.id AND attempts.attempt_no ="
      " (SELECT MAX(last.attempt_no) FROM attempts AS last WHERE last.job_id = jobs.id)"
      " WHERE jobs.live = 1) AS chosen ORDER BY job_id, attempt_no",
      rows.attempts);
  if (done) done = load("SELECT doc FROM nodes WHERE gone = 0 ORDER BY created_at, id", rows.nodes);
  if (done) {
    done = load(
        "SELECT checkpoints.doc FROM jobs JOIN checkpoints ON checkpoints.job_id = jobs.id"
        " WHERE jobs.live = 1 AND checkpoints.retired = 0"
        " ORDER BY checkpoints.job_id, checkpoints.step, checkpoints.epoch",
        rows.checkpoints);
  }
  if (done) done = load("SELECT doc FROM intents WHERE done = 0 ORDER BY intent_key", rows.intents);
  if (done) {
    done = load(
        "SELECT interruptions.doc FROM jobs JOIN interruptions ON"
        " interruptions.job_id = jobs.id AND interruptions.number ="
        " (SELECT MAX(last.number) FROM interruptions AS last WHERE last.job_id = jobs.id)"
        " WHERE jobs.live = 1 ORDER BY interruptions.job_id",
        rows.interruptions);
  }
  if (!done) return done.error();
  return rows;
}

}  // namespace ratchet::control
