#pragma once

// Units in types. Times are std::chrono; sizes are Bytes. In JSON the unit is the key's suffix
// (`_ms`, `_us`, `_s`, `_bytes`, `_tokens`), except for the settings that a user writes.

#include <chrono>
#include <compare>
#include <cstdint>

namespace ratchet {

class Bytes {
 public:
  constexpr Bytes() = default;
  constexpr explicit Bytes(std::int64_t count) : count_(count) {}
  [[nodiscard]] constexpr std::int64_t count() const { return count_; }
  constexpr auto operator<=>(const Bytes&) const = default;
  friend constexpr Bytes operator+(Bytes a, Bytes b) { return Bytes(a.count_ + b.count_); }
  friend constexpr Bytes operator-(Bytes a, Bytes b) { return Bytes(a.count_ - b.count_); }

 private:
  std::int64_t count_ = 0;
};

constexpr Bytes kibibytes(std::int64_t n) { return Bytes(n * 1024); }
constexpr Bytes mebibytes(std::int64_t n) { return Bytes(n * 1024 * 1024); }
constexpr Bytes gibibytes(std::int64_t n) { return Bytes(n * 1024 * 1024 * 1024); }

// Milliseconds of the wall clock since 1970-01-01T00:00Z, for records; never for intervals.
using UnixMillis = std::chrono::duration<std::int64_t, std::milli>;

}  // namespace ratchet
