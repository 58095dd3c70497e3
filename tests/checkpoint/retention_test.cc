#include <gtest/gtest.h>

#include <cerrno>

#include "tests/checkpoint/small_job.h"
#include "tests/support/faulty_file_system.h"
#include "trainer/checkpoint/checkpoint_writer.h"
#include "trainer/checkpoint/layout.h"

namespace ratchet::trainer {
namespace {

using Steps = std::vector<std::uint64_t>;

TEST(Retention, TheRuleKeepsNewestBestAndMultiples) {
  const Steps steps = {100, 200, 900, 1000, 1100, 1200};
  EXPECT_EQ(steps_to_delete(steps, 1200, {.keep = 2}), (Steps{900, 200, 100}));
  EXPECT_EQ(steps_to_delete(steps, 1200, {.keep = 2, .keep_every = 0}),
            (Steps{1000, 900, 200, 100}));
  EXPECT_EQ(steps_to_delete(steps, 1200, {.keep = 2, .best_step = 200}), (Steps{900, 100}));
  EXPECT_EQ(steps_to_delete(steps, 1200, {.keep = 1}), (Steps{1100, 900, 200, 100}));
  EXPECT_EQ(steps_to_delete(steps, 1200, {.keep = 0}), (Steps{1100, 900, 200, 100}));
  EXPECT_EQ(steps_to_delete({0, 100, 200}, 200, {.keep = 1}), (Steps{100, 0}));
  EXPECT_EQ(steps_to_delete({}, 100, {}), Steps{});
}

// After a fall-back, damaged checkpoints are newer than the one just committed. They are no
// replacement for a good one and must not push it out.
TEST(Retention, WhatIsNewerThanTheCommittedOneNeitherCountsNorGoes) {
  EXPECT_EQ(steps_to_delete({100, 200, 300, 400}, 200, {.keep = 2}), Steps{});
  EXPECT_EQ(steps_to_delete({100, 200, 300, 400}, 200, {.keep = 1}), Steps{100});
}

TEST(Retention, DeletesManifestFirstAndSaysSo) {
  const TempFolder folder;
  const SmallJob job;
  FaultyFileSystem fs(posix_file_system());
  for (const std::uint64_t step : {1U, 2U, 3U}) ASSERT_TRUE(job.save(fs, folder.path(), step));
  std::vector<std::string> removed;
  fs.fault = [&](FileCall call, const std::string& path) {
    if (call == FileCall::kRemove) removed.push_back(path);
    return 0;
  };
  auto deleted = apply_retention(fs, folder.path(), 3, {.keep = 1});
  ASSERT_TRUE(deleted);
  EXPECT_EQ(*deleted, (Steps{2, 1}));
  ASSERT_FALSE(removed.empty());
  EXPECT_EQ(removed[0], step_path(folder.path(), 2) + "/MANIFEST.json");
  EXPECT_EQ(*list_steps(fs, folder.path()), Steps{3});
  EXPECT_NE(read_whole(folder.path() + "/journal.jsonl").find("\"deleted\",\"step\":1}"),
            std::string::npos);
}

TEST(Retention, NothingIsDeletedWithoutTheCheckpointThatReplacesIt) {
  const TempFolder folder;
  const SmallJob job;
  FileSystem& fs = posix_file_system();
  for (const std::uint64_t step : {1U, 2U}) ASSERT_TRUE(job.save(fs, folder.path(), step));
  auto deleted = apply_retention(fs, folder.path(), 3, {.keep = 1});
  ASSERT_FALSE(deleted);
  EXPECT_EQ(list_steps(fs, folder.path())->size(), 2U);
}

TEST(Retention, AnInterruptedDeletionIsNoCheckpointAndIsFinishedLater) {
  const TempFolder folder;
  const SmallJob job;
  FaultyFileSystem fs(posix_file_system());
  for (const std::uint64_t step : {1U, 2U}) ASSERT_TRUE(job.save(fs, folder.path(), step));
  fs.fault = fail_nth(FileCall::kRemove, "step-00000001", 2, EIO);
  ASSERT_FALSE(apply_retention(fs, folder.path(), 2, {.keep = 1}));
  fs.fault = {};
  Expectations expect = job.expectations();
  expect.newest_step = 1;
  Arenas arenas(job.layout());
  auto report = load_newest(fs, folder.path(), expect, arenas.targets());
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->loaded);
  ASSERT_EQ(report->rejected.size(), 1U);
  EXPECT_EQ(report->rejected[0].rung, "V0");
  EXPECT_EQ(*apply_retention(fs, folder.path(), 2, {.keep = 1}), Steps{1});
  EXPECT_EQ(*list_steps(fs, folder.path()), Steps{2});
}

TEST(Retention, SetAsideTakesNewerOnesOutOfTheWay) {
  const TempFolder folder;
  const SmallJob job;
  FileSystem& fs = posix_file_system();
  for (const std::uint64_t step : {1U, 2U, 3U}) ASSERT_TRUE(job.save(fs, folder.path(), step));
  EXPECT_EQ(*set_aside_newer(fs, folder.path(), 1), (Steps{3, 2}));
  EXPECT_EQ(job.load(fs, folder.path()).loaded->checkpoint.manifest.step, 1U);
  EXPECT_EQ(list_folder(fs, checkpoint_root(folder.path()))->size(), 3U);
  EXPECT_EQ(*set_aside_newer(fs, folder.path(), 1), Steps{});
}

}  // namespace
}  // namespace ratchet::trainer
