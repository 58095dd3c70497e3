#include "controlplane/store/sqlite_store.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>

#include "controlplane/store/batch_writer.h"
#include "controlplane/store/migrations.h"
#include "controlplane/store/reader_pool.h"
#include "controlplane/store/retention.h"
#include "controlplane/store/sqlite_reads.h"
#include "controlplane/store/state_folder.h"
#include "controlplane/store/write_queue.h"

namespace ratchet::control {

namespace {

namespace fs = std::filesystem;

struct Leader {
  std::string store_id;
  std::string boot_id;
  BatchWriter::Counters counters;
};

UnixMillis system_wall() {
  return std::chrono::duration_cast<UnixMillis>(
      std::chrono::system_clock::now().time_since_epoch());
}

Status make_folder(const fs::path& folder) {
  std::error_code fault;
  const bool made = fs::create_directories(folder, fault);
  if (!fault && made) fs::permissions(folder, fs::perms::owner_all, fault);
  if (fault) {
    return Error{Code::kIo, "Could not make the state folder " + folder.string() + ": " +
                                fault.message() + "."};
  }
  return ok();
}

// File systems without shared memory make SQLite fall back to another journal without a word.
Status check_wal(Database& db) {
  Query query(db, "PRAGMA journal_mode", {});
  if (!query.next()) return query.status();
  if (query.text(0) == "wal") return ok();
  return Error{Code::kIo,
               "The state folder's file system does not support SQLite's WAL (journal mode is " +
                   query.text(0) + "). Put the state folder on a local disk."};
}

// What was being sent when the last process ended is sent again: at least once.
Status take_over(Database& db, UnixMillis now, Leader& leader) {
  auto boot_id = random_hex(8);
  auto store_id = random_hex(4);
  if (!boot_id || !store_id) return boot_id ? store_id.error() : boot_id.error();
  leader.boot_id = *boot_id;
  return with_transaction(db, [&]() -> Status {
    auto done = db.run(
        "INSERT INTO leader (id, store_id, boot_id, term, pid, started_at, next_event,"
        " next_delivery) VALUES (1, ?, ?, 1, ?, ?, 1, 1) ON CONFLICT (id) DO UPDATE SET"
        " boot_id = excluded.boot_id, term = leader.term + 1, pid = excluded.pid,"
        " started_at = excluded.started_at",
        {*store_id, *boot_id, static_cast<std::int64_t>(::getpid()), now});
    if (!done) return done;
    Query query(db, "SELECT store_id, next_event, next_delivery FROM leader WHERE id = 1", {});
    if (!query.next()) return query.status();
    leader.store_id = query.text(0);
    leader.counters = {query.integer(1), query.integer(2)};
    return db.run("UPDATE deliveries SET state = ?, next_at = 0 WHERE open = 1 AND state = ?",
                  {to_word(DeliveryState::kWaiting), to_word(DeliveryState::kSending)});
  });
}

Result<bool> has_secrets(Database& db) {
  Query query(db, "SELECT 1 FROM webhook_secrets LIMIT 1", {});
  const bool found = query.next();
  if (!query.status()) return query.status().error();
  return found;
}

Bytes size_of(const fs::path& path) {
  std::error_code fault;
  const auto size = fs::file_size(path, fault);
  return Bytes(fault ? 0 : static_cast<std::int64_t>(size));
}

class SqliteStore : public Store {
 public:
  struct Parts {
    fs::path path;
    std::unique_ptr<FolderLock> lock;
    std::unique_ptr<Database> db;
    std::unique_ptr<ReaderPool> pool;
    SecretBox::Key key{};
    Leader leader;
    std::int64_t schema = 0;
    WriteQueue::Limits limits;
  };

  explicit SqliteStore(Parts parts)
      : parts_(std::move(parts)),
        box_(parts_.key),
        jobs_(*parts_.pool),
        events_(*parts_.pool, parts_.leader.store_id),
        webhooks_(*parts_.pool, box_, parts_.leader.store_id),
        accounts_(*parts_.pool),
        artifacts_(*parts_.pool),
        writer_(*parts_.db, box_, parts_.leader.store_id, parts_.leader.counters),
        queue_(*parts_.db, writer_, parts_.leader.boot_id, parts_.limits) {}

  void commit(Batch batch, CommitCallback done) override {
    queue_.push(std::move(batch), std::move(done));
  }

  Result<LoadedRows> load() const override {
    const auto lease = parts_.pool->take();
    if (!lease) return lease.error();
    return load_rows(lease->db());
  }

  Result<RetentionReport> retain(const RetentionRequest& request) override {
    Result<RetentionReport> report = RetentionReport{};
    queue_.run([&] { report = remove_old(*parts_.db, request); });
    return report;
  }

  StoreHealth health() const override;
  const std::string& boot_id() const override { return parts_.leader.boot_id; }
  const JobReads& jobs() const override { return jobs_; }
  const EventReads& events() const override { return events_; }
  const WebhookReads& webhooks() const override { return webhooks_; }
  const AccountReads& accounts() const override { return accounts_; }
  const ArtifactReads& artifacts() const override { return artifacts_; }

 private:
  Parts parts_;
  const SecretBox box_;
  const SqliteJobReads jobs_;
  const SqliteEventReads events_;
  const SqliteWebhookReads webhooks_;
  const SqliteAccountReads accounts_;
  const SqliteArtifactReads artifacts_;
  BatchWriter writer_;
  WriteQueue queue_;  // last: its thread ends before what it uses
};

StoreHealth SqliteStore::health() const {
  StoreHealth health;
  const auto figures = queue_.figures();
  const auto pool = parts_.pool->status();
  health.schema_version = parts_.schema;
  health.database_size = size_of(parts_.path);
  health.wal_size = size_of(parts_.path.string() + "-wal");
  health.readers = pool.size;
  health.readers_idle = pool.idle;
  health.readers_waiting = pool.waiting;
  health.queued = figures.queued;
  health.batches = figures.batches;
  health.failed_batches = figures.failed;
  health.transactions = figures.transactions;
  health.busy_retries = figures.busy_retries;
  health.commit_ms_mean = figures.commit_ms_mean;
  health.commit_ms_max = figures.commit_ms_max;
  if (figures.broken || figures.trouble) {
    health.message = (figures.broken ? figures.broken : figures.trouble)->message;
    return health;
  }
  const auto lease = parts_.pool->take(std::chrono::milliseconds(5));
  if (!lease) {
    health.message = lease.error().message;
    return health;
  }
  Query query(lease->db(), "SELECT boot_id FROM leader WHERE id = 1", {});
  const bool found = query.next();
  if (!query.status()) {
    health.message = query.status().error().message;
  } else if (!found || query.text(0) != parts_.leader.boot_id) {
    health.message = "Another ratchet-control has taken this database over.";
  }
  health.ok = health.message.empty();
  return health;
}

}  // namespace

Result<std::unique_ptr<Store>> open_sqlite_store(SqliteOptions options) {
  SqliteStore::Parts parts;
  const UnixMillis now = options.wall ? options.wall() : system_wall();
  if (auto made = make_folder(options.folder); !made) return made.error();
  auto lock = FolderLock::take(options.folder);
  if (!lock) return lock.error();
  parts.lock = std::move(*lock);
  parts.path = options.folder / "ratchet.db";
  auto db = Database::open(parts.path, Database::Mode::kWriter);
  if (!db) return db.error();
  parts.db = std::move(*db);
  Status ready = check_wal(*parts.db);
  if (ready) ready = migrate(*parts.db, schema_steps(), now);
  if (ready) ready = take_over(*parts.db, now, parts.leader);
  if (!ready) return ready.error();
  parts.schema = static_cast<std::int64_t>(schema_steps().size());
  const auto secrets = has_secrets(*parts.db);
  if (!secrets) return secrets.error();
  const auto key = folder_key(options.folder, !*secrets);
  if (!key) return key.error();
  parts.key = *key;
  auto pool = ReaderPool::open(parts.path, options.readers);
  if (!pool) return pool.error();
  parts.pool = std::move(*pool);
  parts.limits = {options.max_group, options.max_queued};
  return std::unique_ptr<Store>(new SqliteStore(std::move(parts)));
}

}  // namespace ratchet::control
