#include "trainer/train/sample_batch.h"

namespace ratchet::trainer {

PackedBatch make_batch(const TokenizedDataset& data, std::span<const Segment> segments,
                       std::uint64_t data_epoch) {
  PackedBatch batch;
  batch.data_epoch = static_cast<int64_t>(data_epoch);
  batch.segment_offsets.push_back(0);
  for (const Segment& segment : segments) {
    const auto ids = data.ids(segment.sample);
    for (std::uint32_t i = 0; i < segment.length; ++i) {
      const bool has_target = i + 1 < segment.length && data.trained(segment.sample, i + 1);
      batch.ids.push_back(ids[i]);
      batch.targets.push_back(has_target ? ids[i + 1] : kNoTarget);
      batch.positions.push_back(static_cast<int32_t>(i));
    }
    batch.segment_offsets.push_back(static_cast<int32_t>(batch.ids.size()));
    batch.sample_ids.push_back(segment.sample);
  }
  return batch;
}

}  // namespace ratchet::trainer
