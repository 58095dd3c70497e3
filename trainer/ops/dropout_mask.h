#pragma once

// Dropout masks as a pure function of where an activation stands in the data, not of when or where
// it is computed: element (token t, column c) of module m in layer l is kept iff
//
//   word(c % 4) of philox4x32({c / 4, position[t], sample[t] low, sample[t] high}, key) >=
//   threshold key = stream_key(seed, kDropout, data_epoch, layer * kModulesPerLayer + module)
//   threshold = round(p * 2^32)
//
// sample[t] is the global index of the data row the token came from, position[t] its place in that
// sample. Micro-batch size, packing and number of ranks therefore do not change a mask, and
// backward makes it again instead of storing it. A mask is not scaled: callers fold 1 / (1 - p)
// into a factor they apply anyhow.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace ratchet::trainer::ops {

inline constexpr uint32_t kModulesPerLayer = 16;

// One module's stream in one pass over the data.
struct DropoutKey {
  uint64_t seed = 0;
  int64_t data_epoch = 0;
  uint32_t layer = 0;
  uint32_t module = 0;  // < kModulesPerLayer
};

// Where each token of a batch stands in the data. Both int64 [T] on the batch's device.
struct TokenPlaces {
  at::Tensor sample_T;
  at::Tensor position_T;  // < 2^32
};

// uint8 [T, columns], 1 = kept, on the device of `places`. 0 <= p < 1. CPU: a loop over threads;
// elsewhere the same bits from integer tensor operators. columns >= 0; throws c10::Error on a
// broken contract.
at::Tensor dropout_keep_mask(const DropoutKey& key, const TokenPlaces& places, int64_t columns,
                             double p);

// The two ways to make it, each usable on CPU tensors, so that a test can compare their bits.
at::Tensor dropout_keep_mask_loop(const DropoutKey& key, const TokenPlaces& places, int64_t columns,
                                  double p);
at::Tensor dropout_keep_mask_tensor(const DropoutKey& key, const TokenPlaces& places,
                                    int64_t columns, double p);

}  // namespace ratchet::trainer::ops
