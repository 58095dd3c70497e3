#pragma once

// What goes into a checkpoint and comes out of it: three flat fp32 arenas and their layout.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "trainer/checkpoint/layout.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/trainer_state.h"
#include "trainer/model/lora_layout.h"

namespace ratchet::trainer {

// Host memory, each of layout.arena_size floats. Borrowed.
struct ArenaViews {
  std::span<const float> params;
  std::span<const float> exp_avg;
  std::span<const float> exp_avg_sq;
};

struct ArenaTargets {
  std::span<float> params;
  std::span<float> exp_avg;
  std::span<float> exp_avg_sq;
};

// One state of one step. Everything borrowed outlives the call that takes it.
struct CheckpointContent {
  WeightsKind kind = WeightsKind::kAdapter;
  const ArenaLayout* layout = nullptr;
  ArenaViews arenas;
  std::string adapter_config;  // text of adapter_config.json; empty exactly when kind is kFull
  TrainerState state;
  ManifestHeader header;
};

// Hex SHA-256 over name, dtype, shape and XXH3-128 of the content of every tensor of weights and
// optimizer, sorted by name. Equal digests: the same training state, whatever files hold it. Used
// on load and once more on what has been copied to a GPU and back (rung V7).
std::string tensors_digest(const ArenaLayout& layout, const ArenaViews& arenas, std::uint64_t step);

// The same, fed tensor by tensor, for content that streams by.
class TensorsDigest {
 public:
  // `shape` as in the file; `xxh3_128` in hex.
  void add(std::string name, std::string_view dtype, std::span<const std::int64_t> shape,
           std::string_view xxh3_128);
  std::string finish();

 private:
  std::vector<std::string> lines_;
};

}  // namespace ratchet::trainer
