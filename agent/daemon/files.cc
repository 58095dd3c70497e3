#include "agent/daemon/files.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>

namespace ratchet::agent {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = 1 << 20;

std::string to_hex(const unsigned char* bytes, std::size_t count) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  out.reserve(count * 2);
  for (std::size_t i = 0; i < count; ++i) {
    out += kDigits[bytes[i] >> 4];
    out += kDigits[bytes[i] & 15];
  }
  return out;
}

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
  }
  void add(const void* bytes, std::size_t count) { EVP_DigestUpdate(context_.get(), bytes, count); }
  std::string hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned length = 0;
    EVP_DigestFinal_ex(context_.get(), digest.data(), &length);
    return to_hex(digest.data(), length);
  }

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

class OpenFile {
 public:
  explicit OpenFile(int fd) : fd_(fd) {}
  ~OpenFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

Status write_all(int fd, std::string_view bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(fd, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return io_error("Cannot write '" + path.string() + "'", errno);
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return ok();
}

Status write_synced(const fs::path& path, std::string_view bytes, unsigned mode) {
  const OpenFile file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (file.get() < 0) return io_error("Cannot create '" + path.string() + "'", errno);
  if (Status wrote = write_all(file.get(), bytes, path); !wrote) return wrote;
  if (::fsync(file.get()) != 0) return io_error("Cannot sync '" + path.string() + "'", errno);
  return ok();
}

}  // namespace

Error io_error(const std::string& what, int error_number) {
  const bool full = error_number == ENOSPC || error_number == EDQUOT;
  return Error{full ? Code::kNoSpace : (error_number == ENOENT ? Code::kNotFound : Code::kIo),
               what + ": " + std::strerror(error_number) + "."};
}

Status write_atomically(const fs::path& path, std::string_view bytes, unsigned mode) {
  const fs::path temporary = path.string() + ".new";
  if (Status wrote = write_synced(temporary, bytes, mode); !wrote) {
    ::unlink(temporary.c_str());
    return wrote;
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const Error error = io_error("Cannot rename '" + temporary.string() + "'", errno);
    ::unlink(temporary.c_str());
    return error;
  }
  return sync_folder(path.parent_path());
}

Result<std::string> read_file(const fs::path& path, std::size_t limit) {
  const OpenFile file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return io_error("Cannot open '" + path.string() + "'", errno);
  std::string text;
  while (text.size() <= limit) {
    const std::size_t had = text.size();
    text.resize(had + std::min<std::size_t>(kPiece, limit + 1 - had));
    const ssize_t got = ::read(file.get(), text.data() + had, text.size() - had);
    if (got < 0 && errno != EINTR) return io_error("Cannot read '" + path.string() + "'", errno);
    text.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0) return text;
    if (text.size() > limit) break;
  }
  return Error{Code::kInvalidArgument,
               "'" + path.string() + "' is larger than " + std::to_string(limit) + " bytes."};
}

Status make_folders(const fs::path& path) {
  std::error_code failed;
  fs::create_directories(path, failed);
  if (failed) return io_error("Cannot create the folder '" + path.string() + "'", failed.value());
  return ok();
}

Status remove_tree(const fs::path& path) {
  std::error_code failed;
  fs::remove_all(path, failed);
  if (failed) return io_error("Cannot remove '" + path.string() + "'", failed.value());
  return ok();
}

Status sync_folder(const fs::path& path) {
  const OpenFile folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0 || ::fsync(folder.get()) != 0) {
    return io_error("Cannot sync the folder '" + path.string() + "'", errno);
  }
  return ok();
}

Result<std::vector<FileEntry>> list_files(const fs::path& folder) {
  std::vector<FileEntry> files;
  std::error_code failed;
  fs::recursive_directory_iterator entry(folder, failed);
  for (; !failed && entry != fs::recursive_directory_iterator(); entry.increment(failed)) {
    const fs::file_status status = entry->symlink_status(failed);
    if (failed || fs::is_directory(status)) continue;
    if (!fs::is_regular_file(status) || files.size() == kMaxFiles) {
      return Error{Code::kInvalidArgument,
                   "'" + entry->path().string() +
                       "' cannot be part of an artifact: only regular files, at most " +
                       std::to_string(kMaxFiles) + ", are."};
    }
    const auto size = static_cast<std::int64_t>(entry->file_size(failed));
    files.push_back({entry->path().lexically_relative(folder).generic_string(), Bytes(size)});
  }
  if (failed) return io_error("Cannot list '" + folder.string() + "'", failed.value());
  std::sort(files.begin(), files.end(),
            [](const FileEntry& a, const FileEntry& b) { return a.path < b.path; });
  return files;
}

Status link_tree(const fs::path& from, const fs::path& to) {
  std::error_code failed;
  if (fs::exists(to, failed)) return ok();
  const fs::path temporary = to.string() + ".linking";
  if (Status removed = remove_tree(temporary); !removed) return removed;
  const auto files = list_files(from);
  if (!files) return files.error();
  if (Status made = make_folders(temporary); !made) return made;
  for (const FileEntry& file : *files) {
    const fs::path target = temporary / file.path;
    if (Status made = make_folders(target.parent_path()); !made) return made;
    if (::link((from / file.path).c_str(), target.c_str()) != 0) {
      const Error error = io_error("Cannot link '" + target.string() + "'", errno);
      static_cast<void>(remove_tree(temporary));
      return error;
    }
  }
  if (::rename(temporary.c_str(), to.c_str()) != 0) {
    return io_error("Cannot rename '" + temporary.string() + "'", errno);
  }
  return sync_folder(to.parent_path());
}

Result<std::string> sha256_file(const fs::path& path) {
  const OpenFile file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return io_error("Cannot open '" + path.string() + "'", errno);
  Sha256 hash;
  std::string piece(kPiece, '\0');
  while (true) {
    const ssize_t got = ::read(file.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error("Cannot read '" + path.string() + "'", errno);
    if (got == 0) return hash.hex();
    hash.add(piece.data(), static_cast<std::size_t>(got));
  }
}

std::string sha256_text(std::string_view bytes) {
  Sha256 hash;
  hash.add(bytes.data(), bytes.size());
  return hash.hex();
}

Result<DiskSpace> disk_space(const fs::path& path) {
  struct statvfs stat{};
  if (::statvfs(path.c_str(), &stat) != 0) {
    return io_error("Cannot ask for the free space of '" + path.string() + "'", errno);
  }
  const auto block = static_cast<std::int64_t>(stat.f_frsize);
  return DiskSpace{Bytes(static_cast<std::int64_t>(stat.f_bavail) * block),
                   Bytes(static_cast<std::int64_t>(stat.f_blocks) * block)};
}

Bytes disk_use(const fs::path& folder) {
  std::int64_t total = 0;
  std::error_code failed;
  fs::recursive_directory_iterator entry(folder, failed);
  for (; !failed && entry != fs::recursive_directory_iterator(); entry.increment(failed)) {
    struct stat stat{};
    if (::lstat(entry->path().c_str(), &stat) == 0 && S_ISREG(stat.st_mode)) {
      total += static_cast<std::int64_t>(stat.st_blocks) * 512;
    }
  }
  return Bytes(total);
}

std::string random_hex(std::size_t count) {
  std::string bytes(count, '\0');
  std::size_t have = 0;
  while (have < count) {
    const ssize_t got = ::getrandom(bytes.data() + have, count - have, 0);
    if (got > 0) have += static_cast<std::size_t>(got);
  }
  return to_hex(reinterpret_cast<const unsigned char*>(bytes.data()), count);
}

}  // namespace ratchet::agent
