#pragma once

// One file of a checkpoint, written or read once from front to back in 16 MiB chunks that are
// hashed on the way. Internal to this folder.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "trainer/checkpoint/checkpoint_writer.h"
#include "trainer/checkpoint/file_system.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/model/digest.h"

namespace ratchet::trainer {

// What every step of a commit asks and tells.
class CommitClock {
 public:
  explicit CommitClock(const WriteOptions& options) : options_(options) {}

  void point(std::string_view name) const {
    if (options_.at_point) options_.at_point(name);
  }
  // kUnavailable when the deadline has passed or a stop was requested.
  [[nodiscard]] Status check() const;
  // Runs `sync` and adds its time.
  Status timed_sync(const std::function<Status()>& sync);
  [[nodiscard]] std::chrono::microseconds sync_time() const { return sync_time_; }

 private:
  const WriteOptions& options_;
  std::chrono::microseconds sync_time_{0};
};

class HashedFileWriter {
 public:
  // `buffer` is scratch, shared by the files of one checkpoint: kChunkBytes, or the size of the
  // file when that is less.
  HashedFileWriter(File file, CommitClock& clock, std::vector<std::byte>& buffer)
      : file_(std::move(file)), clock_(clock), buffer_(buffer) {}

  Status append(std::span<const std::byte> data);
  // Writes the rest, syncs, closes.
  Result<FileRecord> finish(std::string name);

 private:
  Status flush();

  File file_;
  CommitClock& clock_;
  std::vector<std::byte>& buffer_;
  std::size_t buffered_ = 0;
  std::uint64_t written_ = 0;
  Sha256 sha_;
  Xxh3 xxh_;
  std::vector<std::string> chunks_;
};

// Reads the whole file and compares it with its record: kCorrupt names the first bad chunk and its
// byte range. `on_chunk`, which may be empty, sees each chunk whether it is good or not.
Status verify_hashed_file(
    File& file, const FileRecord& record, std::vector<std::byte>& buffer,
    const std::function<void(std::span<const std::byte> chunk, std::uint64_t offset)>& on_chunk);

}  // namespace ratchet::trainer
