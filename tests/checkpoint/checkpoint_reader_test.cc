#include "trainer/checkpoint/checkpoint_reader.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "proto/job_spec.h"
#include "tests/checkpoint/small_job.h"
#include "tests/support/faulty_file_system.h"
#include "trainer/checkpoint/describe.h"
#include "trainer/checkpoint/layout.h"

namespace ratchet::trainer {
namespace {

TEST(CheckpointReader, AnEmptyFolderHasNone) {
  const TempFolder folder;
  const LoadReport report = SmallJob().load(posix_file_system(), folder.path());
  EXPECT_FALSE(report.loaded);
  EXPECT_TRUE(report.rejected.empty());
}

TEST(CheckpointReader, TheNewestWinsAndOthersCanBeAskedFor) {
  const TempFolder folder;
  const SmallJob job;
  FileSystem& fs = posix_file_system();
  for (const std::uint64_t step : {900U, 1000U, 100000000U}) {
    ASSERT_TRUE(job.save(fs, folder.path(), step));
  }
  EXPECT_EQ(job.load(fs, folder.path()).loaded->checkpoint.manifest.step, 100000000U);
  Arenas arenas(job.layout());
  Expectations expect = job.expectations();
  expect.newest_step = 999;
  auto report = load_newest(fs, folder.path(), expect, arenas.targets());
  ASSERT_TRUE(report);
  EXPECT_EQ(report->loaded->checkpoint.manifest.step, 900U);
  auto named =
      load_checkpoint(fs, step_path(folder.path(), 1000), job.expectations(), arenas.targets());
  ASSERT_TRUE(named);
  EXPECT_EQ(arenas, job.arenas_at(1000));
}

TEST(CheckpointReader, ACheckpointCopiedElsewhereLoadsByItsPath) {
  const TempFolder folder;
  const SmallJob job;
  FileSystem& fs = posix_file_system();
  ASSERT_TRUE(job.save(fs, folder.path(), 7));
  const std::string copy = folder.path() + "/my-favourite";
  std::filesystem::copy(step_path(folder.path(), 7), copy);
  Arenas arenas(job.layout());
  EXPECT_TRUE(load_checkpoint(fs, copy, job.expectations(), arenas.targets()));
  EXPECT_EQ(arenas, job.arenas_at(7));
}

TEST(CheckpointReader, ANamedCheckpointIsLoadedOrRefusedWithItsRung) {
  const TempFolder folder;
  const SmallJob job;
  FileSystem& fs = posix_file_system();
  ASSERT_TRUE(job.save(fs, folder.path(), 1));
  ASSERT_TRUE(job.save(fs, folder.path(), 2));
  write_whole(step_path(folder.path(), 2) + "/optimizer.safetensors", "x");
  Arenas arenas(job.layout());
  auto loaded =
      load_checkpoint(fs, step_path(folder.path(), 2), job.expectations(), arenas.targets());
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, Code::kCorrupt);
  EXPECT_NE(loaded.error().message.find("V1"), std::string::npos);
  loaded = load_checkpoint(fs, folder.path() + "/none", job.expectations(), arenas.targets());
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, Code::kNotFound);
}

TEST(CheckpointReader, AnotherJobIsRefusedAndNotFallenBackFrom) {
  const TempFolder folder;
  const SmallJob job;
  FileSystem& fs = posix_file_system();
  ASSERT_TRUE(job.save(fs, folder.path(), 1));
  ASSERT_TRUE(job.save(fs, folder.path(), 2));
  Expectations expect = job.expectations();
  expect.identity->dataset = std::string(64, 'f');
  Arenas arenas(job.layout());
  auto report = load_newest(fs, folder.path(), expect, arenas.targets());
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Code::kFailedPrecondition);
  EXPECT_NE(report.error().message.find("the training data"), std::string::npos);
  EXPECT_NE(report.error().message.find("V5"), std::string::npos);
}

// A changed rank changes the shapes too: the user must hear of the rank, and nothing must start
// anew.
TEST(CheckpointReader, AChangedLockedSettingIsNamedBeforeTheShapesAre) {
  const TempFolder folder;
  const SmallJob job, larger(2);
  FileSystem& fs = posix_file_system();
  ASSERT_TRUE(job.save(fs, folder.path(), 1));
  Expectations expect = larger.expectations();
  JobSpec spec = *decode_job_spec(expect.recipe).value;
  spec.lora.rank *= 2;
  expect.recipe = encode_job_spec(spec);
  Arenas arenas(larger.layout());
  auto report = load_newest(fs, folder.path(), expect, arenas.targets());
  ASSERT_FALSE(report);
  EXPECT_NE(report.error().message.find("$.lora.rank (was 16, is 32)"), std::string::npos)
      << report.error().message;
}

TEST(CheckpointReader, AllowedChangesAreListed) {
  const TempFolder folder;
  const SmallJob job;
  FileSystem& fs = posix_file_system();
  ASSERT_TRUE(job.save(fs, folder.path(), 1));
  Expectations expect = job.expectations();
  JobSpec spec = *decode_job_spec(expect.recipe).value;
  spec.training.micro_batch = 1;
  expect.recipe = encode_job_spec(spec);
  expect.env->micro_batch = 1;
  Arenas arenas(job.layout());
  auto report = load_newest(fs, folder.path(), expect, arenas.targets());
  ASSERT_TRUE(report) << report.error().message;
  ASSERT_TRUE(report->loaded);
  EXPECT_EQ(report->loaded->allowed_changes,
            std::vector<std::string>{"$.training.micro_batch: 4 -> 1"});
  EXPECT_EQ(report->loaded->resume.cls, ResumeClass::kSameData);
}

TEST(CheckpointReader, AReadThatFailsBetweenCheckAndLoadFallsBack) {
  const TempFolder folder;
  const SmallJob job;
  FaultyFileSystem fs(posix_file_system());
  ASSERT_TRUE(job.save(fs, folder.path(), 1));
  ASSERT_TRUE(job.save(fs, folder.path(), 2));
  int opened = 0;
  fs.fault = [&](FileCall call, const std::string& path) {
    const bool weights = path.find("step-00000002/adapter_model") != std::string::npos;
    if (!weights) return 0;
    if (call == FileCall::kOpen) ++opened;
    return call == FileCall::kRead && opened == 2 ? -EIO : 0;
  };
  const LoadReport report = job.load(fs, folder.path());
  EXPECT_EQ(opened, 2);
  ASSERT_EQ(report.rejected.size(), 1U);
  EXPECT_EQ(report.rejected[0].rung, "V2");
  EXPECT_EQ(report.loaded->checkpoint.manifest.step, 1U);
}

TEST(CheckpointReader, TargetsOfTheWrongSizeAreRefused) {
  const TempFolder folder;
  const SmallJob job;
  Arenas arenas(job.layout());
  arenas.params.push_back(0);
  auto report =
      load_newest(posix_file_system(), folder.path(), job.expectations(), arenas.targets());
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Code::kInvalidArgument);
}

TEST(TensorsDigest, ChangesWithOneUlpOfAnything) {
  const SmallJob job;
  const Arenas base = job.arenas_at(9);
  const std::string digest = tensors_digest(job.layout(), base.views(), 9);
  EXPECT_EQ(tensors_digest(job.layout(), job.arenas_at(9).views(), 9), digest);
  EXPECT_NE(tensors_digest(job.layout(), base.views(), 10), digest);
  for (auto member : {&Arenas::params, &Arenas::exp_avg, &Arenas::exp_avg_sq}) {
    Arenas other = base;
    (other.*member)[1] = std::nextafter((other.*member)[1], 9.0F);
    EXPECT_NE(tensors_digest(job.layout(), other.views(), 9), digest);
  }
}

TEST(Describe, SaysWhatACheckpointIs) {
  const TempFolder folder;
  const SmallJob job;
  FileSystem& fs = posix_file_system();
  auto saved = job.save(fs, folder.path(), 300);
  ASSERT_TRUE(saved);
  EXPECT_TRUE(looks_like_checkpoint(fs, saved->path));
  EXPECT_FALSE(looks_like_checkpoint(fs, folder.path()));
  const CheckpointDescription description = describe_checkpoint(fs, saved->path);
  EXPECT_EQ(description.tensors.size(), 6U);
  const std::string text = checkpoint_text(description);
  EXPECT_NE(text.find("step           300 of 1000"), std::string::npos) << text;
  EXPECT_NE(text.find(saved->manifest_sha256), std::string::npos);
  const auto doc = nlohmann::json::parse(checkpoint_json(description));
  EXPECT_EQ(doc["verdict"]["valid"], true);
  EXPECT_EQ(doc["step"], 300);
  EXPECT_EQ(doc["tensors"].size(), 6U);
}

TEST(Describe, SaysWhyAFolderIsNone) {
  const TempFolder folder;
  const SmallJob job;
  FileSystem& fs = posix_file_system();
  auto saved = job.save(fs, folder.path(), 300);
  ASSERT_TRUE(saved);
  write_whole(saved->path + "/trainer_state.json", "{}");
  const CheckpointDescription description = describe_checkpoint(fs, saved->path);
  const std::string text = checkpoint_text(description);
  EXPECT_NE(text.find("NOT VALID (V1): trainer_state.json has 2 bytes"), std::string::npos) << text;
  const auto doc = nlohmann::json::parse(checkpoint_json(description));
  EXPECT_EQ(doc["verdict"]["rung"], "V1");
  EXPECT_EQ(doc["tensors"].size(), 6U);
}

}  // namespace
}  // namespace ratchet::trainer
