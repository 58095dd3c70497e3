#include "controlplane/cli/format.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <utility>

namespace ratchet::control::cli {
namespace {

template <class... Args>
std::string formatted(const char* format, Args... args) {
  std::array<char, 96> text{};
  std::snprintf(text.data(), text.size(), format, args...);
  return text.data();
}

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

struct Unit {
  std::string_view word;
  double factor;
};

// A number, then one of `units`; the empty word is what a bare number means.
template <std::size_t N>
std::optional<double> parse_with_unit(std::string_view text, const std::array<Unit, N>& units) {
  double value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc{} || !std::isfinite(value) || value < 0) return std::nullopt;
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  for (const Unit& known : units) {
    if (known.word == unit) return value * known.factor;
  }
  return std::nullopt;
}

constexpr double kLargest = 9e15;  // what a double holds exactly, near enough

}  // namespace

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e9) return "?";
  if (seconds < 9.95) return formatted("%.1f s", seconds);
  const auto whole = static_cast<long long>(std::llround(seconds));
  if (whole < 60) return formatted("%lld s", whole);
  if (whole < 3600) return formatted("%lld min %02lld s", whole / 60, whole % 60);
  if (whole < 86'400) return formatted("%lld h %02lld min", whole / 3600, whole % 3600 / 60);
  return formatted("%lld d %lld h", whole / 86'400, whole % 86'400 / 3600);
}

std::string format_bytes(Bytes bytes) {
  static constexpr std::array<const char*, 6> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  const auto count = static_cast<double>(bytes.count());
  if (std::abs(count) < 1024) return formatted("%lld B", static_cast<long long>(bytes.count()));
  double value = count / 1024;
  std::size_t unit = 0;
  // 1023.95 would be printed as 1024.0.
  while (std::abs(value) >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return formatted("%.1f %s", value, kUnits[unit]);
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
  if (per_second < 9.95) return formatted("%.1f", per_second);
  if (per_second < 999.5) return formatted("%.0f", per_second);
  if (per_second < 999'950) return formatted("%.1f k", per_second / 1e3);
  return formatted("%.1f M", per_second / 1e6);
}

std::string format_usd(double usd) {
  if (!std::isfinite(usd)) return "?";
  if (usd != 0 && std::abs(usd) < 0.99995) return formatted("$%.4f", usd);
  return formatted("$%.2f", usd);
}

std::string format_time(UnixMillis time) {
  if (time.count() <= 0) return "-";
  const std::time_t seconds = time.count() / 1000;
  std::tm parts{};
  if (::gmtime_r(&seconds, &parts) == nullptr) return "?";
  std::array<char, 40> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text.data();
}

std::string format_age(UnixMillis time, UnixMillis now) {
  if (time.count() <= 0) return "-";
  const auto away = static_cast<double>((now - time).count()) / 1000;
  // The two clocks may be a little apart.
  if (std::abs(away) < 2) return "now";
  const auto whole = static_cast<long long>(std::llround(std::abs(away)));
  std::string text = formatted("%lld d", whole / 86'400);
  if (whole < 60) {
    text = formatted("%lld s", whole);
  } else if (whole < 3600) {
    text = formatted("%lld min", whole / 60);
  } else if (whole < 172'800) {
    text = formatted("%lld h", whole / 3600);
  }
  return away < 0 ? "in " + text : text + " ago";
}

std::string format_bar(double ratio, std::size_t columns) {
  if (columns < 3) return "";
  const std::size_t inner = columns - 2;
  const double share = std::isfinite(ratio) ? std::clamp(ratio, 0.0, 1.0) : 0.0;
  const auto filled = static_cast<std::size_t>(share * static_cast<double>(inner));
  std::string bar(inner, ' ');
  std::fill_n(bar.begin(), filled, '=');
  if (filled < inner) bar[filled] = '>';
  return "[" + bar + "]";
}

std::string printable(std::string_view text, bool lines) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '\n' || byte == '\t') {
      out += lines ? text[i] : ' ';
    } else if (byte < 0x20 || byte == 0x7F) {
      out += '?';
    } else if (byte == 0xC2 && i + 1 < text.size() &&
               static_cast<unsigned char>(text[i + 1]) < 0xA0) {
      out += '?';  // C1 control characters, among them the one-character escape
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::size_t columns_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return !is_continuation(c); }));
}

std::string fit(std::string_view text, std::size_t columns) {
  if (columns_of(text) <= columns) return std::string(text);
  const std::string_view mark = columns > 3 ? "..." : "";
  std::size_t left = columns - mark.size();
  std::size_t end = 0;
  while (end < text.size() && (left > 0 || is_continuation(text[end]))) {
    if (!is_continuation(text[end])) --left;
    ++end;
  }
  return std::string(text.substr(0, end)) + std::string(mark);
}

Result<std::int64_t> parse_duration_ms(std::string_view text) {
  static constexpr std::array<Unit, 7> kUnits{
      {{"", 1e3}, {"ms", 1}, {"s", 1e3}, {"m", 6e4}, {"min", 6e4}, {"h", 3.6e6}, {"d", 8.64e7}}};
  const auto value = parse_with_unit(text, kUnits);
  if (!value || *value > kLargest) {
    return Error{Code::kInvalidArgument, "'" + printable(text) +
                                             "' is no duration. Write a number and a unit: 500ms, "
                                             "30s, 5m, 2h or 1d."};
  }
  return static_cast<std::int64_t>(std::llround(*value));
}

Result<Bytes> parse_bytes(std::string_view text) {
  constexpr double k = 1024;
  static constexpr std::array<Unit, 14> kUnits{{{"", 1},
                                                {"B", 1},
                                                {"KiB", k},
                                                {"MiB", k * k},
                                                {"GiB", k * k * k},
                                                {"TiB", k * k * k * k},
                                                {"K", k},
                                                {"M", k * k},
                                                {"G", k * k * k},
                                                {"T", k * k * k * k},
                                                {"KB", 1e3},
                                                {"MB", 1e6},
                                                {"GB", 1e9},
                                                {"TB", 1e12}}};
  const auto value = parse_with_unit(text, kUnits);
  if (!value || *value > kLargest) {
    return Error{
        Code::kInvalidArgument,
        "'" + printable(text) + "' is no size. Write a number and a unit: 512MiB, 24GiB or 80GB."};
  }
  return Bytes(static_cast<std::int64_t>(std::llround(*value)));
}

Result<UnixMillis> parse_time(std::string_view text, UnixMillis now) {
  if (text.starts_with('+')) {
    const auto away = parse_duration_ms(text.substr(1));
    if (!away) return away.error();
    return now + UnixMillis(*away);
  }
  std::tm parts{};
  const std::string copy(text);
  const char* end = ::strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (end == nullptr) end = ::strptime(copy.c_str(), "%Y-%m-%dT%H:%M", &parts);
  if (end == nullptr || std::string_view(end) != "Z") {
    return Error{Code::kInvalidArgument, "'" + printable(text) +
                                             "' is no time. Write UTC as 2026-11-21T20:00:00Z, or "
                                             "a time from now as +2h."};
  }
  return UnixMillis(std::int64_t{::timegm(&parts)} * 1000);
}

}  // namespace ratchet::control::cli
