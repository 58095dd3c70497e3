#include "controlplane/store/state_folder.h"

#include <fcntl.h>
#include <openssl/rand.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

namespace ratchet::control {

namespace {

namespace fs = std::filesystem;

Error io_error(const std::string& doing, const fs::path& path, int number) {
  const bool full = number == ENOSPC || number == EDQUOT || number == EFBIG;
  return Error{full ? Code::kNoSpace : Code::kIo,
               "Could not " + doing + " " + path.string() + ": " + std::strerror(number) + "."};
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

Status write_key(const fs::path& folder, const SecretBox::Key& key) {
  const fs::path path = folder / "store.key";
  const fs::path fresh = folder / "store.key.new";
  const Descriptor file{::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
  if (file.fd < 0) return io_error("make", fresh, errno);
  const auto written = ::write(file.fd, key.data(), key.size());
  if (written != static_cast<ssize_t>(key.size())) {
    return io_error("write", fresh, written < 0 ? errno : ENOSPC);
  }
  if (::fchmod(file.fd, 0600) != 0 || ::fsync(file.fd) != 0) return io_error("sync", fresh, errno);
  if (::rename(fresh.c_str(), path.c_str()) != 0) return io_error("name", path, errno);
  const Descriptor parent{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (parent.fd < 0 || ::fsync(parent.fd) != 0) return io_error("sync", folder, errno);
  return ok();
}

}  // namespace

Result<std::unique_ptr<FolderLock>> FolderLock::take(const fs::path& folder) {
  const fs::path path = folder / "control.lock";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return io_error("open", path, errno);
  std::unique_ptr<FolderLock> lock(new FolderLock(fd));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return io_error("lock", path, errno);
    std::array<char, 32> text{};
    const auto got = ::pread(fd, text.data(), text.size() - 1, 0);
    std::string owner(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
    while (!owner.empty() && owner.back() == '\n') owner.pop_back();
    return Error{Code::kFailedPrecondition,
                 "The state folder " + folder.string() + " belongs to another ratchet-control" +
                     (owner.empty() ? std::string() : " (pid " + owner + ")") +
                     ". Stop that one first, or use another folder."};
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd, 0) != 0 ||
      ::pwrite(fd, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return io_error("write", path, errno);
  }
  return lock;
}

FolderLock::~FolderLock() { ::close(fd_); }

Result<SecretBox::Key> folder_key(const fs::path& folder, bool may_make) {
  const fs::path path = folder / "store.key";
  SecretBox::Key key{};
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0 && errno == ENOENT) {
    if (!may_make) {
      return Error{Code::kCorrupt, "The key file " + path.string() +
                                       " is missing, and the database holds secrets that need it. "
                                       "Restore it from the backup of the same day."};
    }
    if (RAND_bytes(key.data(), static_cast<int>(key.size())) != 1) {
      return Error{Code::kInternal, "OpenSSL gave no random bytes."};
    }
    if (auto written = write_key(folder, key); !written) return written.error();
    return key;
  }
  if (file.fd < 0) return io_error("open", path, errno);
  struct stat facts{};
  if (::fstat(file.fd, &facts) != 0) return io_error("look at", path, errno);
  if ((facts.st_mode & 077) != 0) {
    return Error{Code::kFailedPrecondition, "Others may read the key file " + path.string() +
                                                ". Run: chmod 600 " + path.string()};
  }
  const auto got = ::read(file.fd, key.data(), key.size());
  if (facts.st_size != static_cast<off_t>(key.size()) || got != static_cast<ssize_t>(key.size())) {
    return Error{Code::kCorrupt, "The key file " + path.string() +
                                     " is damaged: it must hold 32 bytes. Restore it."};
  }
  return key;
}

}  // namespace ratchet::control
