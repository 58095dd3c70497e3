#pragma once

// The resume witness (rung V8): bits of loss and gradient norm of the two steps after a checkpoint.
//
// The run that wrote checkpoint N appends a line each for steps N+1 and N+2 to witness.jsonl. A
// later resume from N computes the same two steps; unequal bits in class A are an alarm:
// loss of N+1: weights or data differ; gradient norm of N+1: the backward pass differs; only N+2:
// the optimizer's moments differ.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "trainer/checkpoint/file_system.h"
#include "trainer/checkpoint/manifest.h"

namespace ratchet::trainer {

struct WitnessRecord {
  std::uint64_t checkpoint_step = 0;  // N
  std::uint64_t step = 0;             // N+1 or N+2
  double loss = 0;
  double grad_norm = 0;  // before clipping
  std::string env_digest;
  bool operator==(const WitnessRecord&) const = default;
};

// Of all fields: only runs of the same fingerprint can be compared.
std::string env_digest(const EnvFingerprint& env);

// One write without a sync, so that the step loop may call it: a killed process loses nothing.
Status append_witness(FileSystem& fs, const std::string& job_dir, const WitnessRecord& record);

// Records of checkpoint `step` made under `env_digest`, at most one a step, the latest. Unreadable
// lines are skipped: the file is evidence, not state.
Result<std::vector<WitnessRecord>> read_witness(FileSystem& fs, const std::string& job_dir,
                                                std::uint64_t checkpoint_step,
                                                std::string_view env_digest);

struct WitnessMismatch {
  std::uint64_t step = 0;
  std::string quantity;     // "loss" or "grad_norm"
  std::string explanation;  // full sentence with both values and their bits
};

// Compares the bits of one step with what was recorded. Empty: equal, or nothing recorded for it.
std::optional<WitnessMismatch> compare_witness(const std::vector<WitnessRecord>& recorded,
                                               const WitnessRecord& now);

}  // namespace ratchet::trainer
