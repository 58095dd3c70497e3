#include "controlplane/store/migrations.h"

#include <string>

namespace ratchet::control {

Result<std::int64_t> schema_version(Database& db) {
  {
    Query table(db, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?",
                {"schema_steps"});
    if (!table.next()) {
      if (!table.status()) return table.status().error();
      return 0;
    }
  }
  Query query(db, "SELECT MAX(version) FROM schema_steps", {});
  if (!query.next()) return query.status() ? Result<std::int64_t>(0) : query.status().error();
  return query.integer(0);
}

Status migrate(Database& db, std::span<const std::string_view> steps, UnixMillis now) {
  const auto known = static_cast<std::int64_t>(steps.size());
  auto version = schema_version(db);
  if (!version) return version.error();
  if (*version > known) {
    return Error{Code::kFailedPrecondition,
                 "The database was written by a newer ratchet-control (schema " +
                     std::to_string(*version) + ", this program knows " + std::to_string(known) +
                     "). Start that version again, or give this one another state folder."};
  }
  if (*version == 0) {
    auto made = db.script(
        "CREATE TABLE IF NOT EXISTS schema_steps ("
        "version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL)");
    if (!made) return made;
  }
  for (std::int64_t next = *version + 1; next <= known; ++next) {
    const auto done = with_transaction(db, [&]() -> Status {
      const std::string step(steps[static_cast<std::size_t>(next - 1)]);
      if (auto ran = db.script(step); !ran) return ran;
      return db.run("INSERT INTO schema_steps (version, applied_at) VALUES (?, ?)", {next, now});
    });
    if (!done) {
      return Error{done.error().code, "The database could not be brought to schema " +
                                          std::to_string(next) + " and was left as it was. " +
                                          done.error().message};
    }
  }
  return ok();
}

}  // namespace ratchet::control
