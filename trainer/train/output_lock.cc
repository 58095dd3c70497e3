#include "trainer/train/output_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

namespace ratchet::trainer {
namespace {

std::string owner_text(int fd) {
  std::array<char, 64> text{};
  const ssize_t got = ::pread(fd, text.data(), text.size() - 1, 0);
  return got > 0 ? std::string(text.data(), static_cast<size_t>(got)) : "an unknown process";
}

}  // namespace

Result<OutputLock> OutputLock::acquire(const std::filesystem::path& dir) {
  std::error_code made;
  std::filesystem::create_directories(dir, made);
  if (made) {
    return Error{Code::kIo, "Cannot create the output folder '" + dir.string() +
                                "': " + made.message() + ". Name a writable one with --out."};
  }
  const std::filesystem::path path = dir / ".lock";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) {
    return Error{Code::kIo, "Cannot open '" + path.string() + "': " + std::strerror(errno) +
                                ". Name a writable output folder with --out."};
  }
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    Error error{Code::kFailedPrecondition,
                "The output folder '" + dir.string() + "' is in use by " + owner_text(fd) +
                    ". Wait for it, stop it (kill -TERM saves its state), or choose another "
                    "folder with --out."};
    ::close(fd);
    return error;
  }
  const std::string text = "pid " + std::to_string(::getpid());
  if (::ftruncate(fd, 0) != 0 ||
      ::pwrite(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    Error error{Code::kIo, "Cannot write '" + path.string() + "': " + std::strerror(errno) + "."};
    ::close(fd);
    return error;
  }
  return OutputLock(fd);
}

OutputLock& OutputLock::operator=(OutputLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

OutputLock::~OutputLock() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

}  // namespace ratchet::trainer
