#pragma once

// Samples of a tokenized data set as one flat micro-batch.

#include <cstdint>
#include <span>

#include "trainer/data/packing.h"
#include "trainer/data/tokenized_dataset.h"
#include "trainer/model/packed_batch.h"

namespace ratchet::trainer {

// Each segment becomes one segment of the batch; token i is to predict token i + 1 of its sample
// where that one is trained. sample_ids are indices into `data`.
PackedBatch make_batch(const TokenizedDataset& data, std::span<const Segment> segments,
                       std::uint64_t data_epoch);

}  // namespace ratchet::trainer
