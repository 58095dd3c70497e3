#pragma once

// How fast to try again, and how fast to ask at all (ERR-06). Pure: time and chance come in.

#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <string_view>

namespace ratchet::net {

using Millis = std::chrono::milliseconds;

struct RetryPolicy {
  Millis first{500};
  Millis longest{30000};
  double factor = 2;
};

// Waits grow by `factor`; each is drawn evenly from half of its value to the whole, so that many
// who failed together do not come back together.
class Backoff {
 public:
  Backoff(RetryPolicy policy, std::uint64_t seed) : policy_(policy), random_(seed) {}
  Millis next();
  void reset() { tries_ = 0; }
  [[nodiscard]] int tries() const { return tries_; }

 private:
  RetryPolicy policy_;
  std::mt19937_64 random_;
  int tries_ = 0;
};

// 408, 425, 429 and 5xx but 501 and 505: the same request may succeed later.
bool is_transient_status(int status);

// A Retry-After header: seconds, or a date compared with `now`. None when it is not understood.
std::optional<Millis> parse_retry_after(std::string_view header,
                                        std::chrono::system_clock::time_point now);

// At most `burst` at once and `per_second` in the long run.
class TokenBucket {
 public:
  using Clock = std::chrono::steady_clock;
  TokenBucket(double per_second, double burst, Clock::time_point now);
  bool take(Clock::time_point now, double tokens = 1);
  // Until `tokens` are there, when nobody takes in between.
  [[nodiscard]] Millis wait_for(Clock::time_point now, double tokens = 1) const;

 private:
  void refill(Clock::time_point now);
  double per_second_;
  double burst_;
  double tokens_;
  Clock::time_point last_;
};

}  // namespace ratchet::net
