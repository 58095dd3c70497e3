#pragma once

// One micro-batch as the model sees it: a flat stream of T tokens without padding, cut into
// segments that do not see each other. Plain values, torch-free: data code fills it, CausalLm
// reads it.

#include <cstdint>
#include <vector>

namespace ratchet::trainer {

inline constexpr int32_t kNoTarget = -1;

struct PackedBatch {
  std::vector<int32_t> ids;              // [T] input tokens
  std::vector<int32_t> targets;          // [T] what ids[t] must predict (already shifted by one),
                                         //     or kNoTarget where the token bears no loss
  std::vector<int32_t> positions;        // [T] place in the sample, from 0; also rope's position
  std::vector<int32_t> segment_offsets;  // [S + 1] ascending, 0 first, T last
  std::vector<int64_t> sample_ids;       // [S] global index of the data row, for dropout
  int64_t data_epoch = 0;                // pass over the data, for dropout
};

}  // namespace ratchet::trainer
