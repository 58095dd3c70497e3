#include "trainer/checkpoint/witness.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/checkpoint/small_job.h"

namespace ratchet::trainer {
namespace {

class Witness : public testing::Test {
 protected:
  [[nodiscard]] WitnessRecord record(std::uint64_t step, double loss, double norm) const {
    return {300, step, loss, norm, env_};
  }
  std::vector<WitnessRecord> read(std::uint64_t step, const std::string& env) {
    auto records = read_witness(fs_, folder_.path(), step, env);
    EXPECT_TRUE(records);
    return *records;
  }

  FileSystem& fs_ = posix_file_system();
  TempFolder folder_;
  std::string env_ = env_digest(SmallJob().header().env);
};

TEST_F(Witness, RecordsOfTheCheckpointAndMachineAreFound) {
  EXPECT_TRUE(read(300, env_).empty());
  ASSERT_TRUE(append_witness(fs_, folder_.path(), record(301, 0.1 + 0.2, 1.0 / 3.0)));
  ASSERT_TRUE(append_witness(fs_, folder_.path(), record(302, 0.25, 0.5)));
  WitnessRecord other = record(301, 9, 9);
  other.checkpoint_step = 200;
  ASSERT_TRUE(append_witness(fs_, folder_.path(), other));
  EXPECT_EQ(read(300, env_), (std::vector<WitnessRecord>{record(301, 0.1 + 0.2, 1.0 / 3.0),
                                                         record(302, 0.25, 0.5)}));
  EnvFingerprint more_threads = SmallJob().header().env;
  more_threads.threads = 64;
  EXPECT_TRUE(read(300, env_digest(more_threads)).empty());
}

TEST_F(Witness, TheLatestRecordOfAStepCounts) {
  ASSERT_TRUE(append_witness(fs_, folder_.path(), record(301, 1, 1)));
  ASSERT_TRUE(append_witness(fs_, folder_.path(), record(301, 2, 2)));
  EXPECT_EQ(read(300, env_), (std::vector<WitnessRecord>{record(301, 2, 2)}));
}

TEST_F(Witness, LinesThatCannotBeReadAreSkipped) {
  ASSERT_TRUE(append_witness(fs_, folder_.path(), record(301, 1, 1)));
  const std::string path = folder_.path() + "/witness.jsonl";
  write_whole(path, "rubbish\n{}\n\n" + read_whole(path) + "{\"checkpoint_step\":300,\"st");
  ASSERT_TRUE(append_witness(fs_, folder_.path(), record(302, 2, 2)));
  EXPECT_EQ(read(300, env_).size(), 2U);
}

TEST_F(Witness, TheFirstDifferenceIsNamedWithItsCause) {
  const std::vector<WitnessRecord> recorded = {record(301, 1.5, 0.5), record(302, 1.25, 0.25)};
  EXPECT_FALSE(compare_witness(recorded, record(301, 1.5, 0.5)));
  EXPECT_FALSE(compare_witness(recorded, record(303, 9, 9)));
  const double ulp = std::nextafter(1.5, 2.0);
  auto mismatch = compare_witness(recorded, record(301, ulp, 0.5));
  ASSERT_TRUE(mismatch);
  EXPECT_EQ(mismatch->quantity, "loss");
  EXPECT_NE(mismatch->explanation.find("weights or data"), std::string::npos);
  mismatch = compare_witness(recorded, record(301, 1.5, -0.5));
  ASSERT_TRUE(mismatch);
  EXPECT_EQ(mismatch->quantity, "grad_norm");
  EXPECT_NE(mismatch->explanation.find("backward"), std::string::npos);
  mismatch = compare_witness(recorded, record(302, 1.25, 0.26));
  ASSERT_TRUE(mismatch);
  EXPECT_EQ(mismatch->step, 302U);
  EXPECT_NE(mismatch->explanation.find("optimizer"), std::string::npos);
}

TEST_F(Witness, BitsDecideAndNotValues) {
  EXPECT_TRUE(compare_witness({record(301, 0.0, 1)}, record(301, -0.0, 1)));
  EXPECT_FALSE(compare_witness({record(301, std::nan(""), 1)}, record(301, std::nan(""), 1)));
}

}  // namespace
}  // namespace ratchet::trainer
