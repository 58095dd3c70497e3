#pragma once

// One SQLite connection with cached prepared statements, as Results instead of return codes.
//
//   Query query(db, "SELECT step FROM metrics WHERE job_id = ?", {id});
//   while (query.next()) use(query.integer(0));
//   if (!query.status()) return query.status().error();
//
// Values are always bound, never written into SQL. A connection belongs to one thread at a time.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "proto/ids.h"
#include "proto/result.h"
#include "proto/units.h"

struct sqlite3;
struct sqlite3_stmt;

namespace ratchet::control {

struct Blob {
  std::string bytes;
};

class Value {  // of a parameter
 public:
  Value(std::nullptr_t) {}
  Value(bool value) : value_(static_cast<std::int64_t>(value)) {}
  Value(int value) : value_(static_cast<std::int64_t>(value)) {}
  Value(std::int64_t value) : value_(value) {}
  Value(std::uint64_t value) : value_(static_cast<std::int64_t>(value)) {}
  Value(double value) : value_(value) {}
  Value(const char* text) : value_(std::string_view(text)) {}
  Value(std::string_view text) : value_(text) {}
  Value(const std::string& text) : value_(std::string_view(text)) {}
  Value(const Blob& blob) : value_(&blob) {}
  Value(UnixMillis time) : value_(time.count()) {}
  Value(Bytes size) : value_(size.count()) {}
  Value(const std::optional<UnixMillis>& time) {
    if (time) value_ = time->count();
  }
  template <class Tag>
  Value(const Id<Tag>& id) : value_(std::string_view(id.str())) {}

  using Held = std::variant<std::monostate, std::int64_t, double, std::string_view, const Blob*>;
  [[nodiscard]] const Held& held() const { return value_; }

 private:
  Held value_;
};

class Database {
 public:
  enum class Mode { kWriter, kReader };
  static Result<std::unique_ptr<Database>> open(const std::filesystem::path& path, Mode mode);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // A statement without rows.
  Status run(std::string_view sql, std::initializer_list<Value> values = {});
  // Several statements without parameters, for schemas.
  Status script(const std::string& sql);
  [[nodiscard]] std::int64_t changed() const;  // rows, by the last run()
  [[nodiscard]] bool in_transaction() const;
  [[nodiscard]] Error error(int result, std::string_view doing) const;

 private:
  friend class Query;
  explicit Database(sqlite3* handle) : handle_(handle) {}
  Result<sqlite3_stmt*> prepare(std::string_view sql);
  Status bind(sqlite3_stmt* statement, const Value* values, std::size_t count);
  int step(sqlite3_stmt* statement);

  sqlite3* handle_;
  int errno_ = 0;  // after the last step
  std::unordered_map<std::string, sqlite3_stmt*> statements_;
};

// Rows of one SELECT. Lives shorter than its database; one at a time for the same SQL.
class Query {
 public:
  Query(Database& db, std::string_view sql, std::initializer_list<Value> values);
  Query(Database& db, std::string_view sql, const std::vector<Value>& values);
  ~Query();
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  bool next();  // false at the end and on an error
  [[nodiscard]] const Status& status() const { return status_; }

  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] bool boolean(int column) const { return integer(column) != 0; }
  [[nodiscard]] double number(int column) const;
  [[nodiscard]] std::string text(int column) const;  // also of a BLOB; empty for NULL
  [[nodiscard]] UnixMillis time(int column) const { return UnixMillis(integer(column)); }
  [[nodiscard]] std::optional<UnixMillis> maybe_time(int column) const;

 private:
  void begin(std::string_view sql, const Value* values, std::size_t count);

  Database& db_;
  sqlite3_stmt* statement_ = nullptr;
  Status status_ = ok();
};

// The only way to write: BEGIN, `work`, COMMIT. Rolls back whatever fails, and tries again (all of
// `work`) while another connection holds the database, up to 5 s (ERR-07). `retries` counts.
Status with_transaction(Database& db, const std::function<Status()>& work,
                        std::int64_t* retries = nullptr);

}  // namespace ratchet::control
