#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <future>
#include <thread>

#include "controlplane/store/database.h"
#include "tests/controlplane/store/store_testing.h"

namespace ratchet::control {
namespace {

class Commits : public StoreTest {};

TEST_F(Commits, EventsAreNumberedWithoutGapsOrRefused) {
  open();
  JobRow job = job_row("a");
  must(job_batch(job, "job.created"));
  const JobRow before = job;
  Batch gap = job_batch(job, "job.queued");
  gap.events.front().seq = 3;
  std::get<JobRow>(gap.rows.front()).event_seq = 3;
  EXPECT_EQ(commit(gap).error().code, Code::kFailedPrecondition);

  job = before;
  Batch twice = job_batch(job, "job.queued");
  twice.events.push_back(twice.events.front());
  EXPECT_EQ(commit(twice).error().code, Code::kFailedPrecondition);

  job = before;
  Batch rowless = job_batch(job, "job.queued");
  rowless.rows.clear();
  EXPECT_EQ(commit(rowless).error().code, Code::kFailedPrecondition);

  job = before;
  job.event_seq = 2;  // says more than there is
  Batch silent;
  silent.rows.emplace_back(job);
  EXPECT_EQ(commit(silent).error().code, Code::kFailedPrecondition);

  // Of what was refused nothing is left.
  EXPECT_EQ(store_->events().job_events(before.id, 0, 10)->size(), 1U);
  EXPECT_EQ(store_->jobs().job(before.id, "")->row, before);
  job = before;
  must(job_batch(job, "job.queued"));
  const auto events = store_->events().job_events(before.id, 0, 10);
  ASSERT_EQ(events->size(), 2U);
  EXPECT_EQ((*events)[1].row.seq, 2);
  EXPECT_GT((*events)[1].id, (*events)[0].id);
}

TEST_F(Commits, EpochsAndEndsAreFinal) {
  open();
  JobRow job = job_row("a");
  job.epoch = 5;
  must(job_batch(job, "job.created"));
  JobRow stale = job;
  stale.epoch = 4;
  EXPECT_EQ(commit(job_batch(stale, "job.started")).error().code, Code::kFailedPrecondition);
  job.phase = JobPhase::kFailed;
  must(job_batch(job, "job.failed"));
  JobRow undead = job;
  undead.phase = JobPhase::kRunning;
  EXPECT_EQ(commit(job_batch(undead, "job.started")).error().code, Code::kFailedPrecondition);
  job.stage = "evidence";
  must(job_batch(job, "job.failed"));  // late evidence may come
}

TEST_F(Commits, ARefusalFailsItsChainAndNothingElse) {
  open();
  JobRow job = job_row("a");
  must(job_batch(job, "job.created", 1));
  JobRow stale = job_row("a");
  stale.event_seq = 7;
  std::vector<std::future<Result<CommitInfo>>> answers;
  const auto send = [&](Batch batch) {
    auto promise = std::make_shared<std::promise<Result<CommitInfo>>>();
    answers.push_back(promise->get_future());
    store_->commit(std::move(batch),
                   [promise](Result<CommitInfo> result) { promise->set_value(std::move(result)); });
  };
  JobRow other = job_row("b");
  JobRow free = job_row("c");
  JobRow next = job_row("d");
  send(job_batch(stale, "job.queued", 1));
  send(job_batch(other, "job.created", 1));
  send(job_batch(free, "job.created"));
  send(job_batch(next, "job.created", 2));
  EXPECT_EQ(answers[0].get().error().code, Code::kFailedPrecondition);
  EXPECT_EQ(answers[1].get().error().code, Code::kUnavailable);
  EXPECT_TRUE(answers[2].get());
  EXPECT_TRUE(answers[3].get());
  EXPECT_FALSE(store_->jobs().job(other.id, ""));
  JobRow late = job_row("e");
  EXPECT_EQ(commit(job_batch(late, "job.created", 1)).error().code, Code::kUnavailable);
}

// The writer is held in a callback while batches gather: they must share one transaction.
TEST_F(Commits, WhatGathersIsCommittedTogetherAndAnsweredInOrder) {
  open();
  std::promise<void> held;
  std::promise<void> go;
  store_->commit({}, [&](const Result<CommitInfo>&) {
    held.set_value();
    go.get_future().wait();
  });
  held.get_future().wait();
  const auto before = store_->health();
  std::vector<int> order;
  std::promise<void> all;
  for (int i = 0; i < 200; ++i) {
    JobRow job = job_row("job-" + std::to_string(i));
    store_->commit(job_batch(job, "job.created"), [&, i](const Result<CommitInfo>& result) {
      EXPECT_TRUE(result);
      order.push_back(i);
      if (i == 199) all.set_value();
    });
  }
  EXPECT_EQ(store_->health().queued, 200);
  go.set_value();
  all.get_future().wait();
  const auto after = store_->health();
  EXPECT_EQ(after.batches - before.batches, 200);
  EXPECT_EQ(after.transactions - before.transactions, 1);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST_F(Commits, AWriterWaitsWhileAnotherConnectionHoldsTheDatabase) {
  open();
  auto other = Database::open(folder_.path() / "ratchet.db", Database::Mode::kWriter);
  ASSERT_TRUE(other);
  ASSERT_TRUE((*other)->run("BEGIN IMMEDIATE"));
  JobRow job = job_row("a");
  std::promise<bool> done;
  store_->commit(job_batch(job, "job.created"),
                 [&](const Result<CommitInfo>& result) { done.set_value(result.has_value()); });
  while (store_->health().queued > 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  ASSERT_TRUE((*other)->run("ROLLBACK"));
  EXPECT_TRUE(done.get_future().get());
  EXPECT_GT(store_->health().busy_retries, 0);
}

TEST_F(Commits, ATransactionThatFailsLeavesNothingAndEnds) {
  auto db = Database::open(folder_.path() / "own.db", Database::Mode::kWriter);
  ASSERT_TRUE(db);
  ASSERT_TRUE((*db)->run("CREATE TABLE numbers (value INTEGER)"));
  const auto failed = with_transaction(**db, [&]() -> Status {
    EXPECT_TRUE((*db)->run("INSERT INTO numbers (value) VALUES (?)", {1}));
    return Error{Code::kInternal, "no"};
  });
  EXPECT_FALSE(failed);
  EXPECT_FALSE((*db)->in_transaction());
  Query count(**db, "SELECT COUNT(*) FROM numbers", {});
  ASSERT_TRUE(count.next());
  EXPECT_EQ(count.integer(0), 0);
}

// In a child with a limit on the size of files, as on a full disk: commits fail with kNoSpace, what
// was acknowledged stays, and once there is room the same store goes on.
int fill_disk(const std::filesystem::path& folder) {
  std::signal(SIGXFSZ, SIG_IGN);
  SqliteOptions options;
  options.folder = folder;
  auto store = open_sqlite_store(std::move(options));
  if (!store) return 10;
  const auto put = [&](int i) {
    JobRow job = job_row("job-" + std::to_string(i));
    job.spec_json.append(20'000, ' ');
    return commit_and_wait(**store, job_batch(job, "job.created", 0));
  };
  int done = 0;
  while (done < 20) {
    if (!put(done)) return 11;
    ++done;
  }
  rlimit limit{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  const rlim_t soft = limit.rlim_cur;
  limit.rlim_cur = 1'500'000;
  ::setrlimit(RLIMIT_FSIZE, &limit);
  Code failure = Code::kInternal;
  for (; done < 500; ++done) {
    const auto result = put(done);
    if (result) continue;
    failure = result.error().code;
    break;
  }
  if (failure != Code::kNoSpace) return 12;
  const auto full = (*store)->health();
  if (full.ok || full.message.find("Free space") == std::string::npos) return 13;
  limit.rlim_cur = soft;
  ::setrlimit(RLIMIT_FSIZE, &limit);
  if (!put(done)) return 14;
  if (!(*store)->health().ok) return 16;
  for (int i = 0; i <= done; ++i) {
    if (!(*store)->jobs().job(JobId("job-" + std::to_string(i)), "")) return 15;
  }
  return 0;
}

TEST_F(Commits, AFullDiskIsSaidAndLosesNothing) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::_exit(fill_disk(folder_.path()));
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(Commits, AQueueThatIsFullRefusesAndFailsTheChain) {
  SqliteOptions options;
  options.folder = folder_.path();
  options.max_queued = 2;
  store_ = std::move(*open_sqlite_store(std::move(options)));
  std::promise<void> held;
  std::promise<void> go;
  store_->commit({}, [&](const Result<CommitInfo>&) {
    held.set_value();
    go.get_future().wait();
  });
  held.get_future().wait();
  std::vector<Code> codes;
  std::promise<void> all;
  for (int i = 0; i < 4; ++i) {
    JobRow job = job_row("job-" + std::to_string(i));
    store_->commit(job_batch(job, "job.created", 1), [&, i](const Result<CommitInfo>& result) {
      if (!result) codes.push_back(result.error().code);
      if (i == 3) all.set_value();
    });
  }
  go.set_value();
  all.get_future().wait();
  EXPECT_EQ(codes, (std::vector{Code::kUnavailable, Code::kUnavailable}));
}

}  // namespace
}  // namespace ratchet::control
