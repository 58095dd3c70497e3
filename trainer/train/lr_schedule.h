#pragma once

// Learning rate as a pure function of the step, so that a resumed job needs no state for it.

#include <cstdint>

#include "proto/job_spec.h"

namespace ratchet::trainer {

struct LrSchedule {
  Schedule kind = Schedule::kCosine;
  double peak = 0.0;         // learning rate after the warm-up
  int64_t warmup_steps = 0;  // linear from peak / warmup_steps at step 1 to peak
  int64_t total_steps = 1;   // cosine and linear reach 0 after this step
};

// Rate of the update that completes `step` (1-based). Steps past total_steps give the last rate.
double learning_rate_at(const LrSchedule& schedule, int64_t step);

}  // namespace ratchet::trainer
