#include "controlplane/cli/files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace ratchet::control::cli {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
 protected:
  Files() : folder_(fs::path(testing::TempDir()) / ("files-" + std::to_string(::getpid()))) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~Files() override { fs::remove_all(folder_); }
  void write(const std::string& name, const std::string& text) {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
  }
  fs::path folder_;
};

TEST_F(Files, AFolderIsItsVisibleFilesInOrderLinksFollowed) {
  write("model/b.safetensors", "bb");
  write("model/a.json", "a");
  write("model/sub/c.json", "ccc");
  write("model/.git/config", "hidden");
  write("model/.hidden", "hidden");
  write("elsewhere", "linked");
  fs::create_symlink(folder_ / "elsewhere", folder_ / "model/link.json");
  fs::create_symlink(folder_ / "nowhere", folder_ / "model/broken.json");
  const auto files = list_files((folder_ / "model").string());
  ASSERT_TRUE(files) << files.error().message;
  ASSERT_EQ(files->size(), 4U);
  EXPECT_EQ((*files)[0].inside, "a.json");
  EXPECT_EQ((*files)[1].inside, "b.safetensors");
  EXPECT_EQ((*files)[2].inside, "link.json");
  EXPECT_EQ((*files)[2].size, Bytes(6));
  EXPECT_EQ((*files)[3].inside, "sub/c.json");
}

TEST_F(Files, AFileIsItselfAndAbsenceIsNamed) {
  write("chats.jsonl", "{}");
  const auto files = list_files((folder_ / "chats.jsonl").string());
  ASSERT_TRUE(files);
  EXPECT_EQ(files->at(0).inside, "chats.jsonl");
  const auto absent = list_files((folder_ / "absent").string());
  EXPECT_EQ(absent.error().code, Code::kNotFound);
  fs::create_directories(folder_ / "empty");
  EXPECT_EQ(list_files((folder_ / "empty").string()).error().code, Code::kInvalidArgument);
}

TEST_F(Files, ALoopOfLinksEnds) {
  write("loop/a", "a");
  fs::create_directory_symlink(folder_ / "loop", folder_ / "loop/again");
  EXPECT_FALSE(list_files((folder_ / "loop").string()));
}

TEST_F(Files, DigestsAreSha256) {
  write("abc", "abc");
  std::int64_t seen = 0;
  const auto digest = hash_file((folder_ / "abc").string(), [&](std::int64_t bytes) {
    seen += bytes;
    return true;
  });
  // FIPS 180-2, appendix B.1.
  const std::string expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  EXPECT_EQ(*digest, expected);
  EXPECT_EQ(hash_text("abc"), expected);
  EXPECT_EQ(seen, 3);
  EXPECT_FALSE(hash_file((folder_ / "abc").string(), [](std::int64_t) { return false; }));
}

TEST_F(Files, APrivateFileReplacesTheOldOneWhole) {
  const std::string path = (folder_ / "secret").string();
  ASSERT_TRUE(write_private_file(path, "one"));
  ASSERT_TRUE(write_private_file(path, "two"));
  EXPECT_EQ(*read_small_file(path, 100), "two");
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
  EXPECT_FALSE(write_private_file((folder_ / "absent/secret").string(), "x"));
}

TEST(SafePath, OnlyWhatStaysBelowTheFolder) {
  for (const char* good : {"a", "a/b.json", "..a", "a..", "model-00001-of-00002.safetensors"}) {
    EXPECT_TRUE(is_safe_inside(good)) << good;
  }
  for (const char* bad : {"", "/a", "a/", "a//b", "..", "a/../b", "./a", "a/.", "a\nb"}) {
    EXPECT_FALSE(is_safe_inside(bad)) << bad;
  }
}

TEST(RandomKey, IsLongAndNew) {
  EXPECT_EQ(random_key().size(), 32U);
  EXPECT_NE(random_key(), random_key());
}

}  // namespace
}  // namespace ratchet::control::cli
