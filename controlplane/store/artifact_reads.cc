#include "controlplane/store/paging.h"
#include "controlplane/store/row_codec.h"
#include "controlplane/store/row_readers.h"
#include "controlplane/store/sqlite_reads.h"

namespace ratchet::control {

namespace {

Status read_artifacts(Query& query, std::vector<ArtifactRow>& rows) {
  while (query.next()) {
    auto row = read_artifact(query);
    if (!row) return row.error();
    rows.push_back(std::move(*row));
  }
  return query.status();
}

void add(std::set<std::string>& ids, const std::optional<InputRef>& input) {
  if (input && !input->artifact_id.empty()) ids.insert(input->artifact_id);
}

Status add_inputs(Database& db, std::set<std::string>& ids) {
  Query query(db,
              "SELECT job_specs.inputs_json FROM jobs JOIN job_specs"
              " ON job_specs.job_id = jobs.id WHERE jobs.live = 1",
              {});
  while (query.next()) {
    JobInputs inputs;
    if (auto decoded = decode_inputs(query.text(0), inputs); !decoded) return decoded;
    add(ids, inputs.base_model);
    add(ids, inputs.train);
    add(ids, inputs.validation);
    add(ids, inputs.chat_template);
    add(ids, inputs.init_adapter);
  }
  return query.status();
}

Status add_texts(Database& db, std::string_view sql, std::set<std::string>& ids) {
  Query query(db, sql, {});
  while (query.next()) {
    if (std::string id = query.text(0); !id.empty()) ids.insert(std::move(id));
  }
  return query.status();
}

}  // namespace

Result<ArtifactRow> SqliteArtifactReads::artifact(const std::string& id,
                                                  const std::string& tenant) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(), select_artifacts("WHERE id = ?"), {id});
  std::vector<ArtifactRow> rows;
  if (auto read = read_artifacts(query, rows); !read) return read.error();
  if (rows.empty() || (!tenant.empty() && rows.front().tenant != tenant)) {
    return Error{Code::kNotFound, "There is no artifact " + id + "."};
  }
  return std::move(rows.front());
}

Result<std::vector<ArtifactFile>> SqliteArtifactReads::files(const std::string& id) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(),
              "SELECT path, bytes, sha256 FROM artifact_files WHERE artifact_id = ? ORDER BY path",
              {id});
  std::vector<ArtifactFile> files;
  while (query.next()) files.push_back({query.text(0), query.integer(1), query.text(2)});
  if (!query.status()) return query.status().error();
  return files;
}

Result<ArtifactFile> SqliteArtifactReads::file(const std::string& id,
                                               const std::string& path) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(),
              "SELECT path, bytes, sha256 FROM artifact_files WHERE artifact_id = ? AND path = ?",
              {id, path});
  if (query.next()) return ArtifactFile{query.text(0), query.integer(1), query.text(2)};
  if (!query.status()) return query.status().error();
  return Error{Code::kNotFound, "Artifact " + id + " has no file " + path + "."};
}

Result<Page<ArtifactRow>> SqliteArtifactReads::artifacts(const ArtifactQuery& query) const {
  std::string tail;
  std::vector<Value> values;
  const auto where = [&](std::string_view condition, Value value) {
    tail += values.empty() ? "WHERE " : " AND ";
    tail += condition;
    values.push_back(value);
  };
  Cursor after;
  if (!query.tenant.empty()) where("tenant = ?", query.tenant);
  if (query.kind) where("kind = ?", to_word(*query.kind));
  if (query.state) where("state = ?", to_word(*query.state));
  if (!query.page.cursor.empty()) {
    auto cursor = read_cursor(query.page.cursor);
    if (!cursor) return cursor.error();
    after = std::move(*cursor);
    where("(created_at, id) < (?, ?)", after.time);
    values.emplace_back(after.id);
  }
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  const std::int64_t limit = page_limit(query.page.limit);
  values.emplace_back(limit + 1);
  Query rows(lease->db(), select_artifacts(tail + " ORDER BY created_at DESC, id DESC LIMIT ?"),
             values);
  Page<ArtifactRow> page;
  if (auto read = read_artifacts(rows, page.items); !read) return read.error();
  finish_page(page, limit,
              [](const ArtifactRow& row) { return Cursor{row.created_at.count(), row.id}; });
  return page;
}

Result<std::vector<ArtifactRow>> SqliteArtifactReads::all() const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(), select_artifacts("ORDER BY created_at, id"), {});
  std::vector<ArtifactRow> rows;
  if (auto read = read_artifacts(query, rows); !read) return read.error();
  return rows;
}

Result<std::set<std::string>> SqliteArtifactReads::digests(const std::string& tenant,
                                                           const std::string& without) const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Query query(lease->db(),
              "SELECT DISTINCT sha256 FROM artifact_files WHERE tenant = ? AND artifact_id <> ?",
              {tenant, without});
  std::set<std::string> digests;
  while (query.next()) digests.insert(query.text(0));
  if (!query.status()) return query.status().error();
  return digests;
}

Result<std::set<std::string>> SqliteArtifactReads::needed() const {
  const auto lease = pool_.take();
  if (!lease) return lease.error();
  Database& db = lease->db();
  std::set<std::string> ids;
  auto done = add_inputs(db, ids);
  if (done) done = add_texts(db, "SELECT head_artifact FROM jobs WHERE live = 1", ids);
  if (done) {
    done =
        add_texts(db, "SELECT DISTINCT result_artifact FROM jobs WHERE result_artifact <> ''", ids);
  }
  if (done) {
    done = add_texts(db, "SELECT DISTINCT artifact_id FROM checkpoints WHERE kept = 1", ids);
  }
  if (!done) return done.error();
  return ids;
}

}  // namespace ratchet::control
