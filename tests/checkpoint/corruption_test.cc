// Damage of every kind on a real folder. Whatever is wrong with the newest checkpoint, it is
// rejected at the documented rung and the one before is loaded, bit for bit.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <random>

#include "tests/checkpoint/small_job.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/model/digest.h"
#include "trainer/model/safetensors.h"

namespace ratchet::trainer {
namespace {

constexpr std::string_view kFiles[] = {kAdapterConfigName, kAdapterWeightsName, kOptimizerName,
                                       kTrainerStateName};

class Corruption : public testing::Test {
 protected:
  Corruption() {
    EXPECT_TRUE(job_.save(fs_, folder_.path(), 100));
    EXPECT_TRUE(job_.save(fs_, folder_.path(), 200));
  }

  [[nodiscard]] std::string newest() const { return step_path(folder_.path(), 200); }
  [[nodiscard]] std::string file(std::string_view name) const { return join_path(newest(), name); }

  // The newest is rejected at `rung`, the older one loaded.
  void expect_fallback(std::string_view rung, std::string_view word = "") {
    const LoadReport report = job_.load(fs_, folder_.path());
    ASSERT_EQ(report.rejected.size(), 1U);
    EXPECT_EQ(report.rejected[0].rung, rung) << report.rejected[0].reason;
    EXPECT_EQ(report.rejected[0].path, newest());
    EXPECT_NE(report.rejected[0].reason.find(word), std::string::npos) << report.rejected[0].reason;
    ASSERT_TRUE(report.loaded);
    EXPECT_EQ(report.loaded->checkpoint.manifest.step, 100U);
  }

  // Verdict on the newest alone: faster, for loops over bytes.
  [[nodiscard]] std::string rung_of_newest() {
    const VerifyResult result = verify_checkpoint(fs_, newest(), job_.expectations());
    return result.checkpoint ? "valid" : result.rejected.rung;
  }

  void flip(const std::string& path, std::size_t byte, int bit) {
    std::string bytes = read_whole(path);
    bytes.at(byte) = static_cast<char>(bytes.at(byte) ^ (1 << bit));
    write_whole(path, bytes);
  }

  // Rewrites a safetensors file with another header text, data unchanged, and seals the folder.
  void edit_header(std::string_view name, std::string_view from, std::string_view to) {
    std::string bytes = read_whole(file(name));
    const std::size_t at = bytes.find(from);
    ASSERT_NE(at, std::string::npos);
    // The padding gives and takes what the edit needs, so that the data stays where it is.
    bytes.replace(at, from.size(), to);
    const std::size_t end = bytes.find_last_of('}', 4096);
    if (to.size() > from.size()) bytes.erase(end + 1, to.size() - from.size());
    if (to.size() < from.size()) bytes.insert(end + 1, from.size() - to.size(), ' ');
    write_whole(file(name), bytes);
    reseal(newest());
  }

  // Overwrites one float of a tensor file and seals the folder, so that only V4 can object.
  void set_float(std::string_view name, std::size_t offset_in_data, float value) {
    std::string bytes = read_whole(file(name));
    std::memcpy(bytes.data() + 4096 + offset_in_data, &value, sizeof value);
    write_whole(file(name), bytes);
    reseal(newest());
  }

  FileSystem& fs_ = posix_file_system();
  TempFolder folder_;
  SmallJob job_;
};

TEST_F(Corruption, UndamagedIsValid) { EXPECT_EQ(rung_of_newest(), "valid"); }

TEST_F(Corruption, EveryFlippedManifestByteIsV0) {
  const std::string good = read_whole(file(kManifestName));
  for (std::size_t i = 0; i < good.size(); ++i) {
    flip(file(kManifestName), i, static_cast<int>(i % 7));
    ASSERT_EQ(rung_of_newest(), "V0") << "byte " << i;
    write_whole(file(kManifestName), good);
  }
  flip(file(kManifestName), 100, 0);
  expect_fallback("V0");
}

TEST_F(Corruption, EveryFlippedHeaderByteOfTensorFilesIsV2) {
  for (const std::string_view name : {kAdapterWeightsName, kOptimizerName}) {
    const std::string good = read_whole(file(name));
    for (std::size_t i = 0; i < 600; ++i) {
      flip(file(name), i, static_cast<int>(i % 8));
      ASSERT_EQ(rung_of_newest(), "V2") << name << " byte " << i;
      write_whole(file(name), good);
    }
  }
}

TEST_F(Corruption, RandomFlippedBitsAreV2) {
  std::mt19937_64 random(7);
  for (const std::string_view name : kFiles) {
    const std::string good = read_whole(file(name));
    for (int i = 0; i < 100; ++i) {
      flip(file(name), random() % good.size(), static_cast<int>(random() % 8));
      ASSERT_EQ(rung_of_newest(), "V2") << name;
      write_whole(file(name), good);
    }
    flip(file(name), good.size() - 1, 3);
    expect_fallback("V2", "chunk 0");
    write_whole(file(name), good);
  }
}

// The same under seals that fit: a writer's fault. Nothing may crash, and what is accepted must be
// the layout's tensors with finite values.
TEST_F(Corruption, FlippedHeaderBitsUnderAFittingSealNeverPassAsTheJobs) {
  const std::string manifest = read_whole(file(kManifestName));
  for (const std::string_view name : {kAdapterWeightsName, kOptimizerName}) {
    const std::string good = read_whole(file(name));
    for (std::size_t i = 0; i < 600; ++i) {
      flip(file(name), i, static_cast<int>(i % 8));
      reseal(newest());
      const std::string rung = rung_of_newest();
      // Space is the one byte that means nothing, in __metadata__ no meaning is read.
      const bool harmless = std::string_view(good).substr(0, i).find("}}") != std::string::npos;
      const std::size_t metadata = good.find("__metadata__");
      const bool in_metadata = i >= metadata && i < metadata + 32;
      if (!harmless && !in_metadata) {
        ASSERT_EQ(rung, "V3") << name << " byte " << i;
      }
      write_whole(file(name), good);
      write_whole(file(kManifestName), manifest);
    }
  }
}

TEST_F(Corruption, AnyOtherSizeIsV1) {
  for (const std::string_view name : kFiles) {
    const std::string good = read_whole(file(name));
    for (std::size_t size = 0; size < good.size(); size += 512) {
      write_whole(file(name), std::string_view(good).substr(0, size));
      ASSERT_EQ(rung_of_newest(), "V1") << name << " " << size;
    }
    write_whole(file(name), good + "x");
    expect_fallback("V1", "bytes instead of");
    write_whole(file(name), good);
  }
}

TEST_F(Corruption, AMissingFileIsV1AndAMissingManifestV0) {
  for (const std::string_view name : kFiles) {
    const std::string good = read_whole(file(name));
    std::filesystem::remove(file(name));
    expect_fallback("V1", "is missing");
    write_whole(file(name), good);
  }
  std::filesystem::remove(file(kManifestName));
  expect_fallback("V0", "no MANIFEST.json");
}

TEST_F(Corruption, AnExtraFileFolderOrLinkIsV1) {
  write_whole(file("extra"), "");
  expect_fallback("V1", "'extra'");
  std::filesystem::remove(file("extra"));
  std::filesystem::create_directory(file("extra"));
  expect_fallback("V1", "'extra'");
  std::filesystem::remove(file("extra"));
  const std::string elsewhere = folder_.path() + "/elsewhere";
  std::filesystem::rename(file(kOptimizerName), elsewhere);
  ASSERT_EQ(symlink(elsewhere.c_str(), file(kOptimizerName).c_str()), 0);
  expect_fallback("V1", "not a regular file");
}

TEST_F(Corruption, FilesSwappedBetweenStepsAreV2) {
  for (const std::string_view name : {kAdapterWeightsName, kOptimizerName}) {
    const std::string mine = file(name);
    const std::string older = join_path(step_path(folder_.path(), 100), name);
    ASSERT_TRUE(rename_path(fs_, mine, older, FileSystem::Rename::kExchange));
    ASSERT_EQ(rung_of_newest(), "V2");
    ASSERT_TRUE(rename_path(fs_, mine, older, FileSystem::Rename::kExchange));
  }
  std::filesystem::copy_file(join_path(step_path(folder_.path(), 100), kManifestName),
                             file(kManifestName),
                             std::filesystem::copy_options::overwrite_existing);
  expect_fallback("V0", "step 100");
}

TEST_F(Corruption, AWholeFolderUnderAnotherStepsNameIsV0) {
  ASSERT_TRUE(
      rename_path(fs_, newest(), step_path(folder_.path(), 100), FileSystem::Rename::kExchange));
  const LoadReport report = job_.load(fs_, folder_.path());
  EXPECT_FALSE(report.loaded);
  EXPECT_EQ(report.rejected.size(), 2U);
}

TEST_F(Corruption, AManifestOtherThanTheRecordedOneIsV0) {
  Expectations expect = job_.expectations();
  expect.known_manifests[200] = std::string(64, '0');
  Arenas arenas(job_.layout());
  auto report = load_newest(fs_, folder_.path(), expect, arenas.targets());
  ASSERT_TRUE(report);
  ASSERT_EQ(report->rejected.size(), 1U);
  EXPECT_EQ(report->rejected[0].rung, "V0");
  EXPECT_EQ(report->loaded->checkpoint.manifest.step, 100U);
}

TEST_F(Corruption, HeadersThatBreakTheRulesAreV3) {
  const struct {
    std::string from, to, word;
  } cases[] = {
      {"\"dtype\":\"F32\"", "\"dtype\":\"I32\"", "not F32"},
      {"\"dtype\":\"F32\"", "\"dtype\":\"F64\"", ""},
      {"\"shape\":[2,5]", "\"shape\":[5,2]", "shape [5, 2]"},
      {"\"shape\":[2,5]", "\"shape\":[10]", "shape [10]"},
      {"\"shape\":[2,5]", "\"shape\":[2,6]", ""},
      {"\"shape\":[2,5]", "\"shape\":[18446744073709551615,5]", ""},
      {"\"data_offsets\":[0,40]", "\"data_offsets\":[4,40]", ""},
      {"\"data_offsets\":[0,40]", "\"data_offsets\":[0,44]", ""},
      {"v_proj.lora_A", "k_proj.lora_A", "v_proj.lora_A.weight' of the job is missing"},
      {"q_proj.lora_B", "q_proj.lora_A", ""},
  };
  const std::string weights = read_whole(file(kAdapterWeightsName));
  const std::string manifest = read_whole(file(kManifestName));
  for (const auto& c : cases) {
    SCOPED_TRACE(c.to);
    edit_header(kAdapterWeightsName, c.from, c.to);
    expect_fallback("V3", c.word);
    write_whole(file(kAdapterWeightsName), weights);
    write_whole(file(kManifestName), manifest);
  }
}

TEST_F(Corruption, AHeaderLengthBeyondAllBoundsIsV3) {
  std::string bytes = read_whole(file(kAdapterWeightsName));
  const std::uint64_t length = 100'000'001;
  std::memcpy(bytes.data(), &length, sizeof length);
  write_whole(file(kAdapterWeightsName), bytes);
  reseal(newest());
  expect_fallback("V3", "HeaderTooLarge");
}

TEST_F(Corruption, AnotherTensorsDigestIsV3) {
  reseal(newest(), [](Manifest& m) { m.tensors_digest = std::string(64, '0'); });
  expect_fallback("V3", "digest");
}

TEST_F(Corruption, AnExtraTensorIsV3) {
  // A job with one tensor less reads a checkpoint that has it.
  ArenaLayout fewer = job_.layout();
  fewer.tensors.pop_back();
  Expectations expect = job_.expectations();
  expect.layout = &fewer;
  const VerifyResult result = verify_checkpoint(fs_, newest(), expect);
  EXPECT_EQ(result.rejected.rung, "V3");
  EXPECT_NE(result.rejected.reason.find("3 tensors"), std::string::npos);
}

TEST_F(Corruption, ValuesThatNoTrainingStateHasAreV4) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const auto squares = static_cast<std::size_t>(8 + job_.layout().arena_size * 4);
  const struct {
    std::string_view name;
    std::size_t offset;
    float value;
    std::string_view word;
  } cases[] = {
      {kAdapterWeightsName, 0, nan, "lora_A.weight"},
      {kAdapterWeightsName, 44, -inf, "lora_B.weight"},
      {kOptimizerName, 8, inf, "adamw.exp_avg' holds"},
      {kOptimizerName, squares + 4, -1e-30F, "adamw.exp_avg_sq"},
      {kOptimizerName, squares, nan, "adamw.exp_avg_sq"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.word);
    const std::string good = read_whole(file(c.name));
    const std::string manifest = read_whole(file(kManifestName));
    set_float(c.name, c.offset, c.value);
    expect_fallback("V4", c.word);
    write_whole(file(c.name), good);
    write_whole(file(kManifestName), manifest);
  }
}

TEST_F(Corruption, NegativeZeroAndTheLargestFloatAreFine) {
  Arenas arenas = job_.arenas_at(300);
  arenas.exp_avg_sq[3] = -0.0F;
  arenas.params[0] = std::numeric_limits<float>::max();
  arenas.params[1] = std::numeric_limits<float>::denorm_min();
  ASSERT_TRUE(write_checkpoint(fs_, folder_.path(), job_.content(300, arenas)));
  Arenas loaded(job_.layout());
  auto report = load_newest(fs_, folder_.path(), job_.expectations(), loaded.targets());
  ASSERT_TRUE(report);
  ASSERT_TRUE(report->loaded);
  EXPECT_TRUE(std::signbit(loaded.exp_avg_sq[3]));
  EXPECT_EQ(loaded, arenas);
}

TEST_F(Corruption, CountersThatDisagreeAreV4) {
  const std::string good = read_whole(file(kTrainerStateName));
  const std::string manifest = read_whole(file(kManifestName));
  TrainerState state = job_.state_at(200);
  state.step = 201;
  write_whole(file(kTrainerStateName), encode_trainer_state(state));
  reseal(newest());
  expect_fallback("V4", "step in trainer_state.json");
  write_whole(file(kTrainerStateName), good);
  write_whole(file(kManifestName), manifest);
  reseal(newest(), [](Manifest& m) { m.tokens_seen += 1; });
  expect_fallback("V4", "tokens");
}

TEST_F(Corruption, AStateWithAKeyTwiceIsV4) {
  std::string text = read_whole(file(kTrainerStateName));
  text.insert(text.find("\"total_steps\""), "\"step\": 200, ");
  write_whole(file(kTrainerStateName), text);
  reseal(newest());
  expect_fallback("V4", "twice");
}

TEST_F(Corruption, AStepOfTheOptimizerThatDisagreesIsV4) {
  std::string bytes = read_whole(file(kOptimizerName));
  const std::int64_t step = 199;
  std::memcpy(bytes.data() + 4096, &step, sizeof step);
  write_whole(file(kOptimizerName), bytes);
  reseal(newest());
  expect_fallback("V4", "step in optimizer.safetensors");
}

TEST_F(Corruption, WithNothingValidTheTargetsStayUntouched) {
  write_whole(file(kTrainerStateName), "");
  write_whole(join_path(step_path(folder_.path(), 100), kManifestName), "{}");
  Arenas arenas(job_.layout());
  std::fill(arenas.params.begin(), arenas.params.end(), 5.0F);
  const Arenas before = arenas;
  auto report = load_newest(fs_, folder_.path(), job_.expectations(), arenas.targets());
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->loaded);
  EXPECT_EQ(report->rejected.size(), 2U);
  EXPECT_EQ(arenas, before);
}

}  // namespace
}  // namespace ratchet::trainer
