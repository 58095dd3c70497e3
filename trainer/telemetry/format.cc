#include "trainer/telemetry/format.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace ratchet::trainer {

namespace {

template <class... Args>
std::string print(const char* format, Args... args) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), format, args...);
  return text.data();
}

}  // namespace

std::string format_bytes(Bytes bytes) {
  static constexpr std::array<const char*, 6> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  const auto count = static_cast<double>(bytes.count());
  if (std::abs(count) < 1024) return print("%lld B", static_cast<long long>(bytes.count()));
  double value = count / 1024;
  std::size_t unit = 0;
  // 1023.95 would be printed as 1024.0.
  while (std::abs(value) >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return print("%.1f %s", value, kUnits[unit]);
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  if (seconds < 9.95) return print("%.1f s", seconds);
  if (seconds > 1e9) return "?";
  const auto whole = static_cast<long long>(std::llround(seconds));
  if (whole < 60) return print("%lld s", whole);
  if (whole < 3600) return print("%lld min %02lld s", whole / 60, whole % 60);
  if (whole < 86'400) return print("%lld h %02lld min", whole / 3600, whole % 3600 / 60);
  return print("%lld d %lld h", whole / 86'400, whole % 86'400 / 3600);
}

std::string format_count(std::int64_t n) {
  std::string digits = std::to_string(n);
  const std::size_t start = n < 0 ? 1 : 0;
  for (std::size_t i = digits.size(); i > start + 3;) {
    i -= 3;
    digits.insert(i, 1, ',');
  }
  return digits;
}

std::string format_rate(double per_second) {
  if (!std::isfinite(per_second) || per_second < 0) return "?";
  if (per_second < 9.95) return print("%.1f", per_second);
  if (per_second < 999.5) return print("%.0f", per_second);
  if (per_second < 999'950) return print("%.1f k", per_second / 1e3);
  return print("%.1f M", per_second / 1e6);
}

}  // namespace ratchet::trainer
