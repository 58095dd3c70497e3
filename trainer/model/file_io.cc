#include "trainer/model/file_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

namespace ratchet::trainer {

namespace fs = std::filesystem;

namespace detail {
void append_part(std::string& out, double part) {
  std::array<char, 32> text{};
  const int length = std::snprintf(text.data(), text.size(), "%.12g", part);
  out.append(text.data(), static_cast<std::size_t>(length));
}
}  // namespace detail

Fd::~Fd() {
  if (fd_ >= 0) ::close(fd_);
}

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

int Fd::close_now() {
  if (fd_ < 0) return 0;
  return ::close(std::exchange(fd_, -1));
}

Error io_error(std::string_view doing, const fs::path& path, int error_number) {
  Code code = Code::kIo;
  std::string advice;
  if (error_number == ENOENT) code = Code::kNotFound;
  if (error_number == ENOSPC || error_number == EDQUOT) {
    code = Code::kNoSpace;
    advice = " Free some space and try again.";
  }
  return Error{code, cat("Could not ", doing, " '", path.string(),
                         "': ", std::generic_category().message(error_number), ".", advice)};
}

Result<Fd> open_for_read(const fs::path& path) {
  // O_NONBLOCK: a FIFO put in a file's place must not hang us before fstat() says what it is.
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.open()) return io_error("open", path, errno);
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return io_error("look at", path, errno);
  if (!S_ISREG(info.st_mode)) {
    return Error{Code::kInvalidArgument,
                 cat("'", path.string(), "' is not a regular file. Name a file.")};
  }
  return fd;
}

Result<std::uint64_t> file_size(const Fd& fd, const fs::path& path) {
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return io_error("look at", path, errno);
  return static_cast<std::uint64_t>(info.st_size);
}

Status read_at(const Fd& fd, const fs::path& path, std::uint64_t offset, std::span<std::byte> dst) {
  while (!dst.empty()) {
    // Linux transfers at most 2 GiB less a page at once.
    const std::size_t want = std::min<std::size_t>(dst.size(), std::size_t{1} << 30);
    const ssize_t got = ::pread(fd.get(), dst.data(), want, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error("read", path, errno);
    if (got == 0) {
      return Error{Code::kCorrupt, cat("'", path.string(), "' ended at byte ", offset, ", ",
                                       dst.size(), " bytes early: it was cut while in use.")};
    }
    dst = dst.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return ok();
}

Status write_at(const Fd& fd, const fs::path& path, std::uint64_t offset,
                std::span<const std::byte> src) {
  while (!src.empty()) {
    const std::size_t want = std::min<std::size_t>(src.size(), std::size_t{1} << 30);
    const ssize_t done = ::pwrite(fd.get(), src.data(), want, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return io_error("write", path, errno);
    src = src.subspan(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
  return ok();
}

Result<std::string> read_text_file(const fs::path& path, std::uint64_t max_bytes) {
  Result<Fd> fd = open_for_read(path);
  if (!fd) return fd.error();
  const Result<std::uint64_t> bytes = file_size(*fd, path);
  if (!bytes) return bytes.error();
  if (*bytes > max_bytes) {
    return Error{Code::kInvalidArgument, cat("'", path.string(), "' has ", *bytes,
                                             " bytes; at most ", max_bytes, " are read.")};
  }
  std::string text(*bytes, '\0');
  if (Status read = read_at(*fd, path, 0, std::as_writable_bytes(std::span(text))); !read) {
    return read.error();
  }
  return text;
}

Status sync_parent(const fs::path& path) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.open()) return io_error("open", folder, errno);
  if (::fsync(fd.get()) != 0) return io_error("flush", folder, errno);
  return ok();
}

Status write_text_file(const fs::path& path, std::string_view text) {
  fs::path part = path;
  part += ".part";
  Fd fd(::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.open()) return io_error("create", part, errno);
  Status written = write_at(fd, part, 0, std::as_bytes(std::span(text)));
  if (written && ::fdatasync(fd.get()) != 0) written = io_error("flush", part, errno);
  if (written && fd.close_now() != 0) written = io_error("close", part, errno);
  if (written && ::rename(part.c_str(), path.c_str()) != 0) {
    written = io_error("give its name to", path, errno);
  }
  if (!written) {
    ::unlink(part.c_str());
    return written;
  }
  return sync_parent(path);
}

Status create_empty_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return io_error("create the folder", folder, error.value());
  const bool empty = fs::is_empty(folder, error);
  if (error) return io_error("look into", folder, error.value());
  if (!empty) {
    return Error{Code::kAlreadyExists,
                 cat("The folder '", folder.string(),
                     "' is not empty. Name a new folder, or remove its content first.")};
  }
  return ok();
}

}  // namespace ratchet::trainer
