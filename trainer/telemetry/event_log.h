#pragma once

// Where telemetry goes: one JSON line an event, appended to a file in the output folder and, on
// request, to a descriptor that the parent handed down (a pipe or socket).
//
// Telemetry must never stop or kill training:
//  - emit() never blocks on the descriptor. What its reader does not take is kept, up to
//    kMaxQueuedBytes, then step events are dropped first. The reader sees the gap in `seq`.
//  - A closed descriptor is let go of; no SIGPIPE reaches the process.
//  - A file that cannot be written (full disk) loses lines, says so once through the callback, and
//    a warning event counts the loss as soon as writing works again.
// A restart continues the sequence numbers; a last line torn by a kill is cut off.
// Thread-safe. Only one process at a time may write a file (the output folder's lock sees to it).

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "proto/events.h"
#include "proto/result.h"

namespace ratchet::trainer {

class EventLog {
 public:
  static constexpr std::size_t kMaxQueuedBytes = 1024 * 1024;

  struct Options {
    std::string path;  // of the file; its folder exists
    JobId job_id;
    std::int64_t attempt_no = 1;
    std::int64_t epoch = 0;
    std::optional<int> descriptor;                // borrowed, never closed
    std::function<UnixMillis()> clock;            // empty: the wall clock
    std::function<void(std::string)> on_problem;  // one full sentence; empty: nobody hears
  };

  static Result<std::unique_ptr<EventLog>> open(Options options);
  ~EventLog();  // flush() for at most 200 ms
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  void emit(const EventBody& body);

  // Waits at most this long until the descriptor's reader has taken everything; true when it has
  // (or there is no descriptor).
  bool flush(std::chrono::milliseconds limit);

  [[nodiscard]] std::uint64_t next_seq() const;
  [[nodiscard]] std::int64_t dropped_from_file() const;        // lines, of this attempt
  [[nodiscard]] std::int64_t dropped_from_descriptor() const;  // lines, of this attempt

 private:
  struct Line {
    std::string text;      // with its newline
    std::size_t sent = 0;  // bytes of it that the reader has
    bool step = false;
  };

  EventLog(Options options, int file, std::uint64_t next_seq, std::int64_t file_size);
  void append(const EventBody& body);
  bool write_file(const std::string& line);
  void enqueue(Line line);
  void send_queued();
  void drop_descriptor(const std::string& reason);
  void report(const std::string& problem);

  // Constant after construction.
  const Options options_;
  const int file_;

  mutable std::mutex mu_;  // guards all below
  std::uint64_t next_seq_;
  std::int64_t file_size_;  // bytes of whole lines
  bool file_broken_ = false;
  std::int64_t unreported_drops_ = 0;
  std::int64_t dropped_from_file_ = 0;
  std::int64_t dropped_from_descriptor_ = 0;
  std::optional<int> descriptor_;
  std::deque<Line> queue_;
  std::size_t queued_bytes_ = 0;
};

}  // namespace ratchet::trainer
