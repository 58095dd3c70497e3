#pragma once

// A model for reading: loss and text, no gradients. LibTorch-free door, as step_engine.h.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proto/job_spec.h"
#include "proto/result.h"
#include "trainer/data/tokenized_dataset.h"
#include "trainer/model/hf_folder.h"
#include "trainer/train/step_engine.h"

namespace ratchet::trainer {

struct InferenceArgs {
  const HfFolder* folder = nullptr;
  std::string adapter;  // folder; empty: the base alone
  bool bf16 = false;
  Quantization quantization = Quantization::kNone;
  DeviceKind device = DeviceKind::kAuto;
};

struct SamplingArgs {
  std::int64_t max_new_tokens = 128;
  double temperature = 0.0;  // 0: greedy
  std::int64_t top_k = 0;    // 0: off
  double top_p = 1.0;        // 1: off
  std::uint64_t seed = 0;
  std::vector<std::int64_t> stop_token_ids;
};

// One thread at a time. Throws what LibTorch throws.
class InferenceModel {
 public:
  static Result<std::unique_ptr<InferenceModel>> open(const InferenceArgs& args);
  virtual ~InferenceModel() = default;

  // Sum over all samples, in order, a few at a time.
  virtual LossSum evaluate(const TokenizedDataset& data) = 0;
  // New ids, a stop token included; `sink` sees each at once and returns false to stop.
  virtual std::vector<std::int32_t> generate(std::span<const std::int32_t> prompt,
                                             const SamplingArgs& sampling,
                                             const std::function<bool(std::int32_t)>& sink) = 0;
};

}  // namespace ratchet::trainer
