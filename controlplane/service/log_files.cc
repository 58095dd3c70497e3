#include "controlplane/service/log_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ratchet::control {

namespace {

struct Fd {
  int value;
  ~Fd() {
    if (value >= 0) ::close(value);
  }
};

Error failed(const std::filesystem::path& path) {
  return {errno == ENOSPC || errno == EDQUOT ? Code::kNoSpace : Code::kIo,
          "Cannot write " + path.filename().string() + ": " + std::strerror(errno) + "."};
}

}  // namespace

std::filesystem::path LogFiles::path(const JobId& job, std::int64_t attempt_no) const {
  return folder_ / job.str() / (std::to_string(attempt_no) + ".log");
}

std::int64_t LogFiles::size(const JobId& job, std::int64_t attempt_no) const {
  struct stat status{};
  return ::stat(path(job, attempt_no).c_str(), &status) == 0 ? status.st_size : 0;
}

Result<std::int64_t> LogFiles::append(const JobId& job, std::int64_t attempt_no,
                                      std::int64_t offset, std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  const auto file = path(job, attempt_no);
  const auto there = size(job, attempt_no);
  if (offset != there) {
    return Error{Code::kFailedPrecondition, "The log has " + std::to_string(there) + " bytes."};
  }
  if (there + static_cast<std::int64_t>(bytes.size()) > max_bytes_) {
    return Error{Code::kInvalidArgument, "The log may have " + std::to_string(max_bytes_) +
                                             " bytes at most (setting log_max_bytes)."};
  }
  std::error_code ignored;
  std::filesystem::create_directories(file.parent_path(), ignored);
  const Fd fd{::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)};
  if (fd.value < 0) return failed(file);
  std::size_t done = 0;
  while (done < bytes.size()) {
    const auto count = ::write(fd.value, bytes.data() + done, bytes.size() - done);
    if (count > 0) {
      done += static_cast<std::size_t>(count);
    } else if (errno != EINTR) {
      return failed(file);  // what was written stays: the agent asks for the size and goes on
    }
  }
  return there + static_cast<std::int64_t>(bytes.size());
}

Result<LogPiece> LogFiles::read(const JobId& job, std::int64_t attempt_no, std::int64_t offset,
                                std::size_t limit) const {
  const auto file = path(job, attempt_no);
  LogPiece out;
  const Fd fd{::open(file.c_str(), O_RDONLY | O_CLOEXEC)};
  if (fd.value < 0) {
    if (errno == ENOENT) return out;
    return failed(file);
  }
  struct stat status{};
  if (::fstat(fd.value, &status) != 0) return failed(file);
  out.size = status.st_size;
  const auto from_end = std::max<std::int64_t>(0, out.size - static_cast<std::int64_t>(limit));
  out.offset = std::min(offset < 0 ? from_end : offset, out.size);
  out.text.resize(std::min(limit, static_cast<std::size_t>(out.size - out.offset)));
  const auto count = ::pread(fd.value, out.text.data(), out.text.size(), out.offset);
  if (count < 0) return failed(file);
  out.text.resize(static_cast<std::size_t>(count));
  return out;
}

void LogFiles::remove(const JobId& job) {
  std::error_code ignored;
  std::filesystem::remove_all(folder_ / job.str(), ignored);
}

std::vector<JobId> LogFiles::jobs() const {
  std::vector<JobId> out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    auto name = entry.path().filename().string();
    if (is_valid_id(name)) out.emplace_back(std::move(name));
  }
  return out;
}

}  // namespace ratchet::control
