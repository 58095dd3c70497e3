#pragma once

// The one thread that writes: takes what is queued, commits it in one transaction, then answers in
// order. While it waits for the disk the next group gathers, so a busy store syncs once for many
// batches and an idle one at once for each.

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "controlplane/store/batch_writer.h"
#include "controlplane/store/store.h"

namespace ratchet::control {

class WriteQueue {
 public:
  struct Limits {
    std::int64_t max_group = 256;
    std::int64_t max_queued = 100'000;
  };
  struct Figures {
    std::int64_t queued = 0;
    std::int64_t batches = 0;
    std::int64_t failed = 0;
    std::int64_t transactions = 0;
    std::int64_t busy_retries = 0;
    double commit_ms_mean = 0;
    double commit_ms_max = 0;
    std::optional<Error> broken;   // no commit succeeds any more
    std::optional<Error> trouble;  // why the last transaction failed; none after one that did not
  };

  // `db`, `writer` belong to the queue's thread from now on.
  WriteQueue(Database& db, BatchWriter& writer, std::string boot_id, Limits limits);
  ~WriteQueue();  // commits what is queued
  WriteQueue(const WriteQueue&) = delete;
  WriteQueue& operator=(const WriteQueue&) = delete;

  void push(Batch batch, CommitCallback done);
  // Runs between two groups, on the thread; waits for it.
  void run(const std::function<void()>& task);
  [[nodiscard]] Figures figures() const;

 private:
  struct Item {
    Batch batch;
    CommitCallback done;
    std::function<void()> task;  // set: no batch
    bool overflow = false;       // came when the queue was full
  };

  void loop();
  void commit_group(std::vector<Item>& group);
  Status write_group(const std::vector<Item>& group, std::vector<Result<CommitInfo>>& results);
  Result<CommitInfo> write_one(const Item& item);
  [[nodiscard]] std::optional<Error> refusal(const Item& item) const;
  void note_failures(const std::vector<Item>& group,
                     const std::vector<Result<CommitInfo>>& results);
  void note_time(double milliseconds);

  // Thread of the queue only.
  Database& db_;
  BatchWriter& writer_;
  const std::string boot_id_;
  const Limits limits_;
  std::int64_t failed_chain_ = 0;
  std::array<double, 256> times_{};
  std::size_t times_next_ = 0;
  std::size_t times_held_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Item> items_;  // guarded by mutex_
  Figures figures_;         // guarded by mutex_
  bool closing_ = false;    // guarded by mutex_
  std::thread thread_;
};

}  // namespace ratchet::control
