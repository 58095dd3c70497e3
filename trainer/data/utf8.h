#pragma once

// UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing above U+10FFFF.

#include <cstddef>
#include <string_view>

namespace ratchet::trainer {

inline constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// Bytes of the well-formed sequence at the start of `text` (1 to 4), 0 when there is none.
std::size_t utf8_sequence(std::string_view text);

// Offset of the first byte that belongs to no well-formed sequence; npos when all is well-formed.
std::size_t find_invalid_utf8(std::string_view text);

}  // namespace ratchet::trainer
