#pragma once

// Small files of a tokenizer folder, and digests of texts. Private to this room.

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "proto/result.h"

namespace ratchet::trainer {

inline constexpr size_t kMaxTokenizerBytes = size_t{512} << 20;
inline constexpr size_t kMaxTokenizerConfigBytes = size_t{64} << 20;

// Reads a whole regular file of at most `max_bytes`. kNotFound, kIo, kCorrupt (too long).
Result<std::string> read_small_file(const std::filesystem::path& path, size_t max_bytes);

// Lower-case hex of the SHA-256 of `bytes`.
std::string sha256_hex(std::string_view bytes);

}  // namespace ratchet::trainer
