// The saver beside a loop that changes its arenas in every step. Run under tsan as well: arenas are
// plain memory, so a copy that overlaps an update is a race that the sanitizer sees.

#include "trainer/checkpoint/async_saver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <thread>

#include "tests/checkpoint/small_job.h"
#include "tests/support/faulty_file_system.h"
#include "trainer/checkpoint/layout.h"

namespace ratchet::trainer {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// A loop thread's view: arenas that hold the state of `step`.
class Loop {
 public:
  explicit Loop(FileSystem& fs = posix_file_system()) : fs_(fs), arenas_(job_.arenas_at(0)) {
    options.fs = &fs_;
    options.job_dir = folder_.path();
    options.layout = &job_.layout();
    options.adapter_config = "{\"peft_type\": \"LORA\"}";
    options.copy = copy_from_host(arenas_.views());
    options.on_result = [this](const SaveResult& result) {
      const std::lock_guard lock(mu_);
      results_.push_back(result);
    };
  }

  void start() {
    saver = std::make_unique<AsyncSaver>(options);
    saver->publish(published());
  }
  void step() {
    saver->begin_update();
    ++step_;
    const Arenas next = job_.arenas_at(step_);
    // In place, as an optimizer does it.
    std::copy(next.params.begin(), next.params.end(), arenas_.params.begin());
    std::copy(next.exp_avg.begin(), next.exp_avg.end(), arenas_.exp_avg.begin());
    std::copy(next.exp_avg_sq.begin(), next.exp_avg_sq.end(), arenas_.exp_avg_sq.begin());
    saver->end_update(published());
  }
  [[nodiscard]] PublishedState published() const { return {job_.state_at(step_), job_.header()}; }
  [[nodiscard]] std::vector<SaveResult> results() const {
    const std::lock_guard lock(mu_);
    return results_;
  }
  // Bits are compared by SmallJob::load().
  [[nodiscard]] std::uint64_t loaded_step() const {
    const LoadReport report = job_.load(posix_file_system(), folder_.path());
    EXPECT_TRUE(report.rejected.empty());
    return report.loaded ? report.loaded->checkpoint.manifest.step : 0;
  }

  AsyncSaverOptions options;
  std::unique_ptr<AsyncSaver> saver;

 private:
  FileSystem& fs_;
  TempFolder folder_;
  SmallJob job_;
  mutable std::mutex mu_;
  std::vector<SaveResult> results_;
  Arenas arenas_;
  std::uint64_t step_ = 0;
};

// Blocks those who wait until it is opened.
class Gate {
 public:
  void wait() {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [&] { return open_; });
  }
  void open() {
    {
      const std::lock_guard lock(mu_);
      open_ = true;
    }
    changed_.notify_all();
  }

 private:
  std::mutex mu_;
  std::condition_variable changed_;
  bool open_ = false;
};

TEST(AsyncSaver, SavesTheStateOfTheStepThatAskedForIt) {
  Loop loop;
  loop.start();
  loop.step();
  ASSERT_TRUE(loop.saver->begin_save(CheckpointReason::kInterval));
  loop.step();
  loop.step();
  loop.saver->wait_idle();
  EXPECT_EQ(loop.loaded_step(), 1U);
  ASSERT_EQ(loop.results().size(), 1U);
  EXPECT_EQ(loop.results()[0].step, 1U);
  EXPECT_EQ(loop.saver->last_committed()->step, 1U);
}

TEST(AsyncSaver, EverySaveOfAFastLoopIsExactOrSkipped) {
  Loop loop;
  loop.start();
  std::uint64_t started = 0;
  for (int i = 0; i < 200; ++i) {
    loop.step();
    started += loop.saver->begin_save(CheckpointReason::kInterval) ? 1 : 0;
  }
  loop.saver->wait_idle();
  EXPECT_EQ(started + loop.saver->skipped(), 200U);
  EXPECT_EQ(loop.results().size(), started);
  std::string parent;
  for (const SaveResult& result : loop.results()) EXPECT_TRUE(result.committed);
  EXPECT_EQ(loop.loaded_step(), loop.saver->last_committed()->step);
}

TEST(AsyncSaver, AnUpdateWaitsForTheCopyAndForNothingElse) {
  Loop loop;
  Gate copy_gate, write_gate;
  std::atomic<bool> copied = false;
  const auto copy = loop.options.copy;
  loop.options.copy = [&](const ArenaTargets& snapshot) {
    copy_gate.wait();
    Status status = copy(snapshot);
    copied = true;
    return status;
  };
  loop.options.at_point = [&](std::string_view point) {
    if (point == "begin") write_gate.wait();
  };
  loop.start();
  loop.step();
  ASSERT_TRUE(loop.saver->begin_save(CheckpointReason::kInterval));
  std::thread opener([&] {
    std::this_thread::sleep_for(milliseconds(20));
    EXPECT_FALSE(copied);
    copy_gate.open();
  });
  loop.step();  // returns although the write is blocked
  EXPECT_TRUE(copied);
  opener.join();
  EXPECT_FALSE(loop.saver->begin_save(CheckpointReason::kInterval));
  EXPECT_EQ(loop.saver->skipped(), 1U);
  write_gate.open();
  loop.saver->wait_idle();
  EXPECT_EQ(loop.loaded_step(), 1U);
}

TEST(AsyncSaver, AFailureIsReportedAndTheNextSaveWorks) {
  FaultyFileSystem fs(posix_file_system());
  fs.fault = fail_nth(FileCall::kAllocate, "optimizer", 1, ENOSPC);
  Loop loop(fs);
  loop.start();
  loop.step();
  ASSERT_TRUE(loop.saver->begin_save(CheckpointReason::kInterval));
  loop.saver->wait_idle();
  ASSERT_EQ(loop.results().size(), 1U);
  ASSERT_TRUE(loop.results()[0].error);
  EXPECT_EQ(loop.results()[0].error->code, Code::kNoSpace);
  EXPECT_FALSE(loop.saver->last_committed());
  loop.step();
  ASSERT_TRUE(loop.saver->begin_save(CheckpointReason::kInterval));
  loop.saver->wait_idle();
  EXPECT_EQ(loop.loaded_step(), 2U);
}

TEST(AsyncSaver, AFailedCopyIsNoCheckpoint) {
  Loop loop;
  loop.options.copy = [](const ArenaTargets&) -> Status {
    return Error{Code::kUnavailable, "The device is lost."};
  };
  loop.start();
  loop.step();
  ASSERT_TRUE(loop.saver->begin_save(CheckpointReason::kInterval));
  loop.step();
  loop.saver->wait_idle();
  EXPECT_EQ(loop.loaded_step(), 0U);
  EXPECT_EQ(loop.results()[0].error->message, "The device is lost.");
}

TEST(AsyncSaver, ManifestsFormAChainAndRetentionRuns) {
  Loop loop;
  loop.options.parent_manifest = std::string(64, 'c');
  loop.options.retention.keep = 1;
  loop.start();
  std::vector<std::string> parents;
  std::string expected(64, 'c');
  for (int i = 0; i < 3; ++i) {
    loop.step();
    auto saved = loop.saver->commit_now(CheckpointReason::kRequest);
    ASSERT_TRUE(saved) << saved.error().message;
    auto manifest = decode_manifest(read_whole(saved->path + "/MANIFEST.json"));
    ASSERT_TRUE(manifest);
    EXPECT_EQ(manifest->header.parent_manifest, expected);
    expected = saved->manifest_sha256;
  }
  EXPECT_EQ(loop.results()[2].deleted, std::vector<std::uint64_t>{2});
}

TEST(AsyncSaver, CommitNowReturnsWhatIsCommittedAlready) {
  Loop loop;
  loop.start();
  loop.step();
  auto first = loop.saver->commit_now(CheckpointReason::kEnd);
  auto second = loop.saver->commit_now(CheckpointReason::kEnd);
  ASSERT_TRUE(first);
  ASSERT_TRUE(second);
  EXPECT_EQ(first->manifest_sha256, second->manifest_sha256);
  EXPECT_EQ(loop.results().size(), 1U);
}

// As when a step is the best so far and due for a checkpoint too.
TEST(AsyncSaver, AStateThatIsSavedIsNotSavedAgain) {
  Loop loop;
  loop.start();
  loop.step();
  ASSERT_TRUE(loop.saver->begin_save(CheckpointReason::kBest));
  loop.saver->wait_idle();
  EXPECT_TRUE(loop.saver->begin_save(CheckpointReason::kInterval));
  loop.saver->wait_idle();
  EXPECT_EQ(loop.results().size(), 1U);
  EXPECT_EQ(loop.saver->skipped(), 0U);
  loop.step();
  EXPECT_TRUE(loop.saver->begin_save(CheckpointReason::kInterval));
  loop.saver->wait_idle();
  EXPECT_EQ(loop.results().size(), 2U);
}

// An evaluation after the save of a step adds to the state of that step.
TEST(AsyncSaver, CommitNowReplacesACheckpointWhoseStateHasGrown) {
  Loop loop;
  loop.start();
  loop.step();
  auto first = loop.saver->commit_now(CheckpointReason::kInterval);
  ASSERT_TRUE(first);
  PublishedState evaluated = loop.published();
  evaluated.state.evaluated_step = 1;
  loop.saver->begin_update();
  loop.saver->end_update(evaluated);
  auto second = loop.saver->commit_now(CheckpointReason::kEnd);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->tensors_digest, first->tensors_digest);
  EXPECT_NE(second->manifest_sha256, first->manifest_sha256);
  auto state = decode_trainer_state(read_whole(second->path + "/trainer_state.json"));
  ASSERT_TRUE(state);
  EXPECT_EQ(state->evaluated_step, 1U);
}

TEST(AsyncSaver, CommitNowWithoutAStateIsRefused) {
  Loop loop;
  AsyncSaver saver(loop.options);
  EXPECT_EQ(saver.commit_now(CheckpointReason::kSignal).error().code, Code::kFailedPrecondition);
}

TEST(AsyncSaver, AnEmergencyFromAnotherThreadIsExactAtAnyMoment) {
  for (int trial = 0; trial < 20; ++trial) {
    Loop loop;
    loop.start();
    std::atomic<bool> stop = false;
    std::thread emergency([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(137 * trial));
      auto saved = loop.saver->commit_now(CheckpointReason::kSignal,
                                          steady_clock::now() + milliseconds(5000));
      EXPECT_TRUE(saved) << saved.error().message;
      stop = true;
    });
    int i = 0;
    while (!stop) {
      loop.step();
      if (++i % 7 == 0) loop.saver->begin_save(CheckpointReason::kInterval);
    }
    emergency.join();
    loop.saver->wait_idle();
    EXPECT_EQ(loop.loaded_step(), loop.saver->last_committed()->step);
  }
}

TEST(AsyncSaver, AnEmergencyStopsAnOlderSaveThatTakesTooLong) {
  Loop loop;
  std::atomic<int> begun = 0;
  // The save in flight crawls; it notices the stop at its next chunk.
  loop.options.at_point = [&](std::string_view point) {
    if (point == "begin") ++begun;
    if (begun == 1) std::this_thread::sleep_for(milliseconds(200));
  };
  loop.start();
  loop.step();
  ASSERT_TRUE(loop.saver->begin_save(CheckpointReason::kInterval));
  loop.step();
  auto saved =
      loop.saver->commit_now(CheckpointReason::kSignal, steady_clock::now() + milliseconds(6000));
  ASSERT_TRUE(saved) << saved.error().message;
  EXPECT_EQ(saved->step, 2U);
  ASSERT_EQ(loop.results().size(), 2U);
  EXPECT_EQ(loop.results()[0].error->code, Code::kUnavailable);
  EXPECT_EQ(loop.loaded_step(), 2U);
}

TEST(AsyncSaver, AnEmergencyGivesUpAtItsDeadline) {
  Loop loop;
  loop.start();
  loop.step();
  loop.saver->begin_update();  // an optimizer step that does not end
  const auto start = steady_clock::now();
  auto saved = loop.saver->commit_now(CheckpointReason::kSignal, start + milliseconds(50));
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().code, Code::kUnavailable);
  ASSERT_EQ(loop.results().size(), 1U);
  EXPECT_TRUE(loop.results()[0].error);
  loop.saver->end_update(loop.published());
  EXPECT_TRUE(loop.saver->commit_now(CheckpointReason::kSignal));
  EXPECT_EQ(loop.loaded_step(), 1U);
}

TEST(AsyncSaver, TheDestructorFinishesWhatIsInFlight) {
  Loop loop;
  loop.start();
  loop.step();
  ASSERT_TRUE(loop.saver->begin_save(CheckpointReason::kInterval));
  loop.saver.reset();
  EXPECT_EQ(loop.loaded_step(), 1U);
}

}  // namespace
}  // namespace ratchet::trainer
