#include "trainer/checkpoint/file_system.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "tests/checkpoint/small_job.h"
#include "tests/support/faulty_file_system.h"
#include "trainer/checkpoint/layout.h"

namespace ratchet::trainer {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

TEST(FileSystem, WritesAndReadsThroughShortTransfersAndSignals) {
  const TempFolder folder;
  FaultyFileSystem fs(posix_file_system());
  fs.max_transfer = 3;
  int calls = 0;
  fs.fault = [&](FileCall call, const std::string&) {
    const bool moves = call == FileCall::kWrite || call == FileCall::kRead ||
                       call == FileCall::kSync || call == FileCall::kAllocate;
    return moves && calls++ % 2 == 0 ? -EINTR : 0;
  };
  const std::string path = join_path(folder.path(), "file");
  auto file = open_file(fs, path, FileSystem::Open::kCreateNew);
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->allocate(10));
  ASSERT_TRUE(file->write_all(bytes_of("0123456789"), 0));
  ASSERT_TRUE(file->sync());
  ASSERT_TRUE(file->close());
  EXPECT_EQ(*read_text(fs, path, 100), "0123456789");
  EXPECT_GT(calls, 8);
}

TEST(FileSystem, AWriteThatMovesNothingIsAnError) {
  class Stuck final : public FileSystem {
   public:
    int open(const std::string&, Open) override { return 3; }
    int close(int) override { return 0; }
    int allocate(int, std::uint64_t) override { return 0; }
    std::int64_t write_at(int, const void*, std::size_t, std::uint64_t) override { return 0; }
    std::int64_t read_at(int, void*, std::size_t, std::uint64_t) override { return 0; }
    int sync(int) override { return 0; }
    int rename(const std::string&, const std::string&, Rename) override { return 0; }
    int make_folder(const std::string&) override { return 0; }
    int remove(const std::string&, Kind) override { return 0; }
    int list(const std::string&, std::vector<Entry>&) override { return 0; }
  } fs;
  auto file = open_file(fs, "x", FileSystem::Open::kCreateNew);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->write_all(bytes_of("a"), 0).error().code, Code::kIo);
}

TEST(FileSystem, ErrnoBecomesACodeAndASentence) {
  EXPECT_EQ(file_error("Could not write to", "/x", ENOSPC).code, Code::kNoSpace);
  EXPECT_EQ(file_error("Could not write to", "/x", EDQUOT).code, Code::kNoSpace);
  EXPECT_EQ(file_error("Could not open", "/x", ENOENT).code, Code::kNotFound);
  EXPECT_EQ(file_error("Could not rename", "/x", EEXIST).code, Code::kAlreadyExists);
  EXPECT_EQ(file_error("Could not write to", "/x", EROFS).code, Code::kIo);
  EXPECT_EQ(file_error("Could not write to", "/x", ENOSPC).message,
            "Could not write to '/x': No space left on device.");
}

TEST(FileSystem, RenameNeverReplacesUnlessToldTo) {
  const TempFolder folder;
  FileSystem& fs = posix_file_system();
  const std::string a = join_path(folder.path(), "a"), b = join_path(folder.path(), "b");
  write_whole(a, "a");
  write_whole(b, "b");
  const auto refused = rename_path(fs, a, b, FileSystem::Rename::kNoReplace);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kAlreadyExists);
  ASSERT_TRUE(rename_path(fs, a, b, FileSystem::Rename::kExchange));
  EXPECT_EQ(read_whole(a) + read_whole(b), "ba");
  ASSERT_TRUE(rename_path(fs, a, b, FileSystem::Rename::kReplace));
  EXPECT_EQ(read_whole(b), "b");
}

TEST(FileSystem, LinksAndFoldersAreNotReadAsFiles) {
  const TempFolder folder;
  FileSystem& fs = posix_file_system();
  const std::string target = join_path(folder.path(), "target");
  const std::string link = join_path(folder.path(), "link");
  write_whole(target, "x");
  ASSERT_EQ(symlink(target.c_str(), link.c_str()), 0);
  EXPECT_FALSE(read_text(fs, link, 10));
  EXPECT_FALSE(read_text(fs, folder.path(), 10));
  auto entries = list_folder(fs, folder.path());
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), 2U);
  EXPECT_EQ((*entries)[0].kind, FileSystem::Kind::kOther);
  EXPECT_EQ((*entries)[1].kind, FileSystem::Kind::kFile);
}

TEST(FileSystem, AnAppendedLineStartsAfterATornOne) {
  const TempFolder folder;
  FileSystem& fs = posix_file_system();
  const std::string path = join_path(folder.path(), "journal");
  ASSERT_TRUE(append_line(fs, path, "one", Sync::kYes));
  write_whole(path, read_whole(path) + "{\"tor");
  ASSERT_TRUE(append_line(fs, path, "two", Sync::kNo));
  EXPECT_EQ(read_whole(path), "one\n{\"tor\ntwo\n");
}

TEST(FileSystem, RemoveTreeTakesAllAndDoesNotFollowLinks) {
  const TempFolder folder;
  FileSystem& fs = posix_file_system();
  const std::string tree = join_path(folder.path(), "tree");
  const std::string kept = join_path(folder.path(), "kept");
  ASSERT_TRUE(make_folder(fs, tree));
  ASSERT_TRUE(make_folder(fs, join_path(tree, "inner")));
  ASSERT_TRUE(make_folder(fs, kept));
  write_whole(join_path(kept, "file"), "x");
  write_whole(join_path(tree, "inner/file"), "x");
  ASSERT_EQ(symlink(kept.c_str(), join_path(tree, "link").c_str()), 0);
  ASSERT_TRUE(remove_tree(fs, tree));
  EXPECT_EQ(list_folder(fs, folder.path())->size(), 1U);
  EXPECT_EQ(read_whole(join_path(kept, "file")), "x");
  EXPECT_TRUE(remove_tree(fs, tree));
}

TEST(FileSystem, TextLongerThanItsBoundIsRefused) {
  const TempFolder folder;
  const std::string path = join_path(folder.path(), "long");
  write_whole(path, std::string(200000, 'x'));
  EXPECT_EQ(read_text(posix_file_system(), path, 200000)->size(), 200000U);
  EXPECT_EQ(read_text(posix_file_system(), path, 199999).error().code, Code::kCorrupt);
}

TEST(Layout, StepNamesGoBothWays) {
  EXPECT_EQ(step_folder_name(300), "step-00000300");
  EXPECT_EQ(step_folder_name(1234567890), "step-1234567890");
  EXPECT_EQ(step_of_folder_name("step-00000300"), 300U);
  EXPECT_EQ(step_of_folder_name("step-1234567890"), 1234567890U);
  for (const char* name : {"step-300", "step-", "step-0000030x", "step-000000300", "STEP-00000300",
                           ".tmp-step-00000300.0.ab", "step-99999999999999999999"}) {
    EXPECT_FALSE(step_of_folder_name(name)) << name;
  }
}

}  // namespace
}  // namespace ratchet::trainer
