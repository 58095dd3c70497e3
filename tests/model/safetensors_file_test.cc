#include "trainer/model/safetensors_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/model/fixtures.h"
#include "tests/support/files.h"

namespace ratchet::trainer {
namespace {

using ratchet::testing::expect_error;
using ratchet::testing::is_ok;
using ratchet::testing::read_bytes;
using ratchet::testing::safetensors_bytes;
using ratchet::testing::TempFolder;
using ratchet::testing::write_bytes;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Two tensors, "abcd" and "efghijkl", written in pieces and out of order.
void write_sample(const std::filesystem::path& path) {
  auto writer = SafetensorsWriter::create(path, {{"u", DType::kU8, {4}}, {"v", DType::kF64, {1}}});
  ASSERT_TRUE(is_ok(writer));
  const StoredTensor& u = *writer->header().find("u");
  const StoredTensor& v = *writer->header().find("v");
  EXPECT_TRUE(is_ok(writer->write_range(v, 4, bytes_of("ijkl"))));
  EXPECT_TRUE(is_ok(writer->write(u, bytes_of("abcd"))));
  EXPECT_TRUE(is_ok(writer->write_range(v, 0, bytes_of("efgh"))));
  EXPECT_FALSE(std::filesystem::exists(path)) << "the name must appear with finish() only";
  EXPECT_TRUE(is_ok(writer->finish()));
}

TEST(SafetensorsFile, WhatIsWrittenIsRead) {
  const TempFolder folder;
  const auto path = folder.path() / "x.safetensors";
  write_sample(path);
  EXPECT_FALSE(std::filesystem::exists(path.string() + ".part"));
  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(is_ok(file));
  const StoredTensor& v = *file->header().find("v");
  std::vector<std::byte> whole(8);
  ASSERT_TRUE(is_ok(file->read(v, whole)));
  EXPECT_EQ(text_of(whole), "efghijkl");
  std::vector<std::byte> part(3);
  ASSERT_TRUE(is_ok(file->read_range(v, 2, part)));
  EXPECT_EQ(text_of(part), "ghi");
  const auto mapped = MappedSafetensors::map(*file);
  ASSERT_TRUE(is_ok(mapped));
  EXPECT_EQ(text_of(mapped->bytes(*file->header().find("u"))), "abcd");
}

TEST(SafetensorsFile, RangesOutsideATensorAreRefused) {
  const TempFolder folder;
  const auto path = folder.path() / "x.safetensors";
  write_sample(path);
  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(is_ok(file));
  const StoredTensor& u = *file->header().find("u");
  std::vector<std::byte> five(5);
  std::vector<std::byte> two(2);
  expect_error(file->read(u, five), Code::kInternal, "has 4");
  expect_error(file->read_range(u, 3, two), Code::kInternal, "has 4");
  expect_error(file->read_range(u, ~std::uint64_t{0}, two), Code::kInternal, "has 4");
}

TEST(SafetensorsFile, UnfinishedFileLeavesNothing) {
  const TempFolder folder;
  {
    auto writer =
        SafetensorsWriter::create(folder.path() / "x.safetensors", {{"u", DType::kU8, {4}}});
    ASSERT_TRUE(is_ok(writer));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(SafetensorsFile, ErrorsNameTheFile) {
  const TempFolder folder;
  const auto path = folder.path() / "x.safetensors";
  expect_error(SafetensorsFile::open(path), Code::kNotFound, "x.safetensors");
  write_bytes(path, "");
  expect_error(SafetensorsFile::open(path), Code::kCorrupt, "x.safetensors': HeaderTooSmall");
  write_bytes(path, "abc");
  expect_error(SafetensorsFile::open(path), Code::kCorrupt, "HeaderTooSmall");
  write_bytes(path, safetensors_bytes("{\"a\":1}", ""));
  expect_error(SafetensorsFile::open(path), Code::kCorrupt, "x.safetensors': InvalidHeader");
  expect_error(SafetensorsFile::open(folder.path()), Code::kInvalidArgument, "not a regular file");
}

TEST(SafetensorsFile, AFifoInAFilesPlaceDoesNotHang) {
  const TempFolder folder;
  const auto path = folder.path() / "x.safetensors";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  expect_error(SafetensorsFile::open(path), Code::kInvalidArgument, "not a regular file");
}

TEST(SafetensorsFile, TruncationAfterOpeningIsAnErrorNotACrash) {
  const TempFolder folder;
  const auto path = folder.path() / "x.safetensors";
  write_sample(path);
  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(is_ok(file));
  std::filesystem::resize_file(path, file->header().file_bytes - 2);
  std::vector<std::byte> four(4);
  expect_error(file->read(*file->header().find("u"), four), Code::kCorrupt, "was cut while in use");
  expect_error(MappedSafetensors::map(*file), Code::kCorrupt, "when it was opened");
}

TEST(SafetensorsWriter, AFolderThatIsNotThereIsAnError) {
  const TempFolder folder;
  expect_error(SafetensorsWriter::create(folder.path() / "no" / "x", {{"u", DType::kU8, {4}}}),
               Code::kNotFound, "create");
}

}  // namespace
}  // namespace ratchet::trainer
