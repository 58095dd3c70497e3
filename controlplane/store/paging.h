#pragma once

// Cursors of pages: "<time in ms>_<id>" of the last row given out; lists are sorted by both.

#include <algorithm>
#include <cstdint>
#include <string>

#include "controlplane/store/reads.h"
#include "proto/result.h"

namespace ratchet::control {

struct Cursor {
  std::int64_t time = 0;
  std::string id;
};

std::string write_cursor(const Cursor& cursor);
// kInvalidArgument for what write_cursor() did not make.
Result<Cursor> read_cursor(const std::string& text);

inline std::int64_t page_limit(std::int64_t limit) {
  return std::clamp<std::int64_t>(limit, 1, kMaxPage);
}

// `items` were read with one more than the limit: cuts that one off and sets the cursor by the last
// one left.
template <class T, class CursorOf>
void finish_page(Page<T>& page, std::int64_t limit, CursorOf cursor_of) {
  if (static_cast<std::int64_t>(page.items.size()) <= limit) return;
  page.items.resize(static_cast<std::size_t>(limit));
  page.next_cursor = write_cursor(cursor_of(page.items.back()));
}

}  // namespace ratchet::control
