#include "trainer/train/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace ratchet::trainer {

double learning_rate_at(const LrSchedule& schedule, int64_t step) {
  if (step <= schedule.warmup_steps) {
    return schedule.peak * static_cast<double>(step) / static_cast<double>(schedule.warmup_steps);
  }
  const int64_t decay_steps = std::max<int64_t>(1, schedule.total_steps - schedule.warmup_steps);
  const int64_t done = std::min(step - 1 - schedule.warmup_steps, decay_steps);
  const double progress = static_cast<double>(done) / static_cast<double>(decay_steps);
  switch (schedule.kind) {
    case Schedule::kConstant:
      return schedule.peak;
    case Schedule::kLinear:
      return schedule.peak * (1.0 - progress);
    case Schedule::kCosine:
      return schedule.peak * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  }
  return schedule.peak;
}

}  // namespace ratchet::trainer
