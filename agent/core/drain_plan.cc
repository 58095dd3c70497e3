#include "agent/core/drain_plan.h"

#include <algorithm>
#include <cmath>

namespace ratchet::agent {

namespace {

constexpr Millis kAssumedSave{2000};
constexpr double kAssumedBytesPerSecond = 50e6;
constexpr Millis kLeastMargin{500};

}  // namespace

DrainPlan plan_drain(const DrainFigures& figures) {
  const Millis usable = figures.left - std::max(kLeastMargin, figures.left / 10);
  const Millis save = figures.save.value_or(kAssumedSave);
  const double speed = std::max(1.0, figures.upload_bytes_per_s.value_or(kAssumedBytesPerSecond));
  const double upload_ms = 1000.0 * static_cast<double>(figures.checkpoint.count()) / speed;
  DrainPlan plan;
  plan.upload_deadline = std::max(Millis{0}, usable);
  if (usable < save) return plan;
  const double spare_ms = static_cast<double>((usable - save).count());
  if (upload_ms > spare_ms) {
    plan.choice = DrainChoice::kSaveOnly;
    plan.save_deadline = usable;
    return plan;
  }
  plan.choice = DrainChoice::kSaveAndUpload;
  plan.save_deadline = usable - Millis{static_cast<std::int64_t>(std::ceil(upload_ms))};
  return plan;
}

}  // namespace ratchet::agent
