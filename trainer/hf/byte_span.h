#pragma once

// A half-open range of bytes [begin, end) of a UTF-8 text.

#include <cstddef>

namespace ratchet::trainer {

struct ByteSpan {
  size_t begin = 0;
  size_t end = 0;
  bool operator==(const ByteSpan&) const = default;
};

}  // namespace ratchet::trainer
