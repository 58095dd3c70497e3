#pragma once

// The trainer's events.jsonl as it grows. The file is the durable outbox: the agent keeps only how
// far it has read (to see what happens) and how far the control plane has acknowledged (to resend
// the rest). Both are found again from the file alone; the stored cursor only saves reading.
//
// Only whole lines count; a line that is too long is skipped and counted. Loop thread only.

#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "proto/events.h"
#include "proto/result.h"

namespace ratchet::agent {

struct TailCursor {         // cursor.json
  std::uint64_t seq = 0;    // last acknowledged
  std::int64_t offset = 0;  // of the byte after its line
  bool operator==(const TailCursor&) const = default;
};
std::string encode_cursor(const TailCursor& cursor);
TailCursor decode_cursor(std::string_view text);  // unreadable: the start

struct SeenLine {
  std::uint64_t seq = 0;       // 0: not readable
  std::optional<Event> event;  // none: of a type or version that this program does not know
};

struct TailLine {
  std::uint64_t seq = 0;
  std::string text;
};

class EventTail {
 public:
  EventTail(std::filesystem::path file, TailCursor acknowledged);

  // Lines that appeared since the last call, at most 1 MiB of them. The first call of a process
  // begins with the file's first line.
  std::vector<SeenLine> poll();
  // Whether poll() may have left something.
  [[nodiscard]] bool has_more() const { return more_; }

  // The oldest lines that are not acknowledged, at most `max_lines` and about `max_bytes`.
  std::vector<TailLine> unacknowledged(std::size_t max_lines, std::size_t max_bytes);
  // Everything up to `seq` is stored elsewhere.
  void acknowledge(std::uint64_t seq);

  [[nodiscard]] const TailCursor& cursor() const { return acknowledged_; }
  [[nodiscard]] std::uint64_t last_seq() const { return last_seq_; }  // seen by poll()
  [[nodiscard]] std::uint64_t waiting() const {
    return last_seq_ > acknowledged_.seq ? last_seq_ - acknowledged_.seq : 0;
  }
  [[nodiscard]] std::uint64_t skipped() const { return skipped_; }

 private:
  struct Sent {
    std::uint64_t seq;
    std::int64_t end;
  };

  std::filesystem::path file_;
  TailCursor acknowledged_;
  std::int64_t read_offset_ = 0;
  std::uint64_t last_seq_ = 0;
  std::uint64_t skipped_ = 0;
  bool more_ = false;
  std::deque<Sent> sent_;  // where the lines of the last unacknowledged() end
};

}  // namespace ratchet::agent
