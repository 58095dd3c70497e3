#include "controlplane/store/write_queue.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <numeric>

namespace ratchet::control {

namespace {

// Errors of the disk, not of a batch: the whole transaction is lost.
bool ends_transaction(Code code) {
  return code == Code::kNoSpace || code == Code::kIo || code == Code::kCorrupt ||
         code == Code::kUnavailable;
}

// After a failed sync nobody knows what the disk holds (fsync(2)): going on could acknowledge what
// is not there. A full disk is refused before anything is written.
bool breaks_store(Code code) { return code == Code::kIo || code == Code::kCorrupt; }

}  // namespace

WriteQueue::WriteQueue(Database& db, BatchWriter& writer, std::string boot_id, Limits limits)
    : db_(db), writer_(writer), boot_id_(std::move(boot_id)), limits_(limits) {
  thread_ = std::thread([this] { loop(); });
}

WriteQueue::~WriteQueue() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void WriteQueue::push(Batch batch, CommitCallback done) {
  {
    const std::lock_guard lock(mutex_);
    Item item{std::move(batch), std::move(done), nullptr, false};
    if (figures_.queued >= limits_.max_queued) {
      // The chain number stays: what depends on it must fail too.
      item.overflow = true;
      item.batch = Batch{.chain = item.batch.chain};
    }
    items_.push_back(std::move(item));
    ++figures_.queued;
  }
  wake_.notify_one();
}

void WriteQueue::run(const std::function<void()>& task) {
  std::promise<void> promise;
  {
    const std::lock_guard lock(mutex_);
    items_.push_back({{},
                      nullptr,
                      [&] {
                        task();
                        promise.set_value();
                      },
                      false});
    ++figures_.queued;
  }
  wake_.notify_one();
  promise.get_future().wait();
}

void WriteQueue::loop() {
  for (;;) {
    std::vector<Item> group;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return closing_ || !items_.empty(); });
      if (items_.empty()) return;
      while (!items_.empty() && static_cast<std::int64_t>(group.size()) < limits_.max_group) {
        const bool task = items_.front().task != nullptr;
        if (task && !group.empty()) break;
        group.push_back(std::move(items_.front()));
        items_.pop_front();
        --figures_.queued;
        if (task) break;
      }
    }
    if (group.front().task) {
      group.front().task();
    } else {
      commit_group(group);
    }
  }
}

std::optional<Error> WriteQueue::refusal(const Item& item) const {
  if (item.batch.chain > 0 && item.batch.chain <= failed_chain_) {
    return Error{Code::kUnavailable,
                 "An earlier change could not be stored, so this one, which builds on it, was not "
                 "stored either."};
  }
  if (item.overflow) {
    return Error{Code::kUnavailable, "The store has " + std::to_string(limits_.max_queued) +
                                         " changes waiting and takes no more. Try again later."};
  }
  return std::nullopt;
}

// One batch under a savepoint, so that its refusal does not cost the others of the group.
Result<CommitInfo> WriteQueue::write_one(const Item& item) {
  if (auto refused = refusal(item)) return *refused;
  CommitInfo info;
  Status status = db_.run("SAVEPOINT batch");
  if (status) status = writer_.apply(item.batch, info);
  if (status) status = db_.run("RELEASE SAVEPOINT batch");
  if (status) return info;
  writer_.forget();
  if (!ends_transaction(status.error().code) && db_.in_transaction()) {
    auto undone = db_.run("ROLLBACK TO SAVEPOINT batch");
    if (undone) undone = db_.run("RELEASE SAVEPOINT batch");
    if (!undone) return undone.error();
  }
  return status.error();
}

Status WriteQueue::write_group(const std::vector<Item>& group,
                               std::vector<Result<CommitInfo>>& results) {
  results.clear();
  const std::int64_t chain_before = failed_chain_;
  for (const Item& item : group) {
    Result<CommitInfo> result = write_one(item);
    if (!result) {
      // SQLite gives up a whole transaction by itself at times, as when memory runs out.
      const bool lost = ends_transaction(result.error().code) || !db_.in_transaction();
      if (lost && !refusal(item)) {
        failed_chain_ = chain_before;
        return result.error();
      }
      failed_chain_ = std::max(failed_chain_, item.batch.chain);
    }
    results.push_back(std::move(result));
  }
  // The row of the owner is the fence: who lost it may not write.
  const auto& counters = writer_.counters();
  auto done =
      db_.run("UPDATE leader SET next_event = ?, next_delivery = ? WHERE id = 1 AND boot_id = ?",
              {counters.next_event, counters.next_delivery, boot_id_});
  if (done && db_.changed() != 1) {
    return Error{Code::kCorrupt,
                 "Another ratchet-control has taken this database over. Only one may use it: stop "
                 "one of the two."};
  }
  return done;
}

void WriteQueue::commit_group(std::vector<Item>& group) {
  std::optional<Error> broken;
  {
    const std::lock_guard lock(mutex_);
    broken = figures_.broken;
  }
  std::vector<Result<CommitInfo>> results;
  const auto began = std::chrono::steady_clock::now();
  std::int64_t retries = 0;
  Status status =
      broken ? Status(*broken)
             : with_transaction(db_, [&] { return write_group(group, results); }, &retries);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - began;
  if (!status) {
    writer_.forget();
    results.assign(group.size(), status.error());
  }
  note_failures(group, results);
  {
    const std::lock_guard lock(mutex_);
    figures_.busy_retries += retries;
    for (const auto& result : results) ++(result ? figures_.batches : figures_.failed);
    figures_.trouble.reset();
    if (!status) figures_.trouble = status.error();
    if (status) {
      ++figures_.transactions;
      note_time(took.count());
    } else if (!figures_.broken && breaks_store(status.error().code)) {
      figures_.broken = Error{status.error().code,
                              "The store has stopped after an error of the disk and must be "
                              "restarted: " +
                                  status.error().message};
    }
  }
  for (std::size_t i = 0; i < group.size(); ++i) group[i].done(std::move(results[i]));
}

void WriteQueue::note_failures(const std::vector<Item>& group,
                               const std::vector<Result<CommitInfo>>& results) {
  for (std::size_t i = 0; i < group.size(); ++i) {
    if (!results[i]) failed_chain_ = std::max(failed_chain_, group[i].batch.chain);
  }
}

void WriteQueue::note_time(double milliseconds) {
  times_[times_next_] = milliseconds;
  times_next_ = (times_next_ + 1) % times_.size();
  times_held_ = std::min(times_held_ + 1, times_.size());
  const auto end = times_.begin() + static_cast<std::ptrdiff_t>(times_held_);
  figures_.commit_ms_mean =
      std::accumulate(times_.begin(), end, 0.0) / static_cast<double>(times_held_);
  figures_.commit_ms_max = *std::max_element(times_.begin(), end);
}

WriteQueue::Figures WriteQueue::figures() const {
  const std::lock_guard lock(mutex_);
  return figures_;
}

}  // namespace ratchet::control
