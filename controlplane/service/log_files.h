#pragma once

// Logs of attempts, on the control plane's disk so that they outlive nodes:
//   <folder>/<job>/<attempt>.log
// Every function blocks. Thread-safe for different attempts; appends to one are held apart inside.

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "proto/ids.h"
#include "proto/result.h"

namespace ratchet::control {

struct LogPiece {
  std::string text;
  std::int64_t offset = 0;  // of its first byte
  std::int64_t size = 0;    // of the whole log so far
};

class LogFiles {
 public:
  LogFiles(std::filesystem::path folder, std::int64_t max_bytes)
      : folder_(std::move(folder)), max_bytes_(max_bytes) {}

  [[nodiscard]] std::int64_t size(const JobId& job, std::int64_t attempt_no) const;
  // The new size. kFailedPrecondition: `offset` is not the size; kInvalidArgument: the log is full;
  // kNoSpace, kIo from the disk.
  Result<std::int64_t> append(const JobId& job, std::int64_t attempt_no, std::int64_t offset,
                              std::string_view bytes);
  // At most `limit` bytes; from the end when `offset` is below 0. A log that is not there is empty.
  [[nodiscard]] Result<LogPiece> read(const JobId& job, std::int64_t attempt_no,
                                      std::int64_t offset, std::size_t limit) const;
  void remove(const JobId& job);
  [[nodiscard]] std::vector<JobId> jobs() const;  // that have logs
  [[nodiscard]] std::int64_t max_bytes() const { return max_bytes_; }

 private:
  [[nodiscard]] std::filesystem::path path(const JobId& job, std::int64_t attempt_no) const;
  std::filesystem::path folder_;
  std::int64_t max_bytes_;
  std::mutex mutex_;
};

}  // namespace ratchet::control
