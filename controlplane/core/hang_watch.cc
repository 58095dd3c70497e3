#include "controlplane/core/hang_watch.h"

#include <algorithm>
#include <vector>

namespace ratchet::control {

void HangWatch::observe(std::int64_t step, Millis step_age, Millis at) {
  const Millis stepped_at = at - std::max(step_age, Millis{0});
  if (last_step_ >= 0 && step > last_step_) {
    const Millis each = std::max(stepped_at - last_step_at_, Millis{0}) / (step - last_step_);
    times_[count_ % kKept] = each;
    ++count_;
    stepped_ = true;
  }
  if (step > last_step_) {
    last_step_ = step;
    last_step_at_ = stepped_at;
  }
}

std::optional<Millis> HangWatch::p99() const {
  const std::size_t kept = std::min(count_, kKept);
  if (kept == 0) return std::nullopt;
  std::vector<Millis> sorted(times_.begin(), times_.begin() + static_cast<std::ptrdiff_t>(kept));
  std::ranges::sort(sorted);
  return sorted[(kept * 99 + 99) / 100 - 1];
}

Millis HangWatch::limit(const CoreSettings& settings) const {
  if (!stepped_) return std::max(settings.first_step_allowance, settings.hang_floor);
  const double learned = static_cast<double>(p99()->count()) * settings.hang_factor;
  return std::max(settings.hang_floor, Millis{static_cast<std::int64_t>(learned)});
}

}  // namespace ratchet::control
