#pragma once

// A file system that fails on demand. All calls go to another one unless `fault` says otherwise.
// Thread-safe as far as `fault` is.

#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "trainer/checkpoint/file_system.h"

namespace ratchet::trainer {

enum class FileCall {
  kOpen,
  kClose,
  kAllocate,
  kWrite,
  kRead,
  kSync,
  kRename,
  kMakeFolder,
  kRemove,
  kList
};

class FaultyFileSystem final : public FileSystem {
 public:
  explicit FaultyFileSystem(FileSystem& inner) : inner_(inner) {}

  // Asked before each call, with the path of its file (rename: the old name). A result other than 0
  // is returned instead of making the call: -errno.
  std::function<int(FileCall call, const std::string& path)> fault;
  // Most bytes that one read or write moves; 0 is no limit.
  std::size_t max_transfer = 0;

  int open(const std::string& path, Open mode) override;
  int close(int fd) override;
  int allocate(int fd, std::uint64_t bytes) override;
  std::int64_t write_at(int fd, const void* data, std::size_t bytes, std::uint64_t offset) override;
  std::int64_t read_at(int fd, void* data, std::size_t bytes, std::uint64_t offset) override;
  int sync(int fd) override;
  int rename(const std::string& from, const std::string& to, Rename how) override;
  int make_folder(const std::string& path) override;
  int remove(const std::string& path, Kind kind) override;
  int list(const std::string& path, std::vector<Entry>& entries) override;

 private:
  int ask(FileCall call, const std::string& path) const { return fault ? fault(call, path) : 0; }
  std::string path_of(int fd);

  FileSystem& inner_;
  std::mutex mu_;
  std::map<int, std::string> paths_;  // guarded by mu_
};

// A fault that hits the n-th (from 1) of the given calls on paths that contain `part`, once.
std::function<int(FileCall, const std::string&)> fail_nth(FileCall call, std::string part, int nth,
                                                          int error);

}  // namespace ratchet::trainer
