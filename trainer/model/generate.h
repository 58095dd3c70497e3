#pragma once

// Text generation with a KV cache: greedy, or sampled from a seeded counter-based generator.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "trainer/model/causal_lm.h"

namespace ratchet::trainer {

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  double temperature = 0.0;  // 0: greedy, ties to the lowest id
  int64_t top_k = 0;         // 0: off. Keeps the k likeliest.
  double top_p = 1.0;        // 1: off. Keeps the likeliest until they hold this mass.
  uint64_t seed = 0;         // same seed, prompt and model: same text
  std::vector<int64_t> stop_token_ids;
};

// Called with each new token; false stops.
using TokenSink = std::function<bool(int32_t)>;

// The new tokens, a stop token included when one ended it. `prompt` must not be empty. Throws
// c10::Error on options out of range.
std::vector<int32_t> generate(const CausalLm& model, std::span<const int32_t> prompt,
                              const GenerateOptions& options, const TokenSink& sink = {});

}  // namespace ratchet::trainer
