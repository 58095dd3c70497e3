#pragma once

// A store in a folder of its own, and rows to put into it.

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <random>
#include <string>

#include "controlplane/store/sqlite_store.h"

namespace ratchet::control {

class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

class StoreTest : public ::testing::Test {
 protected:
  void open();  // again after close()
  void close() { store_.reset(); }
  Result<CommitInfo> commit(Batch batch) { return commit_and_wait(*store_, std::move(batch)); }
  void must(Batch batch);
  Result<CommitInfo> write(Write one);
  void must_write(Write one);

  TempFolder folder_;
  std::unique_ptr<Store> store_;
};

JobRow job_row(const std::string& id, std::int64_t created_at = 1000);
// The job's next event; `job.event_seq` counts on.
EventRow next_event(JobRow& job, const std::string& type);
Batch job_batch(JobRow& job, const std::string& type, std::int64_t chain = 0);
WebhookRow webhook_row(const std::string& id, std::vector<std::string> types = {});

// Rows with every member set to something, by a seeded generator.
class RandomRows {
 public:
  explicit RandomRows(std::uint64_t seed) : random_(seed) {}
  JobRow job(const std::string& id);
  AttemptRow attempt(const JobId& job, std::int64_t no);
  NodeRow node(const std::string& id);
  CheckpointRow checkpoint(const JobId& job, std::int64_t step);
  IntentRow intent(const std::string& key);
  InterruptionRow interruption(const JobId& job, std::int64_t number);
  std::int64_t number(std::int64_t max = 1'000'000'000'000);
  std::string text();

 private:
  template <class E>
  E word() {
    const auto table = word_table(E{});
    return table[static_cast<std::size_t>(number(static_cast<std::int64_t>(table.size()) - 1))]
        .value;
  }
  template <class T>
  std::optional<T> maybe(T value) {
    return number(1) == 1 ? std::optional<T>(std::move(value)) : std::nullopt;
  }
  UnixMillis time() { return UnixMillis(number()); }
  Head head();
  EvidenceValue evidence();

  std::mt19937_64 random_;
};

}  // namespace ratchet::control
