#pragma once

// Makes a model folder out of a config and a seed: for tests, benchmarks and training from scratch.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "proto/result.h"
#include "trainer/model/digest.h"
#include "trainer/model/model_config.h"

namespace ratchet::trainer {

// Fills `dst` with normal(0, stddev) values of the stream (seed, name), starting at element
// `first`: any split of a tensor into pieces gives the same values. Each value is the centred sum
// of twelve 16-bit uniforms of a counter-based generator, which is integer arithmetic and one
// multiplication, hence the same bits on every machine; |value| < 6 stddev.
void random_normal(std::uint64_t seed, std::string_view name, std::uint64_t first, double stddev,
                   std::span<float> dst);

struct RandomWeightsArgs {
  std::uint64_t seed = 0;
  DType dtype = DType::kBF16;                     // F32, BF16 or F16
  std::uint64_t max_shard_bytes = 5'000'000'000;  // larger models are sharded with an index
  int threads = 0;                                // 0: as many as the machine has
  DigestProgress progress;                        // bytes written, bytes in all
};

// Writes model.safetensors (or shards and index) for `config` into `folder`: matrices and
// embeddings normal(0, initializer_range), norms 1, biases 0. Holds at most a few MiB a thread.
Status write_random_weights(const std::filesystem::path& folder, const ModelConfig& config,
                            const RandomWeightsArgs& args);

// A whole model folder: the config.json at `config_file` (its dtype key set to `args.dtype`), the
// tokenizer files of `tokenizer_folder` (none when empty) and random weights. `out` must be new or
// empty.
Status make_random_model(const std::filesystem::path& out, const std::filesystem::path& config_file,
                         const std::filesystem::path& tokenizer_folder,
                         const RandomWeightsArgs& args);

}  // namespace ratchet::trainer
