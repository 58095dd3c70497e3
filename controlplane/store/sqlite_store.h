#pragma once

// SqliteStore: the store in one SQLite database (WAL, synchronous FULL) in the state folder:
//
//   ratchet.db (-wal, -shm)  the database
//   control.lock             flock of the one process that owns the folder, with its pid in it
//   store.key                key of the secrets in the database, mode 0600, made at the first start

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "controlplane/store/store.h"
#include "proto/result.h"

namespace ratchet::control {

struct SqliteOptions {
  std::filesystem::path folder;  // made (mode 0700) when it is missing
  int readers = 4;               // connections
  std::int64_t max_group = 256;  // batches a transaction
  std::int64_t max_queued = 100'000;
  std::function<UnixMillis()> wall;  // of the record of this start; none: the system's clock
};

// Takes the folder, brings the schema up to date and starts the writer. Errors:
//   kFailedPrecondition  another process owns the folder (its pid is in the message), or the
//                        database was written by a newer version
//   kCorrupt             the database or the key file is damaged
//   kIo, kNoSpace        the folder cannot be used
Result<std::unique_ptr<Store>> open_sqlite_store(SqliteOptions options);

}  // namespace ratchet::control
