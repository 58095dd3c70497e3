#pragma once

// What the simulation believes in: jobs whose training is a chain of hashes, and the artifacts that
// agents have stored. The chain of an undisturbed run is chain_at(job, total).

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "proto/cluster.h"
#include "proto/ids.h"
#include "proto/sync_message.h"
#include "tests/sim/random.h"

namespace ratchet::sim {

enum class TrainerFault { kHang, kOomHost, kGpuFault, kInternal, kSilentDeath, kUserError, kCount };

struct PlannedFault {
  std::int64_t attempt_no = 0;
  std::int64_t step = 0;
  TrainerFault kind = TrainerFault::kHang;
};

struct ModelJob {
  JobId id;
  std::uint64_t seed = 0;
  std::int64_t total = 0;
  std::int64_t every = 0;  // steps between checkpoints
  Millis step_time{0};
  std::vector<PlannedFault> faults;
};

inline std::uint64_t chain_next(const ModelJob& job, std::int64_t step, std::uint64_t state) {
  return mix(mix(state, job.seed), static_cast<std::uint64_t>(step));
}
inline std::uint64_t chain_at(const ModelJob& job, std::int64_t step) {
  std::uint64_t state = job.seed;
  for (std::int64_t i = 1; i <= step; ++i) state = chain_next(job, i, state);
  return state;
}

struct Artifact {
  JobId job_id;
  std::int64_t step = 0;
  std::uint64_t state = 0;
  std::string manifest;
  bool is_result = false;
};

// Switches of a clock: mono = offset + rate * true time.
struct Clock {
  Millis offset{0};
  double rate = 1.0;
  [[nodiscard]] Millis at(Millis now) const {
    return offset + Millis{static_cast<std::int64_t>(rate * static_cast<double>(now.count()))};
  }
  // Earliest true time at which the clock shows `mono` or more.
  [[nodiscard]] Millis when(Millis mono) const {
    return Millis{static_cast<std::int64_t>(static_cast<double>((mono - offset).count()) / rate) +
                  2};
  }
};

}  // namespace ratchet::sim
