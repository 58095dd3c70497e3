#include "controlplane/store/reader_pool.h"

namespace ratchet::control {

ReaderPool::Lease::~Lease() {
  if (!db_) return;
  // A read transaction that cannot be ended would be seen by the next BEGIN.
  if (db_->in_transaction()) (void)db_->run("ROLLBACK").has_value();
  pool_->give_back(std::move(db_));
}

Result<std::unique_ptr<ReaderPool>> ReaderPool::open(const std::filesystem::path& path, int size) {
  std::unique_ptr<ReaderPool> pool(new ReaderPool());
  for (int i = 0; i < size; ++i) {
    auto db = Database::open(path, Database::Mode::kReader);
    if (!db) return db.error();
    pool->idle_.push_back(std::move(*db));
  }
  pool->size_ = size;
  return pool;
}

Result<ReaderPool::Lease> ReaderPool::take(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  ++waiting_;
  const bool got = freed_.wait_for(lock, limit, [this] { return !idle_.empty(); });
  --waiting_;
  if (!got) {
    return Error{Code::kUnavailable,
                 "All " + std::to_string(size_) +
                     " reading connections of the database are busy. Try again in a moment."};
  }
  std::unique_ptr<Database> db = std::move(idle_.back());
  idle_.pop_back();
  lock.unlock();
  Lease lease(*this, std::move(db));
  if (auto begun = lease.db().run("BEGIN"); !begun) return begun.error();
  return lease;
}

void ReaderPool::give_back(std::unique_ptr<Database> db) {
  {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(db));
  }
  freed_.notify_one();
}

ReaderPool::Status ReaderPool::status() const {
  const std::lock_guard lock(mutex_);
  return {size_, static_cast<std::int64_t>(idle_.size()), waiting_};
}

}  // namespace ratchet::control
