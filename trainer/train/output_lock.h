#pragma once

// One process at a time may own an output folder. The lock is flock(2) on `<dir>/.lock`: the kernel
// drops it with the process, so a killed trainer never leaves a stale one behind. The file's text
// (pid, command) is only for the message that the second process prints.

#include <filesystem>

#include "proto/result.h"

namespace ratchet::trainer {

class OutputLock {
 public:
  // Creates the folder when needed. kFailedPrecondition names the owner when it is taken.
  static Result<OutputLock> acquire(const std::filesystem::path& dir);

  OutputLock(OutputLock&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  OutputLock& operator=(OutputLock&& other) noexcept;
  OutputLock(const OutputLock&) = delete;
  OutputLock& operator=(const OutputLock&) = delete;
  ~OutputLock();

 private:
  explicit OutputLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace ratchet::trainer
