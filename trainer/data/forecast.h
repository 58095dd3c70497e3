#pragma once

// What a run will go through, from the tokenized data alone: rows, tokens, steps.

#include <cstdint>
#include <span>

#include "proto/result.h"
#include "trainer/data/packing.h"
#include "trainer/data/tokenized_dataset.h"

namespace ratchet::trainer {

struct DataForecast {
  std::uint64_t samples = 0;
  std::uint64_t tokens = 0;          // a data epoch
  std::uint64_t trained_tokens = 0;  // a data epoch
  std::uint64_t rows = 0;            // of data epoch 0
  double fill = 0.0;                 // tokens / (rows * sequence_length) of data epoch 0
  std::uint64_t steps = 0;           // whole run
  std::uint64_t run_tokens = 0;      // whole run (exact for whole data epochs, else in proportion)
};

Result<DataForecast> forecast_data(const TokenizedDataset& dataset, const PackingOptions& packing,
                                   const RunLength& length);

}  // namespace ratchet::trainer
