#pragma once

// What a job has cost (TRN-15), a pure function of its attempts: seconds from accepted to ended (or
// to now) times the price per hour. Overhead is the time of a resumed attempt before its first new
// step; all else is training. Exact: sums of whole milliseconds, no rounding on the way.

#include <span>

#include "controlplane/core/rows.h"

namespace ratchet::control {

struct Cost {
  double usd = 0;  // training + overhead
  double training_usd = 0;
  double overhead_usd = 0;
  double training_s = 0;
  double overhead_s = 0;
  double usd_per_hour = 0;  // of the attempts that go on now
};

Cost cost_of(std::span<const AttemptRow> attempts, UnixMillis now);

}  // namespace ratchet::control
