#pragma once

// The file system as checkpoints use it: a seam of ten calls, and what is built on them.
//
// FileSystem is one system call a method, so that a fake can shorten a write, fail a call with an
// errno, stop the process at a point, or forget what was not synced. Handling of EINTR, of short
// reads and writes and of errno is in the free functions below, which all other code uses.
// Implementations are thread-safe for different descriptors; a descriptor has one user at a time.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"

namespace ratchet::trainer {

class FileSystem {
 public:
  enum class Open {
    kRead,       // an existing regular file; a symbolic link is refused
    kCreateNew,  // a new file for writing; fails with EEXIST
    kAppend,     // made when absent; every write goes to the end, whatever its offset
    kFolder,     // an existing folder, only for sync()
  };
  enum class Kind { kFile, kFolder, kOther };
  enum class Rename {
    kReplace,    // an existing target file is replaced
    kNoReplace,  // fails with EEXIST when the target exists
    kExchange,   // both exist and swap their names
  };
  struct Entry {
    std::string name;
    Kind kind = Kind::kOther;
    std::uint64_t bytes = 0;
  };

  virtual ~FileSystem() = default;

  // Each returns -errno on failure; open() a descriptor, read_at() and write_at() the bytes moved
  // (read_at: 0 at the end of the file), the others 0.
  virtual int open(const std::string& path, Open mode) = 0;
  virtual int close(int fd) = 0;
  virtual int allocate(int fd, std::uint64_t bytes) = 0;
  virtual std::int64_t write_at(int fd, const void* data, std::size_t bytes,
                                std::uint64_t offset) = 0;
  virtual std::int64_t read_at(int fd, void* data, std::size_t bytes, std::uint64_t offset) = 0;
  virtual int sync(int fd) = 0;  // fdatasync of a file, fsync of a folder
  virtual int rename(const std::string& from, const std::string& to, Rename how) = 0;
  virtual int make_folder(const std::string& path) = 0;
  virtual int remove(const std::string& path, Kind kind) = 0;
  virtual int list(const std::string& path, std::vector<Entry>& entries) = 0;  // without . and ..
};

// The operating system's. One instance for the process, without state.
FileSystem& posix_file_system();

// "<what> '<path>': <text of errno>." with the code that fits: ENOSPC and EDQUOT kNoSpace, ENOENT
// kNotFound, EEXIST and ENOTEMPTY kAlreadyExists, all others kIo. `error` is positive.
Error file_error(std::string_view what, std::string_view path, int error);

// An open descriptor; closed when it goes. Movable.
class File {
 public:
  File() = default;
  File(FileSystem& fs, std::string path, int fd) : fs_(&fs), path_(std::move(path)), fd_(fd) {}
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File();

  [[nodiscard]] const std::string& path() const { return path_; }

  // Reserves the whole file so that a full disk shows before the copy. A file system that cannot
  // reserve is no error.
  Status allocate(std::uint64_t bytes);
  Status write_all(std::span<const std::byte> data, std::uint64_t offset);
  // Fills `data` or fails: kCorrupt when the file ends first.
  Status read_exact(std::span<std::byte> data, std::uint64_t offset);
  // Up to data.size() bytes; fewer only at the end of the file.
  Result<std::size_t> read_some(std::span<std::byte> data, std::uint64_t offset);
  // A failure is final: the kernel may have dropped the dirty pages, so a second sync that succeeds
  // means nothing. The caller abandons the file.
  Status sync();
  Status close();

 private:
  FileSystem* fs_ = nullptr;
  std::string path_;
  int fd_ = -1;
};

Result<File> open_file(FileSystem& fs, const std::string& path, FileSystem::Open mode);
Status sync_folder(FileSystem& fs, const std::string& path);
Status make_folder(FileSystem& fs, const std::string& path);  // an existing folder is fine
Status rename_path(FileSystem& fs, const std::string& from, const std::string& to,
                   FileSystem::Rename how);
Result<std::vector<FileSystem::Entry>> list_folder(FileSystem& fs, const std::string& path);
// A folder and what is in it, at most eight levels deep; nothing there is fine.
Status remove_tree(FileSystem& fs, const std::string& path);
// kCorrupt when the file is longer than `max_bytes`.
Result<std::string> read_text(FileSystem& fs, const std::string& path, std::uint64_t max_bytes);
// Writes `path`.new and renames it; no sync: for hints only.
Status write_hint(FileSystem& fs, const std::string& path, std::string_view text);

enum class Sync { kNo, kYes };
// Appends `line` and a newline. A torn last line, left by a crash, is ended first.
Status append_line(FileSystem& fs, const std::string& path, std::string_view line, Sync sync);

}  // namespace ratchet::trainer
