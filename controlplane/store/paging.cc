#include "controlplane/store/paging.h"

#include <charconv>

#include "proto/ids.h"

namespace ratchet::control {

std::string write_cursor(const Cursor& cursor) {
  return std::to_string(cursor.time) + "_" + cursor.id;
}

Result<Cursor> read_cursor(const std::string& text) {
  Cursor cursor;
  const char* end = text.data() + text.size();
  const auto [stop, fault] = std::from_chars(text.data(), end, cursor.time);
  const bool separated = fault == std::errc() && stop != end && *stop == '_';
  if (separated) cursor.id.assign(stop + 1, end);
  if (!separated || !is_valid_id(cursor.id)) {
    return Error{Code::kInvalidArgument,
                 "The cursor is none that a list gave out. Begin again without one."};
  }
  return cursor;
}

}  // namespace ratchet::control
