#pragma once

// What a job will cost, from closed formulas: shown by `check` before anything is loaded.
//
// Memory follows the closed form of dense decoder models with fused or recomputing operators:
// weights + 16 bytes a trained parameter (value, gradient, two moments; 10 with 8-bit moments)
// + saved activations + the loss's logits chunk. It is an estimate; the exact peak is measured
// while training.

#include <cstdint>

#include "proto/job_spec.h"
#include "trainer/data/forecast.h"
#include "trainer/train/job_inputs.h"

namespace ratchet::trainer {

struct JobForecast {
  DataForecast data;
  std::int64_t trained_parameters = 0;
  std::int64_t base_parameters = 0;
  std::int64_t weight_bytes = 0;      // frozen base as held
  std::int64_t state_bytes = 0;       // trained parameters, gradients, moments, one snapshot
  std::int64_t activation_bytes = 0;  // of the largest micro-batch
  std::int64_t loss_bytes = 0;        // logits of one chunk
  double flops = 0.0;                 // of the whole run
  [[nodiscard]] std::int64_t total_bytes() const {
    return weight_bytes + state_bytes + activation_bytes + loss_bytes;
  }
};

Result<JobForecast> forecast_job(const JobSpec& job, const JobInputs& inputs);

}  // namespace ratchet::trainer
