#pragma once

// Server-sent events (WHATWG HTML, 9.2): writing and reading. Pure.

#include <functional>
#include <string>
#include <string_view>

#include "proto/result.h"

namespace ratchet::net {

struct SseEvent {
  std::string type;  // empty: "message"
  std::string id;    // last one seen, as the standard wants
  std::string data;  // lines joined by a newline
  bool operator==(const SseEvent&) const = default;
};

// An event as text, with its empty line. Line breaks in type and id are left out.
std::string format_sse(const SseEvent& event);
// A comment, which keeps a connection alive: ": text".
std::string format_sse_comment(std::string_view text);

// Bytes in pieces of any size to events. Lines and events are bounded: what is longer fails.
class SseParser {
 public:
  static constexpr std::size_t kMaxEventBytes = 1024 * 1024;
  using Sink = std::function<Status(const SseEvent& event)>;

  // Calls the sink for every event completed by this piece. Fails with what the sink returned, or
  // kCorrupt when an event is too long.
  Status push(std::string_view piece, const Sink& sink);

 private:
  Status take_line(std::string_view line, const Sink& sink);
  std::string line_;
  bool skip_newline_ = false;  // the last byte was CR: a LF belongs to it
  bool at_start_ = true;
  bool has_data_ = false;
  SseEvent event_;
};

}  // namespace ratchet::net
