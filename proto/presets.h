#pragma once

// Named, versioned presets: complete sets of hyperparameters that fill what a user did not write.
//
// A preset's numbers never change under the same version, so that a recorded "balanced@1" always
// means the same; better numbers get the next version and the bare name then means that one.

#include <optional>
#include <span>
#include <string_view>

#include "proto/job_spec.h"

namespace ratchet {

struct Preset {
  std::string_view name;  // "conservative", "balanced", "aggressive"
  std::int64_t version;
  std::string_view purpose;  // one sentence for help texts
  std::int64_t rank;
  std::int64_t alpha;
  double dropout;
  double learning_rate;
  std::int64_t data_epochs;
  std::int64_t micro_batch;
  std::int64_t global_batch;
  bool gradient_checkpointing;
};

// Every version of every preset, oldest version first.
std::span<const Preset> presets();

// "balanced" (newest version) or "balanced@1"; null when there is none. Static lifetime.
const Preset* find_preset(std::string_view reference);

// Writes the preset's values and reference over `spec`, nothing else.
void apply_preset(const Preset& preset, JobSpec& spec);

}  // namespace ratchet
