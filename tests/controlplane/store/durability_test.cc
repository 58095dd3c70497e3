#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <map>
#include <random>
#include <thread>

#include "tests/controlplane/store/store_testing.h"

namespace ratchet::control {
namespace {

constexpr int kRounds = 12;
constexpr int kJobs = 8;

struct Acknowledged {  // by the child, over the pipe, after the commit
  int job;
  std::int64_t seq;
};

// Commits for ever: each batch is a job row, its event, a delivery, a line, a metric.
[[noreturn]] void write_until_killed(const std::filesystem::path& folder, int pipe) {
  SqliteOptions options;
  options.folder = folder;
  auto store = open_sqlite_store(std::move(options));
  if (!store) ::_exit(1);
  std::vector<JobRow> jobs;
  for (int i = 0; i < kJobs; ++i) {
    const auto stored = (*store)->jobs().job(JobId("job-" + std::to_string(i)), "");
    jobs.push_back(stored ? stored->row : job_row("job-" + std::to_string(i)));
  }
  for (;;) {
    for (int i = 0; i < kJobs; ++i) {
      JobRow& job = jobs[static_cast<std::size_t>(i)];
      Batch batch = job_batch(job, "job.started", 1);
      const std::int64_t seq = job.event_seq;
      batch.lines.push_back({job.id, 1, 1, static_cast<std::uint64_t>(seq), "line"});
      MetricRow metric;
      metric.job_id = job.id;
      metric.step = seq;
      batch.metrics.push_back(metric);
      (*store)->commit(std::move(batch), [i, seq, pipe](const Result<CommitInfo>& result) {
        if (!result) ::_exit(2);
        const Acknowledged word{i, seq};
        if (::write(pipe, &word, sizeof word) != sizeof word) ::_exit(3);
      });
    }
    while ((*store)->health().queued > 100)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

class Durability : public StoreTest {
 protected:
  // Everything acknowledged is there, and of each batch all or nothing.
  void check(const std::map<int, std::int64_t>& acknowledged) {
    for (int i = 0; i < kJobs; ++i) {
      const JobId id("job-" + std::to_string(i));
      const auto job = store_->jobs().job(id, "");
      const auto least = acknowledged.find(i);
      if (!job) {
        EXPECT_EQ(least, acknowledged.end());
        continue;
      }
      const std::int64_t last = job->row.event_seq;
      if (least != acknowledged.end()) {
        EXPECT_GE(last, least->second);
      }
      EXPECT_EQ(*store_->events().line_cursor(id, 1), static_cast<std::uint64_t>(last));
      EXPECT_EQ((*store_->events().last_metric(id))->step, last);
      std::int64_t seen = 0;
      for (;;) {
        const auto events = store_->events().job_events(id, seen, 1000);
        ASSERT_TRUE(events);
        for (const EventRecord& event : *events) ASSERT_EQ(event.row.seq, ++seen);
        if (events->size() < 1000) break;
      }
      EXPECT_EQ(seen, last);
      events_ += seen;
    }
    std::int64_t deliveries = *store_->webhooks().backlog();
    EXPECT_EQ(deliveries, events_);
  }

  std::int64_t events_ = 0;
};

TEST_F(Durability, WhatWasAcknowledgedOutlivesKills) {
  open();
  must_write(webhook_row("wh"));
  close();
  std::mt19937 random(11);
  std::map<int, std::int64_t> acknowledged;
  for (int round = 0; round < kRounds; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::close(ends[0]);
      write_until_killed(folder_.path(), ends[1]);
    }
    ::close(ends[1]);
    // Killed after a random number of answers, so in the middle of a group.
    const auto wanted = std::uniform_int_distribution<int>(1, 300)(random);
    Acknowledged word{};
    for (int got = 0; got < wanted; ++got) {
      ASSERT_EQ(::read(ends[0], &word, sizeof word), static_cast<ssize_t>(sizeof word));
      acknowledged[word.job] = word.seq;
    }
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    while (::read(ends[0], &word, sizeof word) == sizeof word) acknowledged[word.job] = word.seq;
    ::close(ends[0]);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    events_ = 0;
    open();
    check(acknowledged);
    close();
  }
  EXPECT_EQ(acknowledged.size(), static_cast<std::size_t>(kJobs));
}

TEST_F(Durability, EventIdsAreNeverUsedTwice) {
  std::int64_t last = 0;
  std::string boot;
  for (int start = 0; start < 3; ++start) {
    open();
    EXPECT_NE(store_->boot_id(), boot);
    boot = store_->boot_id();
    JobRow job = job_row("job-" + std::to_string(start));
    job.phase = JobPhase::kFailed;
    job.ended_at = UnixMillis(1);
    const auto done = commit(job_batch(job, "job.failed"));
    ASSERT_TRUE(done);
    EXPECT_GT(done->events.front().id, last);
    last = done->events.front().id;
    // Gone before the next start: its id must not come again.
    while (store_->retain({.events_before = UnixMillis(10)})->more) {
    }
    EXPECT_TRUE(store_->events().events({})->empty());
    close();
  }
}

}  // namespace
}  // namespace ratchet::control
