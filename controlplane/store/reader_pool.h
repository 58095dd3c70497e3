#pragma once

// A fixed number of connections for reading. Thread-safe.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <vector>

#include "controlplane/store/database.h"
#include "proto/result.h"

namespace ratchet::control {

class ReaderPool {
 public:
  // A connection in a read transaction: all its queries see the same state.
  class Lease {
   public:
    Lease(ReaderPool& pool, std::unique_ptr<Database> db) : pool_(&pool), db_(std::move(db)) {}
    ~Lease();
    Lease(Lease&& other) noexcept = default;
    Lease& operator=(Lease&&) = delete;
    [[nodiscard]] Database& db() const { return *db_; }

   private:
    ReaderPool* pool_;
    std::unique_ptr<Database> db_;
  };

  struct Status {
    std::int64_t size = 0;
    std::int64_t idle = 0;
    std::int64_t waiting = 0;
  };

  static Result<std::unique_ptr<ReaderPool>> open(const std::filesystem::path& path, int size);

  // kUnavailable when none became free in time.
  Result<Lease> take(std::chrono::milliseconds limit = std::chrono::milliseconds(10'000));
  [[nodiscard]] Status status() const;

 private:
  ReaderPool() = default;
  void give_back(std::unique_ptr<Database> db);

  std::int64_t size_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<std::unique_ptr<Database>> idle_;  // guarded by mutex_
  std::int64_t waiting_ = 0;                     // guarded by mutex_
};

}  // namespace ratchet::control
