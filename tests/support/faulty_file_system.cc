#include "tests/support/faulty_file_system.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>

namespace ratchet::trainer {

std::string FaultyFileSystem::path_of(int fd) {
  const std::lock_guard lock(mu_);
  return paths_[fd];
}

int FaultyFileSystem::open(const std::string& path, Open mode) {
  if (const int rc = ask(FileCall::kOpen, path); rc != 0) return rc;
  const int fd = inner_.open(path, mode);
  if (fd >= 0) {
    const std::lock_guard lock(mu_);
    paths_[fd] = path;
  }
  return fd;
}

int FaultyFileSystem::close(int fd) {
  const int rc = ask(FileCall::kClose, path_of(fd));
  const int closed = inner_.close(fd);
  return rc != 0 ? rc : closed;
}

int FaultyFileSystem::allocate(int fd, std::uint64_t bytes) {
  const int rc = ask(FileCall::kAllocate, path_of(fd));
  return rc != 0 ? rc : inner_.allocate(fd, bytes);
}

std::int64_t FaultyFileSystem::write_at(int fd, const void* data, std::size_t bytes,
                                        std::uint64_t offset) {
  if (const int rc = ask(FileCall::kWrite, path_of(fd)); rc != 0) return rc;
  if (max_transfer != 0) bytes = std::min(bytes, max_transfer);
  return inner_.write_at(fd, data, bytes, offset);
}

std::int64_t FaultyFileSystem::read_at(int fd, void* data, std::size_t bytes,
                                       std::uint64_t offset) {
  if (const int rc = ask(FileCall::kRead, path_of(fd)); rc != 0) return rc;
  if (max_transfer != 0) bytes = std::min(bytes, max_transfer);
  return inner_.read_at(fd, data, bytes, offset);
}

int FaultyFileSystem::sync(int fd) {
  const int rc = ask(FileCall::kSync, path_of(fd));
  return rc != 0 ? rc : inner_.sync(fd);
}

int FaultyFileSystem::rename(const std::string& from, const std::string& to, Rename how) {
  const int rc = ask(FileCall::kRename, from);
  return rc != 0 ? rc : inner_.rename(from, to, how);
}

int FaultyFileSystem::make_folder(const std::string& path) {
  const int rc = ask(FileCall::kMakeFolder, path);
  return rc != 0 ? rc : inner_.make_folder(path);
}

int FaultyFileSystem::remove(const std::string& path, Kind kind) {
  const int rc = ask(FileCall::kRemove, path);
  return rc != 0 ? rc : inner_.remove(path, kind);
}

int FaultyFileSystem::list(const std::string& path, std::vector<Entry>& entries) {
  const int rc = ask(FileCall::kList, path);
  return rc != 0 ? rc : inner_.list(path, entries);
}

std::function<int(FileCall, const std::string&)> fail_nth(FileCall call, std::string part, int nth,
                                                          int error) {
  auto left = std::make_shared<std::atomic<int>>(nth);
  return [=, part = std::move(part)](FileCall made, const std::string& path) {
    if (made != call || path.find(part) == std::string::npos) return 0;
    return left->fetch_sub(1) == 1 ? -error : 0;
  };
}

}  // namespace ratchet::trainer
