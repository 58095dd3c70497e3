#pragma once

// Store: where everything that must outlive the control plane's process is kept.
//
// Writes are batches: all of a batch is durable or none of it. commit() returns at once; batches
// are committed in the order of the calls, several in one transaction, and each callback runs
// after its batch is durable, in the same order, on the store's writer thread: it must be short
// and must not wait for the store. Any thread may call commit().
//
// The store refuses, as a defence behind the core, and fails the whole batch with
// kFailedPrecondition when
//   - an event of a job is not the job's last + 1, or names a job that is not stored;
//   - a job row's epoch is lower than the stored one, or it changes the phase of a terminal job;
//   - a job row's event_seq is not the seq of the job's last event after the batch.
//
// Errors of commits:
//   kFailedPrecondition  refused as above
//   kAlreadyExists       token digest, idempotency key or artifact exists already
//   kNotFound            an update names a row that is not there
//   kNoSpace             the disk is full: nothing was changed, later commits may succeed
//   kUnavailable         an earlier batch of the same chain failed, the queue is full, or the store
//                        is closing
//   kIo, kCorrupt        the disk failed: no further commit succeeds until the process is restarted
//
// One implementation: SqliteStore (sqlite_store.h). Its SQL keeps to what PostgreSQL knows too.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "controlplane/core/control_core.h"
#include "controlplane/store/batch.h"
#include "controlplane/store/reads.h"
#include "proto/result.h"

namespace ratchet::control {

struct StoreHealth {    // HLT-06
  bool ok = false;      // it reads, and the last transaction was committed
  std::string message;  // what is wrong and what to do; empty when ok
  std::int64_t schema_version = 0;
  Bytes database_size;
  Bytes wal_size;
  std::int64_t readers = 0;  // connections
  std::int64_t readers_idle = 0;
  std::int64_t readers_waiting = 0;  // calls that wait for a connection
  std::int64_t queued = 0;           // batches that wait for the writer
  std::int64_t batches = 0;          // committed since the start
  std::int64_t failed_batches = 0;
  std::int64_t transactions = 0;  // that the batches were committed in
  std::int64_t busy_retries = 0;
  double commit_ms_mean = 0;  // of the last 256 transactions
  double commit_ms_max = 0;
};

// Removes what is old, in portions of at most `portion` rows a transaction, so that commits pass in
// between. Never of live jobs, and no event that a delivery still needs. Job rows, attempts,
// checkpoints, interruptions and metrics stay.
struct RetentionRequest {
  UnixMillis events_before{0};      // events and trainer lines of jobs that ended before then
  UnixMillis deliveries_before{0};  // over before then, or made before for a disabled endpoint
  UnixMillis errors_before{0};
  UnixMillis idempotency_before{0};
  std::int64_t portion = 1000;
};

struct RetentionReport {
  std::int64_t rows = 0;  // removed
  bool more = false;      // call again later: a call removes at most one portion of each kind
};

using CommitCallback = std::function<void(Result<CommitInfo>)>;

class Store {
 public:
  virtual ~Store() = default;  // commits what is queued

  virtual void commit(Batch batch, CommitCallback done) = 0;
  // Blocks. Not from a callback.
  virtual Result<LoadedRows> load() const = 0;
  virtual Result<RetentionReport> retain(const RetentionRequest& request) = 0;
  virtual StoreHealth health() const = 0;  // asks the database, at most a few milliseconds
  [[nodiscard]] virtual const std::string& boot_id() const = 0;  // new at each start

  [[nodiscard]] virtual const JobReads& jobs() const = 0;
  [[nodiscard]] virtual const EventReads& events() const = 0;
  [[nodiscard]] virtual const WebhookReads& webhooks() const = 0;
  [[nodiscard]] virtual const AccountReads& accounts() const = 0;
  [[nodiscard]] virtual const ArtifactReads& artifacts() const = 0;
};

// commit() and wait for it. Not from the writer thread.
Result<CommitInfo> commit_and_wait(Store& store, Batch batch);

}  // namespace ratchet::control
