#pragma once

// Scalars for TensorBoard: event files that `tensorboard --logdir` opens.
//
// A file is a sequence of records
//   u64 length | u32 masked CRC32C of those 8 bytes | data | u32 masked CRC32C of data
// (little endian) whose data is a protobuf Event: {1: wall time (double), 2: step (int64),
// 3: file version | 5: summary {1: value {1: tag, 2: float}} | 7: session log {1: status}}.
// CRC32C is the Castagnoli polynomial; masked = rotate right by 15, + 0xa282ead8.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "proto/result.h"

namespace ratchet::trainer {

std::uint32_t crc32c(std::string_view bytes);
std::uint32_t masked_crc32c(std::string_view bytes);

// Whole records, ready to be written. `wall_time` is in seconds since 1970.
std::string tensorboard_version_record(double wall_time);
std::string tensorboard_scalar_record(double wall_time, std::int64_t step, std::string_view tag,
                                      float value);
// "A session starts at `step`": TensorBoard forgets what earlier files say about it and later
// steps, so that steps replayed after a resume are not drawn twice.
std::string tensorboard_session_start_record(double wall_time, std::int64_t step);

// One file. Records are kept in memory until flush() or 64 KiB. Not thread-safe.
class TensorBoardWriter {
 public:
  struct Options {
    std::string folder;             // exists
    std::int64_t first_step = 1;    // above 1 for a resumed job
    std::function<double()> clock;  // seconds since 1970; empty: the wall clock
  };

  // The file is events.out.tfevents.<seconds>.<host>.<pid>.<n>, n such that the name is new.
  static Result<std::unique_ptr<TensorBoardWriter>> create(Options options);
  ~TensorBoardWriter();  // flushes; a failure then is lost
  TensorBoardWriter(const TensorBoardWriter&) = delete;
  TensorBoardWriter& operator=(const TensorBoardWriter&) = delete;

  // After the first failure (full disk) the file is closed and every later call returns the same
  // error at once: a torn record in the middle would hide what follows it.
  Status add_scalar(std::string_view tag, std::int64_t step, double value);
  Status flush();

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  TensorBoardWriter(Options options, std::string path, int file);

  Options options_;
  std::string path_;
  int file_;  // -1 after a failure
  std::string buffer_;
  Error failure_;
};

}  // namespace ratchet::trainer
