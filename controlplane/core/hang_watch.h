#pragma once

// Learns how long a job's steps take and says when a trainer that runs has stood still too long.
// Pure: fed with what reports say. Keeps the last kKept step times.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "controlplane/core/control_core.h"

namespace ratchet::control {

class HangWatch {
 public:
  // A report: `step` steps are done, the last sign of life was step_age before `at`.
  void observe(std::int64_t step, Millis step_age, Millis at);
  // How long a trainer may stand still: max(floor, factor x p99), before the first step longer.
  [[nodiscard]] Millis limit(const CoreSettings& settings) const;
  [[nodiscard]] std::optional<Millis> p99() const;

 private:
  static constexpr std::size_t kKept = 128;
  std::array<Millis, kKept> times_{};
  std::size_t count_ = 0;  // ever
  std::int64_t last_step_ = -1;
  Millis last_step_at_{0};
  bool stepped_ = false;
};

}  // namespace ratchet::control
