#include "trainer/model/digest.h"

#include <gtest/gtest.h>

#include "tests/model/fixtures.h"
#include "tests/support/files.h"

namespace ratchet::trainer {
namespace {

using ratchet::testing::expect_error;
using ratchet::testing::write_bytes;

// NIST FIPS 180-4 examples.
TEST(Digest, Sha256OfPublishedMessages) {
  EXPECT_EQ(to_hex(sha256(std::string_view(""))),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(to_hex(sha256(std::string_view("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

// The digests of the empty input are published in the xxHash test vectors.
TEST(Digest, Xxh3OfTheEmptyInput) {
  EXPECT_EQ(to_hex(xxh3_128({})), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(xxh3_64({}), 0x2d06800538d394c2ULL);
}

TEST(Digest, PiecesGiveTheDigestOfTheWholeAndFinishStartsAnew) {
  const std::string text(10'000, 'x');
  Sha256 sha;
  Xxh3 xxh;
  for (int round = 0; round < 2; ++round) {
    for (std::size_t at = 0; at < text.size(); at += 37) {
      const std::string_view piece = std::string_view(text).substr(at, 37);
      sha.update(piece);
      xxh.update(std::as_bytes(std::span(piece.data(), piece.size())));
    }
    EXPECT_EQ(sha.finish(), sha256(std::string_view(text)));
    EXPECT_EQ(xxh.finish(), xxh3_128(std::as_bytes(std::span(text))));
  }
}

TEST(Digest, HexRoundTripsAndRefusesOtherText) {
  EXPECT_EQ(from_hex("00fFa1"), std::string("\x00\xff\xa1", 3));
  EXPECT_FALSE(from_hex("0").has_value());
  EXPECT_FALSE(from_hex("0g").has_value());
}

TEST(Digest, FileDigestReportsProgressAndCanBeStopped) {
  const ratchet::testing::TempFolder folder;
  const std::string text(9'000'000, 'q');
  write_bytes(folder.path() / "f", text);
  std::uint64_t last = 0;
  const Result<FileDigest> digest =
      digest_file(folder.path() / "f", [&](std::uint64_t done, std::uint64_t total) {
        EXPECT_GT(done, last);
        EXPECT_EQ(total, text.size());
        last = done;
        return true;
      });
  ASSERT_TRUE(digest.has_value());
  EXPECT_EQ(last, text.size());
  EXPECT_EQ(digest->bytes, text.size());
  EXPECT_EQ(digest->sha256, to_hex(sha256(std::string_view(text))));
  EXPECT_EQ(digest->xxh3_128, to_hex(xxh3_128(std::as_bytes(std::span(text)))));
  expect_error(digest_file(folder.path() / "f", [](auto, auto) { return false; }),
               Code::kFailedPrecondition, "stopped");
  expect_error(digest_file(folder.path() / "absent"), Code::kNotFound, "absent");
  expect_error(digest_file(folder.path()), Code::kInvalidArgument, "not a regular file");
}

}  // namespace
}  // namespace ratchet::trainer
