#include "trainer/telemetry/tensorboard_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <bit>
#include <cmath>
#include <csignal>
#include <cstring>

#include "tests/support/files.h"
#include "tests/support/shared_inputs.h"

namespace ratchet::trainer {
namespace {

using testing::read_file;
using testing::TempFolder;

double double_at(const std::string& bytes, std::size_t offset) {
  double value = 0;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

TEST(TensorBoard, Crc32cHasItsCheckValue) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(crc32c(""), 0U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);  // RFC 3720 B.4
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43U);
  // The length field 24: formats.md 6.4.
  EXPECT_EQ(masked_crc32c(std::string("\x18\0\0\0\0\0\0\0", 8)), 0x224B7FA3U);
}

// The sample holds the version and four scalars; the times and values are read from the sample, the
// bytes around them are ours.
TEST(TensorBoard, RecordsEqualTheSampleByteForByte) {
  const auto path = testing::shared_inputs() / "configs/tensorboard_sample.tfevents";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "shared inputs absent";
  const std::string sample = read_file(path);
  ASSERT_EQ(sample.size(), 233U);
  // Offsets of the wall times: each record has 12 bytes before its data, then the tag byte 0x09.
  const std::string ours =
      tensorboard_version_record(double_at(sample, 0x0D)) +
      tensorboard_scalar_record(double_at(sample, 0x35), 1, "train/loss", 2.5F) +
      tensorboard_scalar_record(double_at(sample, 0x65), 2, "train/loss", 2.25F) +
      tensorboard_scalar_record(double_at(sample, 0x95), 300, "train/loss", 1.125F) +
      tensorboard_scalar_record(double_at(sample, 0xC6), 300, "eval/loss",
                                std::bit_cast<float>(0x3FA5FD8BU));
  EXPECT_EQ(ours, sample);
}

TEST(TensorBoard, StepsOfEverySizeAreVarints) {
  const std::string small = tensorboard_scalar_record(0, 127, "t", 0);
  EXPECT_EQ(tensorboard_scalar_record(0, 128, "t", 0).size(), small.size() + 1);
  EXPECT_EQ(tensorboard_scalar_record(0, std::int64_t{1} << 62, "t", 0).size(), small.size() + 8);
}

TEST(TensorBoard, FileHoldsTheRecordsInOrder) {
  const TempFolder folder;
  TensorBoardWriter::Options options{
      .folder = folder.path().string(), .first_step = 1, .clock = [] { return 1763722800.5; }};
  auto writer = TensorBoardWriter::create(options);
  ASSERT_TRUE(writer) << writer.error().message;
  const std::string path = (*writer)->path();
  EXPECT_EQ(path.find(folder.file("events.out.tfevents.1763722800.")), 0U) << path;
  ASSERT_TRUE((*writer)->add_scalar("train/loss", 1, 2.5));
  ASSERT_TRUE((*writer)->add_scalar("train/loss", 2, std::nan("")));
  const auto second = TensorBoardWriter::create(options);  // same second, same process
  ASSERT_TRUE(second);
  EXPECT_NE((*second)->path(), path);
  ASSERT_TRUE((*writer)->flush());
  EXPECT_EQ(read_file(path), tensorboard_version_record(1763722800.5) +
                                 tensorboard_scalar_record(1763722800.5, 1, "train/loss", 2.5F) +
                                 tensorboard_scalar_record(1763722800.5, 2, "train/loss",
                                                           static_cast<float>(std::nan(""))));
}

TEST(TensorBoard, DestructionFlushesAndAResumeStartsASession) {
  const TempFolder folder;
  std::string path;
  {
    auto writer = TensorBoardWriter::create(
        {.folder = folder.path().string(), .first_step = 101, .clock = [] { return 5.0; }});
    ASSERT_TRUE(writer);
    path = (*writer)->path();
    ASSERT_TRUE((*writer)->add_scalar("train/loss", 101, 1.5));
  }
  EXPECT_EQ(read_file(path), tensorboard_version_record(5) +
                                 tensorboard_session_start_record(5, 101) +
                                 tensorboard_scalar_record(5, 101, "train/loss", 1.5F));
}

TEST(TensorBoard, AFolderThatIsNotThereIsAnError) {
  const auto writer =
      TensorBoardWriter::create({.folder = "/no/such/folder", .first_step = 1, .clock = {}});
  ASSERT_FALSE(writer);
  EXPECT_EQ(writer.error().code, Code::kIo);
}

// Goal: a full disk ends the file at a whole record or a torn tail, never with a hole in the
// middle. Method: a file size limit of the process stands in for the disk.
TEST(TensorBoard, AFailedWriteClosesTheFile) {
  const TempFolder folder;
  auto writer =
      TensorBoardWriter::create({.folder = folder.path().string(), .first_step = 1, .clock = {}});
  ASSERT_TRUE(writer);
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit tight{.rlim_cur = 100, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE((*writer)->add_scalar("t", i, 0));
  const Status failed = (*writer)->flush();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::kIo);
  const auto size = std::filesystem::file_size((*writer)->path());
  EXPECT_LE(size, 100U);
  const Status after = (*writer)->add_scalar("t", 9, 0);
  ASSERT_FALSE(after);
  EXPECT_EQ(after.error().message, failed.error().message);
  EXPECT_EQ(std::filesystem::file_size((*writer)->path()), size);
}

}  // namespace
}  // namespace ratchet::trainer
