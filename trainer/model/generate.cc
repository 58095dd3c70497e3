#include "trainer/model/generate.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "trainer/ops/philox.h"

namespace ratchet::trainer {
namespace {

struct Candidate {
  int32_t id;
  double weight;  // unnormalised probability
};

int32_t greedy(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// Likeliest first (ties to the lower id), cut by top_k and top_p.
std::vector<Candidate> candidates(std::span<const float> logits, const GenerateOptions& options) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto likelier = [&logits](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
  std::sort(order.begin(), order.end(), likelier);
  if (options.top_k > 0 && static_cast<size_t>(options.top_k) < order.size()) {
    order.resize(static_cast<size_t>(options.top_k));
  }
  const double top = logits[static_cast<size_t>(order.front())];
  std::vector<Candidate> kept;
  double total = 0.0;
  for (const int32_t id : order) {
    const double weight = std::exp((static_cast<double>(logits[static_cast<size_t>(id)]) - top) /
                                   options.temperature);
    kept.push_back({id, weight});
    total += weight;
  }
  double mass = 0.0;
  for (size_t i = 0; i < kept.size(); ++i) {
    mass += kept[i].weight;
    if (mass >= options.top_p * total) {
      kept.resize(i + 1);
      break;
    }
  }
  return kept;
}

int32_t sample(std::span<const float> logits, const GenerateOptions& options, uint64_t step) {
  const std::vector<Candidate> kept = candidates(logits, options);
  double total = 0.0;
  for (const Candidate& candidate : kept) {
    total += candidate.weight;
  }
  const ops::PhiloxCounter words =
      ops::philox4x32({static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32), 0, 0},
                      ops::stream_key(options.seed, ops::RandomUse::kSampling, 0, 0));
  double left = static_cast<double>(words[0]) * 0x1.0p-32 * total;
  for (const Candidate& candidate : kept) {
    left -= candidate.weight;
    if (left < 0.0) {
      return candidate.id;
    }
  }
  return kept.back().id;
}

void check(const GenerateOptions& options, std::span<const int32_t> prompt) {
  TORCH_CHECK(!prompt.empty(), "generate: the prompt has no token");
  TORCH_CHECK(options.temperature >= 0.0 && std::isfinite(options.temperature),
              "generate: temperature must be 0 or more, got ", options.temperature);
  TORCH_CHECK(options.top_p > 0.0 && options.top_p <= 1.0,
              "generate: top_p must be in (0, 1], got ", options.top_p);
  TORCH_CHECK(options.top_k >= 0, "generate: top_k must be 0 or more, got ", options.top_k);
}

}  // namespace

std::vector<int32_t> generate(const CausalLm& model, std::span<const int32_t> prompt,
                              const GenerateOptions& options, const TokenSink& sink) {
  check(options, prompt);
  KvCache cache;
  std::vector<int32_t> fresh;
  std::span<const int32_t> input = prompt;
  while (static_cast<int64_t>(fresh.size()) < options.max_new_tokens) {
    const at::Tensor logits = model.next_logits(input, cache);
    const std::span<const float> row(logits.const_data_ptr<float>(),
                                     static_cast<size_t>(logits.numel()));
    fresh.push_back(options.temperature == 0.0 ? greedy(row) : sample(row, options, fresh.size()));
    const int32_t token = fresh.back();
    const auto& stops = options.stop_token_ids;
    const bool stop = std::find(stops.begin(), stops.end(), token) != stops.end();
    if ((sink && !sink(token)) || stop) {
      break;
    }
    input = std::span(fresh).last(1);
  }
  return fresh;
}

}  // namespace ratchet::trainer
