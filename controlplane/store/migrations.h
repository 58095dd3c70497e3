#pragma once

// The schema, as numbered steps that only go forward. Steps that were released are never changed.
//
// DDL is SQLite's (INTEGER holds 64 bits, BLOB); for PostgreSQL it is written anew, statements of
// rows are shared.

#include <cstdint>
#include <span>
#include <string_view>

#include "controlplane/store/database.h"
#include "proto/result.h"
#include "proto/units.h"

namespace ratchet::control {

// Step i brings version i to i + 1.
std::span<const std::string_view> schema_steps();

// 0 for a new database.
Result<std::int64_t> schema_version(Database& db);

// Runs the missing steps, each in its own transaction with its record, so that a step is done or
// not begun. kFailedPrecondition when the database is newer than `steps`.
Status migrate(Database& db, std::span<const std::string_view> steps, UnixMillis now);

}  // namespace ratchet::control
