#include "proto/net/retry.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <ctime>
#include <string>

namespace ratchet::net {

namespace {

constexpr std::array<std::string_view, 12> kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

bool number_at(std::string_view text, std::size_t at, std::size_t digits, int& out) {
  if (text.size() < at + digits) return false;
  const char* end = text.data() + at + digits;
  const auto [last, fault] = std::from_chars(text.data() + at, end, out);
  return fault == std::errc() && last == end && out >= 0;
}

// "Sun, 06 Nov 1994 08:49:37 GMT", the one form that senders may use (RFC 9110, 5.6.7).
std::optional<std::chrono::sys_seconds> parse_http_date(std::string_view text) {
  if (text.size() != 29 || !text.ends_with(" GMT")) return std::nullopt;
  int day = 0;
  int year = 0;
  int hour = 0;
  int minute = 0;
  int second = 0;
  const auto month = std::ranges::find(kMonths, text.substr(8, 3));
  if (!number_at(text, 5, 2, day) || month == kMonths.end() || !number_at(text, 12, 4, year) ||
      !number_at(text, 17, 2, hour) || !number_at(text, 20, 2, minute) ||
      !number_at(text, 23, 2, second)) {
    return std::nullopt;
  }
  const std::chrono::year_month_day date{
      std::chrono::year(year),
      std::chrono::month(static_cast<unsigned>(month - kMonths.begin()) + 1),
      std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
  return std::chrono::sys_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) +
         std::chrono::seconds(second);
}

}  // namespace

Millis Backoff::next() {
  const double grown =
      static_cast<double>(policy_.first.count()) * std::pow(policy_.factor, std::min(tries_, 60));
  const double whole = std::min(grown, static_cast<double>(policy_.longest.count()));
  ++tries_;
  const double share = std::uniform_real_distribution<double>(0.5, 1.0)(random_);
  return Millis(static_cast<Millis::rep>(whole * share));
}

bool is_transient_status(int status) {
  if (status == 408 || status == 425 || status == 429) return true;
  return status >= 500 && status <= 599 && status != 501 && status != 505;
}

std::optional<Millis> parse_retry_after(std::string_view header,
                                        std::chrono::system_clock::time_point now) {
  constexpr std::int64_t kMost = 10LL * 365 * 24 * 3600;  // seconds
  std::int64_t seconds = 0;
  const auto [end, fault] = std::from_chars(header.begin(), header.end(), seconds);
  if (fault == std::errc() && end == header.end() && !header.empty()) {
    if (seconds < 0) return std::nullopt;
    return Millis(std::min(seconds, kMost) * 1000);
  }
  const auto date = parse_http_date(header);
  if (!date) return std::nullopt;
  // In whole seconds: a year of four digits overflows nanoseconds.
  const auto left = *date - std::chrono::floor<std::chrono::seconds>(now);
  return Millis(std::clamp<std::int64_t>(left.count(), 0, kMost) * 1000);
}

TokenBucket::TokenBucket(double per_second, double burst, Clock::time_point now)
    : per_second_(per_second), burst_(burst), tokens_(burst), last_(now) {}

void TokenBucket::refill(Clock::time_point now) {
  if (now <= last_) return;
  const std::chrono::duration<double> passed = now - last_;
  tokens_ = std::min(burst_, tokens_ + passed.count() * per_second_);
  last_ = now;
}

bool TokenBucket::take(Clock::time_point now, double tokens) {
  refill(now);
  if (tokens_ < tokens) return false;
  tokens_ -= tokens;
  return true;
}

Millis TokenBucket::wait_for(Clock::time_point now, double tokens) const {
  const std::chrono::duration<double> passed = std::max(now, last_) - last_;
  const double there = std::min(burst_, tokens_ + passed.count() * per_second_);
  if (there >= tokens) return Millis(0);
  return Millis(static_cast<Millis::rep>(std::ceil((tokens - there) / per_second_ * 1000)));
}

}  // namespace ratchet::net
