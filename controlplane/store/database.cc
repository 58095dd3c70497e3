#include "controlplane/store/database.h"

#include <sqlite3.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace ratchet::control {

namespace {

constexpr int kReaderBusyMs = 2000;
constexpr std::chrono::milliseconds kBusyLimit{5000};
constexpr std::chrono::milliseconds kBusyPause{50};

// FULL: a commit is on the disk before it is acknowledged (SQLite, "PRAGMA synchronous").
constexpr const char* kWriterPragmas =
    "PRAGMA journal_mode = WAL;"
    "PRAGMA synchronous = FULL;"
    "PRAGMA foreign_keys = ON;"
    "PRAGMA journal_size_limit = 67108864;"
    "PRAGMA cache_size = -16384;";
constexpr const char* kReaderPragmas =
    "PRAGMA query_only = ON;"
    "PRAGMA cache_size = -4096;";

bool is_no_space(int number) { return number == ENOSPC || number == EDQUOT || number == EFBIG; }

Code code_of(int extended, int system_errno) {
  switch (extended & 0xff) {
    case SQLITE_FULL:
      return Code::kNoSpace;
    case SQLITE_IOERR:
      // SQLite itself only knows ENOSPC, and not where it makes the index of its WAL; a quota or a
      // limit on file sizes is a full disk too. A failed sync is none: see WriteQueue.
      return (extended == SQLITE_IOERR_WRITE || extended == SQLITE_IOERR_SHMSIZE) &&
                     is_no_space(system_errno)
                 ? Code::kNoSpace
                 : Code::kIo;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Code::kUnavailable;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Code::kCorrupt;
    case SQLITE_CONSTRAINT:
      return extended == SQLITE_CONSTRAINT_UNIQUE || extended == SQLITE_CONSTRAINT_PRIMARYKEY
                 ? Code::kAlreadyExists
                 : Code::kFailedPrecondition;
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return Code::kIo;
    default:
      return Code::kInternal;
  }
}

}  // namespace

Result<std::unique_ptr<Database>> Database::open(const std::filesystem::path& path, Mode mode) {
  sqlite3* handle = nullptr;
  // A reader is opened for writing too, else it could not take part in the WAL index; query_only
  // keeps it from writing.
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                    (mode == Mode::kWriter ? SQLITE_OPEN_CREATE : 0);
  const int result = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  std::unique_ptr<Database> db(new Database(handle));
  if (handle == nullptr) return Error{Code::kInternal, "No memory for a database connection."};
  if (result != SQLITE_OK) return db->error(result, "open " + path.string());
  if (mode == Mode::kReader) sqlite3_busy_timeout(handle, kReaderBusyMs);
  const auto set = db->script(mode == Mode::kWriter ? kWriterPragmas : kReaderPragmas);
  if (!set) return set.error();
  return db;
}

Database::~Database() {
  for (auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close_v2(handle_);
}

Error Database::error(int result, std::string_view doing) const {
  // SQLite does not keep the number of every failure; step() cleared errno before.
  const int kept = sqlite3_system_errno(handle_);
  const int number = kept != 0 ? kept : errno_;
  const Code code = code_of(result, number);
  std::string message =
      "The database could not " + std::string(doing) + ": " + sqlite3_errmsg(handle_);
  if ((result & 0xff) == SQLITE_IOERR && number != 0) {
    message += " (" + std::string(std::strerror(number)) + ")";
  }
  message += ".";
  if (code == Code::kNoSpace) message += " Free space on the disk of the state folder.";
  return Error{code, std::move(message)};
}

Result<sqlite3_stmt*> Database::prepare(std::string_view sql) {
  std::string key(sql);
  if (const auto found = statements_.find(key); found != statements_.end()) return found->second;
  sqlite3_stmt* statement = nullptr;
  const int result = sqlite3_prepare_v3(handle_, key.data(), static_cast<int>(key.size()),
                                        SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (result != SQLITE_OK) return error(result, "prepare \"" + key + "\"");
  statements_.emplace(std::move(key), statement);
  return statement;
}

Status Database::bind(sqlite3_stmt* statement, const Value* values, std::size_t count) {
  if (sqlite3_bind_parameter_count(statement) != static_cast<int>(count)) {
    return Error{Code::kInternal, "A statement of the store has other parameters than values: " +
                                      std::string(sqlite3_sql(statement))};
  }
  for (std::size_t i = 0; i < count; ++i) {
    const int index = static_cast<int>(i) + 1;
    const auto& held = values[i].held();
    int result = SQLITE_OK;
    if (const auto* integer = std::get_if<std::int64_t>(&held)) {
      result = sqlite3_bind_int64(statement, index, *integer);
    } else if (const auto* number = std::get_if<double>(&held)) {
      result = sqlite3_bind_double(statement, index, *number);
    } else if (const auto* text = std::get_if<std::string_view>(&held)) {
      // A view of nothing may have no address, which would bind NULL.
      result = sqlite3_bind_text64(statement, index, text->data() ? text->data() : "", text->size(),
                                   SQLITE_TRANSIENT, SQLITE_UTF8);
    } else if (const auto* blob = std::get_if<const Blob*>(&held)) {
      const std::string& bytes = (*blob)->bytes;
      result = sqlite3_bind_blob64(statement, index, bytes.data(), bytes.size(), SQLITE_TRANSIENT);
    } else {
      result = sqlite3_bind_null(statement, index);
    }
    if (result != SQLITE_OK) return error(result, "bind a value");
  }
  return ok();
}

int Database::step(sqlite3_stmt* statement) {
  errno = 0;
  const int result = sqlite3_step(statement);
  errno_ = errno;
  return result;
}

Status Database::run(std::string_view sql, std::initializer_list<Value> values) {
  auto statement = prepare(sql);
  if (!statement) return statement.error();
  if (auto bound = bind(*statement, values.begin(), values.size()); !bound) return bound;
  int result = step(*statement);
  while (result == SQLITE_ROW) result = step(*statement);
  Status status = ok();
  if (result != SQLITE_DONE) {
    status = error(result, "run \"" + std::string(sql.substr(0, 80)) + "\"");
  }
  sqlite3_reset(*statement);
  return status;
}

Status Database::script(const std::string& sql) {
  const int result = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  if (result != SQLITE_OK) return error(result, "run a script");
  return ok();
}

std::int64_t Database::changed() const { return sqlite3_changes64(handle_); }

bool Database::in_transaction() const { return sqlite3_get_autocommit(handle_) == 0; }

Query::Query(Database& db, std::string_view sql, std::initializer_list<Value> values) : db_(db) {
  begin(sql, values.begin(), values.size());
}

Query::Query(Database& db, std::string_view sql, const std::vector<Value>& values) : db_(db) {
  begin(sql, values.data(), values.size());
}

void Query::begin(std::string_view sql, const Value* values, std::size_t count) {
  auto statement = db_.prepare(sql);
  if (!statement) {
    status_ = statement.error();
    return;
  }
  statement_ = *statement;
  status_ = db_.bind(statement_, values, count);
}

Query::~Query() {
  if (statement_ != nullptr) sqlite3_reset(statement_);
}

bool Query::next() {
  if (!status_ || statement_ == nullptr) return false;
  const int result = db_.step(statement_);
  if (result == SQLITE_ROW) return true;
  if (result != SQLITE_DONE) {
    status_ = db_.error(result,
                        "read with \"" + std::string(sqlite3_sql(statement_)).substr(0, 80) + "\"");
  }
  return false;
}

std::int64_t Query::integer(int column) const { return sqlite3_column_int64(statement_, column); }

double Query::number(int column) const {
  // A NaN is stored as NULL by SQLite.
  if (sqlite3_column_type(statement_, column) == SQLITE_NULL) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  return sqlite3_column_double(statement_, column);
}

std::string Query::text(int column) const {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
  return bytes == nullptr ? std::string() : std::string(bytes, size);
}

std::optional<UnixMillis> Query::maybe_time(int column) const {
  if (sqlite3_column_type(statement_, column) == SQLITE_NULL) return std::nullopt;
  return time(column);
}

Status with_transaction(Database& db, const std::function<Status()>& work, std::int64_t* retries) {
  const auto began = std::chrono::steady_clock::now();
  for (;;) {
    Status status = db.run("BEGIN IMMEDIATE");
    if (status) status = work();
    if (status) status = db.run("COMMIT");
    if (status) return status;
    // After a full disk SQLite may have rolled back by itself.
    if (db.in_transaction()) {
      if (const auto undone = db.run("ROLLBACK"); !undone) return undone;
    }
    const bool busy = status.error().code == Code::kUnavailable;
    if (!busy || std::chrono::steady_clock::now() - began > kBusyLimit) return status;
    if (retries != nullptr) ++*retries;
    std::this_thread::sleep_for(kBusyPause);
  }
}

}  // namespace ratchet::control
