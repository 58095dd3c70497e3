// A process that dies at every point of a commit, on a real file system: what it leaves is read by
// another one, which finds the newest complete checkpoint, cleans up, and saves again.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "tests/checkpoint/small_job.h"
#include "trainer/checkpoint/layout.h"

namespace ratchet::trainer {
namespace {

constexpr int kCrashExit = 42;

// Saves 100, 200, 300 (retention deletes 100) and 300 again. `at_point` sees every point.
void history(const SmallJob& job, const std::string& folder,
             const std::function<void(std::string_view)>& at_point,
             const std::function<void(std::uint64_t)>& committed) {
  FileSystem& fs = posix_file_system();
  WriteOptions options;
  options.at_point = at_point;
  for (const std::uint64_t step : {100U, 200U, 300U, 300U}) {
    if (!job.save(fs, folder, step, options)) std::abort();
    committed(step);
    if (!apply_retention(fs, folder, step, {.keep = 2}, at_point)) std::abort();
  }
}

struct Crash {
  std::string point;
  std::uint64_t committed = 0;  // last step whose parent folder was synced before the point
};

std::vector<Crash> all_points(const SmallJob& job) {
  const TempFolder folder;
  std::vector<Crash> points;
  std::uint64_t done = 0, running = 100;
  history(
      job, folder.path(),
      [&](std::string_view point) {
        if (point == "parent_synced") done = running;
        points.push_back({std::string(point), done});
      },
      [&](std::uint64_t step) { running = std::min<std::uint64_t>(step + 100, 300); });
  return points;
}

void crash_at(const SmallJob& job, const std::string& folder, std::size_t index) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::size_t seen = 0;
    history(
        job, folder,
        [&](std::string_view) {
          if (seen++ == index) _exit(kCrashExit);
        },
        [](std::uint64_t) {});
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  ASSERT_EQ(WEXITSTATUS(status), kCrashExit);
}

TEST(Crash, EveryPointOfACommitIsReached) {
  std::set<std::string_view> reached;
  const SmallJob job;
  const auto points = all_points(job);
  for (const Crash& crash : points) reached.insert(crash.point);
  for (const std::string_view point : kCommitPoints) EXPECT_TRUE(reached.contains(point)) << point;
  EXPECT_EQ(reached.size(), std::size(kCommitPoints));
}

TEST(Crash, AtEveryPointTheNewestCommittedCheckpointIsFound) {
  const SmallJob job;
  FileSystem& fs = posix_file_system();
  const auto points = all_points(job);
  for (std::size_t i = 0; i < points.size(); ++i) {
    SCOPED_TRACE(points[i].point + ", point " + std::to_string(i));
    const TempFolder folder;
    crash_at(job, folder.path(), i);
    auto removed = remove_leftovers(fs, folder.path());
    ASSERT_TRUE(removed);
    EXPECT_LE(removed->size(), 1U);
    const LoadReport report = job.load(fs, folder.path());
    EXPECT_TRUE(report.rejected.empty()) << report.rejected[0].reason;
    const std::uint64_t found = report.loaded ? report.loaded->checkpoint.manifest.step : 0;
    EXPECT_GE(found, points[i].committed);
    ASSERT_TRUE(job.save(fs, folder.path(), found + 1));
    const LoadReport again = job.load(fs, folder.path());
    ASSERT_TRUE(again.loaded);
    EXPECT_EQ(again.loaded->checkpoint.manifest.step, found + 1);
  }
}

}  // namespace
}  // namespace ratchet::trainer
