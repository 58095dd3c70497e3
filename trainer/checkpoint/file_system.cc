#include "trainer/checkpoint/file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "trainer/checkpoint/layout.h"

namespace ratchet::trainer {
namespace {

constexpr int kMaxTreeDepth = 8;
// One call never moves more than this: Linux stops at 2 GiB anyway, and a signal is seen sooner.
constexpr std::size_t kMaxTransfer = std::size_t{64} << 20;

class PosixFileSystem final : public FileSystem {
 public:
  int open(const std::string& path, Open mode) override {
    int flags = O_CLOEXEC;
    switch (mode) {
      case Open::kRead:
        flags |= O_RDONLY | O_NOFOLLOW;
        break;
      case Open::kCreateNew:
        flags |= O_WRONLY | O_CREAT | O_EXCL;
        break;
      case Open::kAppend:
        flags |= O_RDWR | O_CREAT | O_APPEND;
        break;
      case Open::kFolder:
        flags |= O_RDONLY | O_DIRECTORY;
        break;
    }
    const int fd = ::open(path.c_str(), flags, 0644);
    if (fd < 0) return -errno;
    if (mode == Open::kFolder) return fd;
    struct stat info{};
    if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) return fd;
    ::close(fd);
    return -EINVAL;
  }

  int close(int fd) override { return ::close(fd) == 0 ? 0 : -errno; }

  int allocate(int fd, std::uint64_t bytes) override {
    return ::fallocate(fd, 0, 0, static_cast<off_t>(bytes)) == 0 ? 0 : -errno;
  }

  std::int64_t write_at(int fd, const void* data, std::size_t bytes,
                        std::uint64_t offset) override {
    const ssize_t n = ::pwrite(fd, data, bytes, static_cast<off_t>(offset));
    return n >= 0 ? n : -errno;
  }

  std::int64_t read_at(int fd, void* data, std::size_t bytes, std::uint64_t offset) override {
    const ssize_t n = ::pread(fd, data, bytes, static_cast<off_t>(offset));
    return n >= 0 ? n : -errno;
  }

  int sync(int fd) override {
    struct stat info{};
    if (::fstat(fd, &info) != 0) return -errno;
    const int rc = S_ISDIR(info.st_mode) ? ::fsync(fd) : ::fdatasync(fd);
    return rc == 0 ? 0 : -errno;
  }

  int rename(const std::string& from, const std::string& to, Rename how) override {
    unsigned flags = 0;
    if (how == Rename::kNoReplace) flags = RENAME_NOREPLACE;
    if (how == Rename::kExchange) flags = RENAME_EXCHANGE;
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0) return 0;
    if (errno != EINVAL || how != Rename::kNoReplace) return -errno;
    // NFS has no such flag. The folder has one owner, so nobody makes `to` between these two.
    if (::faccessat(AT_FDCWD, to.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0) return -EEXIST;
    return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : -errno;
  }

  int make_folder(const std::string& path) override {
    return ::mkdir(path.c_str(), 0755) == 0 ? 0 : -errno;
  }

  int remove(const std::string& path, Kind kind) override {
    const int rc = kind == Kind::kFolder ? ::rmdir(path.c_str()) : ::unlink(path.c_str());
    return rc == 0 ? 0 : -errno;
  }

  int list(const std::string& path, std::vector<Entry>& entries) override {
    entries.clear();
    DIR* dir = ::opendir(path.c_str());
    if (dir == nullptr) return -errno;
    int error = 0;
    for (;;) {
      errno = 0;
      const dirent* item = ::readdir(dir);
      if (item == nullptr) {
        error = errno;
        break;
      }
      const std::string_view name = item->d_name;
      if (name == "." || name == "..") continue;
      struct stat info{};
      // An entry that has gone since is not listed.
      if (::fstatat(::dirfd(dir), item->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
      Kind kind = Kind::kOther;
      if (S_ISREG(info.st_mode)) kind = Kind::kFile;
      if (S_ISDIR(info.st_mode)) kind = Kind::kFolder;
      entries.push_back({std::string(name), kind, static_cast<std::uint64_t>(info.st_size)});
    }
    ::closedir(dir);
    return -error;
  }
};

// Repeats a call that a signal interrupted.
template <class Call>
auto retry_interrupted(Call&& call) {
  auto result = call();
  while (result == -EINTR) result = call();
  return result;
}

Status remove_level(FileSystem& fs, const std::string& path, int depth) {
  if (depth == 0) {
    return Error{Code::kIo, "Deleting '" + path + "' stopped: it is nested too deep."};
  }
  std::vector<FileSystem::Entry> entries;
  const int listed = fs.list(path, entries);
  if (listed == -ENOENT) return ok();
  if (listed < 0) return file_error("Could not list", path, -listed);
  for (const auto& entry : entries) {
    const std::string child = join_path(path, entry.name);
    if (entry.kind == FileSystem::Kind::kFolder) {
      if (auto status = remove_level(fs, child, depth - 1); !status) return status;
      continue;
    }
    const int rc = fs.remove(child, FileSystem::Kind::kFile);
    if (rc < 0 && rc != -ENOENT) return file_error("Could not delete", child, -rc);
  }
  const int rc = fs.remove(path, FileSystem::Kind::kFolder);
  if (rc < 0 && rc != -ENOENT) return file_error("Could not delete folder", path, -rc);
  return ok();
}

}  // namespace

FileSystem& posix_file_system() {
  static PosixFileSystem instance;
  return instance;
}

Error file_error(std::string_view what, std::string_view path, int error) {
  Code code = Code::kIo;
  if (error == ENOSPC || error == EDQUOT) code = Code::kNoSpace;
  if (error == ENOENT) code = Code::kNotFound;
  if (error == EEXIST || error == ENOTEMPTY) code = Code::kAlreadyExists;
  std::string message(what);
  message += " '";
  message += path;
  message += "': " + std::generic_category().message(error) + ".";
  return {code, std::move(message)};
}

File::File(File&& other) noexcept
    : fs_(other.fs_), path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) fs_->close(fd_);
    fs_ = other.fs_;
    path_ = std::move(other.path_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

File::~File() {
  if (fd_ >= 0) fs_->close(fd_);
}

Status File::allocate(std::uint64_t bytes) {
  if (bytes == 0) return ok();
  const int rc = retry_interrupted([&] { return fs_->allocate(fd_, bytes); });
  if (rc == 0 || rc == -EOPNOTSUPP || rc == -ENOSYS) return ok();
  return file_error("Could not reserve " + std::to_string(bytes) + " bytes for", path_, -rc);
}

Status File::write_all(std::span<const std::byte> data, std::uint64_t offset) {
  while (!data.empty()) {
    const std::size_t part = std::min(data.size(), kMaxTransfer);
    const std::int64_t n =
        retry_interrupted([&] { return fs_->write_at(fd_, data.data(), part, offset); });
    if (n < 0) return file_error("Could not write to", path_, static_cast<int>(-n));
    // A device that takes nothing and says nothing would loop for ever.
    if (n == 0) return file_error("Could not write to", path_, EIO);
    data = data.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return ok();
}

Result<std::size_t> File::read_some(std::span<std::byte> data, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < data.size()) {
    const std::size_t part = std::min(data.size() - done, kMaxTransfer);
    const std::int64_t n = retry_interrupted(
        [&] { return fs_->read_at(fd_, data.data() + done, part, offset + done); });
    if (n < 0) return file_error("Could not read", path_, static_cast<int>(-n));
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

Status File::read_exact(std::span<std::byte> data, std::uint64_t offset) {
  auto n = read_some(data, offset);
  if (!n) return n.error();
  if (*n == data.size()) return ok();
  return Error{Code::kCorrupt, "'" + path_ + "' ends at byte " + std::to_string(offset + *n) +
                                   ", before the " + std::to_string(data.size()) +
                                   " bytes expected from " + std::to_string(offset) + " on."};
}

Status File::sync() {
  const int rc = retry_interrupted([&] { return fs_->sync(fd_); });
  if (rc < 0) return file_error("Could not flush to the disk", path_, -rc);
  return ok();
}

Status File::close() {
  const int fd = std::exchange(fd_, -1);
  if (fd < 0) return ok();
  const int rc = fs_->close(fd);
  // After EINTR the descriptor is gone on Linux; a second close could hit another file.
  if (rc < 0 && rc != -EINTR) return file_error("Could not close", path_, -rc);
  return ok();
}

Result<File> open_file(FileSystem& fs, const std::string& path, FileSystem::Open mode) {
  const int fd = retry_interrupted([&] { return fs.open(path, mode); });
  if (fd < 0) return file_error("Could not open", path, -fd);
  return File(fs, path, fd);
}

Status sync_folder(FileSystem& fs, const std::string& path) {
  auto folder = open_file(fs, path, FileSystem::Open::kFolder);
  if (!folder) return folder.error();
  return folder->sync();
}

Status make_folder(FileSystem& fs, const std::string& path) {
  const int rc = fs.make_folder(path);
  if (rc == 0 || rc == -EEXIST) return ok();
  return file_error("Could not make folder", path, -rc);
}

Status rename_path(FileSystem& fs, const std::string& from, const std::string& to,
                   FileSystem::Rename how) {
  const int rc = fs.rename(from, to, how);
  if (rc == 0) return ok();
  return file_error("Could not rename '" + from + "' to", to, -rc);
}

Result<std::vector<FileSystem::Entry>> list_folder(FileSystem& fs, const std::string& path) {
  std::vector<FileSystem::Entry> entries;
  const int rc = fs.list(path, entries);
  if (rc < 0) return file_error("Could not list", path, -rc);
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return entries;
}

Status remove_tree(FileSystem& fs, const std::string& path) {
  return remove_level(fs, path, kMaxTreeDepth);
}

Result<std::string> read_text(FileSystem& fs, const std::string& path, std::uint64_t max_bytes) {
  auto file = open_file(fs, path, FileSystem::Open::kRead);
  if (!file) return file.error();
  constexpr std::size_t kPiece = std::size_t{1} << 16;
  std::string text;
  for (;;) {
    const std::size_t done = text.size();
    text.resize(done + kPiece);
    auto n = file->read_some(std::as_writable_bytes(std::span(text).subspan(done)), done);
    if (!n) return n.error();
    text.resize(done + *n);
    if (text.size() > max_bytes) {
      return Error{Code::kCorrupt, "'" + path + "' is longer than the " +
                                       std::to_string(max_bytes) + " bytes that it may have."};
    }
    if (*n < kPiece) return text;
  }
}

Status write_hint(FileSystem& fs, const std::string& path, std::string_view text) {
  const std::string fresh = path + ".new";
  const int removed = fs.remove(fresh, FileSystem::Kind::kFile);
  if (removed < 0 && removed != -ENOENT) return file_error("Could not delete", fresh, -removed);
  {
    auto file = open_file(fs, fresh, FileSystem::Open::kCreateNew);
    if (!file) return file.error();
    if (auto status = file->write_all(std::as_bytes(std::span(text)), 0); !status) return status;
    if (auto status = file->close(); !status) return status;
  }
  return rename_path(fs, fresh, path, FileSystem::Rename::kReplace);
}

namespace {

// Whether the file ends in the middle of a line. `folder` and `name` make up its path.
Result<bool> has_torn_end(FileSystem& fs, File& file, const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  auto entries = list_folder(fs, folder);
  if (!entries) return entries.error();
  for (const auto& entry : *entries) {
    if (entry.name != name || entry.bytes == 0) continue;
    std::byte last{};
    if (auto status = file.read_exact({&last, 1}, entry.bytes - 1); !status) return status.error();
    return last != std::byte{'\n'};
  }
  return false;
}

}  // namespace

Status append_line(FileSystem& fs, const std::string& path, std::string_view line, Sync sync) {
  auto file = open_file(fs, path, FileSystem::Open::kAppend);
  if (!file) return file.error();
  auto torn = has_torn_end(fs, *file, path);
  if (!torn) return torn.error();
  std::string text = *torn ? "\n" : "";
  text.append(line);
  text += '\n';
  if (auto status = file->write_all(std::as_bytes(std::span(text)), 0); !status) return status;
  if (sync == Sync::kYes) {
    if (auto status = file->sync(); !status) return status;
  }
  return file->close();
}

}  // namespace ratchet::trainer
