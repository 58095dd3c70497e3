#include "trainer/checkpoint/checkpoint_writer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "tests/checkpoint/small_job.h"
#include "tests/support/faulty_file_system.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/model/digest.h"
#include "trainer/model/safetensors_file.h"

namespace ratchet::trainer {
namespace {

using std::chrono::steady_clock;

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : *list_folder(posix_file_system(), folder)) names.push_back(entry.name);
  return names;
}

TEST(CheckpointWriter, WhatIsWrittenIsReadBackBitForBit) {
  const TempFolder folder;
  const SmallJob job;
  FileSystem& fs = posix_file_system();
  auto committed = job.save(fs, folder.path(), 300);
  ASSERT_TRUE(committed) << committed.error().message;
  EXPECT_EQ(committed->path, step_path(folder.path(), 300));
  EXPECT_EQ(committed->warning, "");
  const LoadReport report = job.load(fs, folder.path());
  ASSERT_TRUE(report.loaded);
  const VerifiedCheckpoint& c = report.loaded->checkpoint;
  EXPECT_EQ(c.manifest_sha256, committed->manifest_sha256);
  EXPECT_EQ(c.manifest_sha256,
            to_hex(sha256(std::string_view(read_whole(committed->path + "/MANIFEST.json")))));
  EXPECT_EQ(c.bytes, committed->bytes);
  EXPECT_EQ(c.adapter_config, "{\"peft_type\": \"LORA\"}");
  EXPECT_EQ(c.manifest.witness_steps, (std::vector<std::uint64_t>{301, 302}));
  EXPECT_EQ(report.loaded->resume.cls, ResumeClass::kBitExact);
  EXPECT_EQ(read_whole(folder.path() + "/LATEST"), "step-00000300\n");
  EXPECT_NE(read_whole(folder.path() + "/journal.jsonl").find("\"committed_local\""),
            std::string::npos);
}

TEST(CheckpointWriter, FilesAreThoseThatTheReadmeNames) {
  const TempFolder folder;
  const SmallJob job;
  ASSERT_TRUE(job.save(posix_file_system(), folder.path(), 1));
  EXPECT_EQ(
      names_in(step_path(folder.path(), 1)),
      (std::vector<std::string>{"MANIFEST.json", "adapter_config.json", "adapter_model.safetensors",
                                "optimizer.safetensors", "trainer_state.json"}));
  auto weights = SafetensorsFile::open(step_path(folder.path(), 1) + "/adapter_model.safetensors");
  ASSERT_TRUE(weights) << weights.error().message;
  EXPECT_EQ(weights->header().data_start % 4096, 0U);
  EXPECT_EQ(weights->header().metadata.at("format"), "pt");
  const Arenas arenas = job.arenas_at(1);
  for (const ArenaTensor& tensor : job.layout().tensors) {
    const StoredTensor* stored = weights->header().find(tensor.name);
    ASSERT_NE(stored, nullptr);
    std::vector<float> values(static_cast<std::size_t>(tensor.size));
    ASSERT_TRUE(weights->read(*stored, std::as_writable_bytes(std::span(values))));
    EXPECT_TRUE(std::equal(values.begin(), values.end(), arenas.params.begin() + tensor.offset));
  }
}

TEST(CheckpointWriter, SameStateGivesTheSameTensorFiles) {
  const TempFolder one, two;
  const SmallJob job;
  auto a = job.save(posix_file_system(), one.path(), 5);
  auto b = job.save(posix_file_system(), two.path(), 5);
  ASSERT_TRUE(a);
  ASSERT_TRUE(b);
  EXPECT_EQ(a->tensors_digest, b->tensors_digest);
  for (const char* name : {"/adapter_model.safetensors", "/optimizer.safetensors"}) {
    EXPECT_EQ(read_whole(a->path + name), read_whole(b->path + name));
  }
}

TEST(CheckpointWriter, ContentOfSeveralChunksRoundTripsOnADisk) {
  const TempFolder folder(TempFolder::On::kDisk);
  const SmallJob job(200'000);  // 20 MB of weights, 33 MB of moments
  FileSystem& fs = posix_file_system();
  ASSERT_TRUE(job.save(fs, folder.path(), 2));
  const LoadReport report = job.load(fs, folder.path());
  ASSERT_TRUE(report.loaded);
  for (const FileRecord& file : report.loaded->checkpoint.manifest.files) {
    if (file.name == kOptimizerName) {
      EXPECT_GT(file.chunk_xxh3.size(), 2U);
    }
  }
}

TEST(CheckpointWriter, AWholeModelHasNoAdapterConfig) {
  const TempFolder folder;
  const SmallJob job;
  FileSystem& fs = posix_file_system();
  const Arenas arenas = job.arenas_at(4);
  CheckpointContent content = job.content(4, arenas);
  content.kind = WeightsKind::kFull;
  EXPECT_EQ(write_checkpoint(fs, folder.path(), content).error().code, Code::kInvalidArgument);
  content.adapter_config.clear();
  ASSERT_TRUE(write_checkpoint(fs, folder.path(), content));
  Expectations expect = job.expectations();
  expect.kind = WeightsKind::kFull;
  Arenas loaded(job.layout());
  auto report = load_newest(fs, folder.path(), expect, loaded.targets());
  ASSERT_TRUE(report);
  ASSERT_TRUE(report->loaded);
  EXPECT_EQ(loaded, arenas);
  // The same folder is no checkpoint of an adapter.
  expect.kind = WeightsKind::kAdapter;
  report = load_newest(fs, folder.path(), expect, loaded.targets());
  ASSERT_TRUE(report);
  ASSERT_EQ(report->rejected.size(), 1U);
  EXPECT_EQ(report->rejected[0].rung, "V3");
}

TEST(CheckpointWriter, ContentThatDoesNotFitItsLayoutIsRefused) {
  const TempFolder folder;
  const SmallJob job;
  Arenas arenas = job.arenas_at(1);
  arenas.exp_avg.pop_back();
  auto written = write_checkpoint(posix_file_system(), folder.path(), job.content(1, arenas));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Code::kInvalidArgument);
  EXPECT_TRUE(names_in(folder.path()).empty());
}

// Every single system call of a commit fails once with EIO: either the commit is reported as failed
// and leaves nothing, or what failed was not part of it (journal, LATEST). Never a false success,
// and the next save works.
TEST(CheckpointWriter, AFailureOfAnyCallNeverCommitsByHalf) {
  const SmallJob job;
  int failures = 0, successes = 0;
  for (int n = 1;; ++n) {
    const TempFolder folder;
    FaultyFileSystem fs(posix_file_system());
    ASSERT_TRUE(job.save(fs, folder.path(), 100));
    int calls = 0;
    FileCall last = FileCall::kOpen;
    fs.fault = [&](FileCall call, const std::string&) {
      if (call == FileCall::kRemove) return 0;  // of the clean-up; has a test of its own
      if (++calls != n) return 0;
      last = call;
      return -EIO;
    };
    auto second = job.save(fs, folder.path(), 200);
    const bool hit = calls >= n;
    fs.fault = {};
    const LoadReport report = job.load(fs, folder.path());
    ASSERT_TRUE(report.loaded);
    EXPECT_TRUE(report.rejected.empty());
    EXPECT_EQ(report.loaded->checkpoint.manifest.step, second ? 200U : 100U) << "call " << n;
    (second ? successes : failures) += 1;
    if (!second) {
      EXPECT_EQ(second.error().code, Code::kIo) << second.error().message;
      EXPECT_EQ(names_in(checkpoint_root(folder.path())).size(), 1U) << "call " << n;
    } else if (hit && last != FileCall::kClose) {  // closing a synced folder cannot lose anything
      EXPECT_NE(second->warning, "") << "call " << n;
    }
    ASSERT_TRUE(job.save(fs, folder.path(), 300));
    if (!hit) break;
  }
  EXPECT_GT(failures, 25);
  EXPECT_GT(successes, 1);
}

TEST(CheckpointWriter, AFailedSyncIsFinalForItsFolder) {
  const TempFolder folder;
  const SmallJob job;
  FaultyFileSystem fs(posix_file_system());
  fs.fault = fail_nth(FileCall::kSync, kAdapterWeightsName.data(), 1, EIO);
  std::vector<std::string> folders;
  const auto inner = fs.fault;
  fs.fault = [&](FileCall call, const std::string& path) {
    if (call == FileCall::kMakeFolder) folders.push_back(path);
    return inner(call, path);
  };
  auto failed = job.save(fs, folder.path(), 100);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::kIo);
  EXPECT_FALSE(job.load(fs, folder.path()).loaded);
  ASSERT_TRUE(job.save(fs, folder.path(), 100));  // the device says OK now: a new folder
  ASSERT_TRUE(job.load(fs, folder.path()).loaded);
  ASSERT_EQ(folders.size(), 4U);
  EXPECT_NE(folders[1], folders[3]);
}

TEST(CheckpointWriter, AFullDiskIsNamedAndLeavesTheOldCheckpoint) {
  const SmallJob job;
  for (const FileCall call : {FileCall::kAllocate, FileCall::kWrite}) {
    const TempFolder folder;
    FaultyFileSystem fs(posix_file_system());
    ASSERT_TRUE(job.save(fs, folder.path(), 100));
    fs.fault = fail_nth(call, kOptimizerName.data(), 1, ENOSPC);
    auto failed = job.save(fs, folder.path(), 200);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Code::kNoSpace);
    EXPECT_EQ(names_in(checkpoint_root(folder.path())).size(), 1U);
    EXPECT_EQ(job.load(fs, folder.path()).loaded->checkpoint.manifest.step, 100U);
    ASSERT_TRUE(job.save(fs, folder.path(), 200));
  }
}

TEST(CheckpointWriter, AReadOnlyDiskIsAnErrorAndNotACrash) {
  const TempFolder folder;
  const SmallJob job;
  FaultyFileSystem fs(posix_file_system());
  ASSERT_TRUE(job.save(fs, folder.path(), 100));
  fs.fault = [](FileCall call, const std::string&) {
    return call == FileCall::kRead || call == FileCall::kList || call == FileCall::kOpen ||
                   call == FileCall::kClose
               ? 0
               : -EROFS;
  };
  EXPECT_EQ(job.save(fs, folder.path(), 200).error().code, Code::kIo);
  EXPECT_TRUE(job.load(fs, folder.path()).loaded);
}

TEST(CheckpointWriter, ShortWritesAndSignalsChangeNothing) {
  const TempFolder folder;
  const SmallJob job;
  FaultyFileSystem fs(posix_file_system());
  fs.max_transfer = 7;
  int calls = 0;
  fs.fault = [&](FileCall call, const std::string&) {
    const bool retried = call == FileCall::kWrite || call == FileCall::kRead ||
                         call == FileCall::kSync || call == FileCall::kOpen ||
                         call == FileCall::kAllocate;
    return retried && calls++ % 3 == 0 ? -EINTR : 0;
  };
  ASSERT_TRUE(job.save(fs, folder.path(), 100));
  EXPECT_TRUE(job.load(fs, folder.path()).loaded);
}

TEST(CheckpointWriter, WhatAFailedCleanUpLeavesIsRemovedAtTheStart) {
  const TempFolder folder;
  const SmallJob job;
  FaultyFileSystem fs(posix_file_system());
  fs.fault = [](FileCall call, const std::string& path) {
    const bool syncs_weights =
        call == FileCall::kSync && path.find(kAdapterWeightsName) != std::string::npos;
    return syncs_weights || call == FileCall::kRemove ? -EIO : 0;
  };
  ASSERT_FALSE(job.save(fs, folder.path(), 100));
  EXPECT_EQ(names_in(checkpoint_root(folder.path())).size(), 1U);
  EXPECT_TRUE(job.load(fs, folder.path()).rejected.empty());
  fs.fault = {};
  EXPECT_EQ(remove_leftovers(fs, folder.path())->size(), 1U);
  EXPECT_TRUE(names_in(checkpoint_root(folder.path())).empty());
}

TEST(CheckpointWriter, PastItsDeadlineItGivesUpCleanly) {
  const SmallJob job;
  std::vector<std::string> points;
  {
    const TempFolder folder;
    WriteOptions options;
    options.at_point = [&](std::string_view p) { points.emplace_back(p); };
    ASSERT_TRUE(job.save(posix_file_system(), folder.path(), 100, options));
  }
  int gave_up = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const TempFolder folder;
    std::stop_source stop;
    std::size_t seen = 0;
    WriteOptions options;
    options.stop = stop.get_token();
    options.at_point = [&](std::string_view) {
      if (seen++ == i) stop.request_stop();
    };
    auto saved = job.save(posix_file_system(), folder.path(), 100, options);
    const LoadReport report = job.load(posix_file_system(), folder.path());
    EXPECT_EQ(saved.has_value(), report.loaded.has_value()) << points[i];
    if (saved) continue;
    ++gave_up;
    EXPECT_EQ(saved.error().code, Code::kUnavailable);
    EXPECT_TRUE(names_in(checkpoint_root(folder.path())).empty()) << points[i];
  }
  EXPECT_GT(gave_up, 10);
  const TempFolder folder;
  WriteOptions late;
  late.deadline = steady_clock::now() - std::chrono::seconds(1);
  EXPECT_EQ(job.save(posix_file_system(), folder.path(), 100, late).error().code,
            Code::kUnavailable);
}

TEST(CheckpointWriter, ADamagedCheckpointOfTheSameStepIsReplaced) {
  const TempFolder folder;
  const SmallJob job;
  FileSystem& fs = posix_file_system();
  ASSERT_TRUE(job.save(fs, folder.path(), 100));
  ASSERT_TRUE(job.save(fs, folder.path(), 200));
  write_whole(step_path(folder.path(), 200) + "/trainer_state.json", "damaged");
  EXPECT_EQ(job.load(fs, folder.path()).loaded->checkpoint.manifest.step, 100U);
  ASSERT_TRUE(job.save(fs, folder.path(), 200));
  EXPECT_EQ(job.load(fs, folder.path()).loaded->checkpoint.manifest.step, 200U);
  EXPECT_EQ(names_in(checkpoint_root(folder.path())).size(), 2U);
}

TEST(CheckpointWriter, AnOldEpochCannotReplaceANewOne) {
  const TempFolder folder;
  const SmallJob job;
  FileSystem& fs = posix_file_system();
  const Arenas arenas = job.arenas_at(100);
  CheckpointContent content = job.content(100, arenas);
  content.header.epoch = 8;
  ASSERT_TRUE(write_checkpoint(fs, folder.path(), content));
  content.header.epoch = 7;
  auto zombie = write_checkpoint(fs, folder.path(), content);
  ASSERT_FALSE(zombie);
  EXPECT_EQ(zombie.error().code, Code::kFailedPrecondition);
  EXPECT_EQ(job.load(fs, folder.path()).loaded->checkpoint.manifest.header.epoch, 8U);
  content.header.epoch = 9;
  ASSERT_TRUE(write_checkpoint(fs, folder.path(), content));
}

TEST(CheckpointWriter, TroubleWithTheJournalDoesNotUndoACommit) {
  const TempFolder folder;
  const SmallJob job;
  FaultyFileSystem fs(posix_file_system());
  fs.fault = [](FileCall call, const std::string& path) {
    return call == FileCall::kOpen && path.ends_with(kJournalName) ? -EACCES : 0;
  };
  auto saved = job.save(fs, folder.path(), 100);
  ASSERT_TRUE(saved);
  EXPECT_NE(saved->warning.find("journal.jsonl"), std::string::npos);
  EXPECT_TRUE(job.load(fs, folder.path()).loaded);
}

}  // namespace
}  // namespace ratchet::trainer
