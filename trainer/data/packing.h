#pragma once

// Which samples make up which row, in which order, for one pass over the data; and the way from a
// step number to rows.
//
// A sample is never cut, never lost, never in two rows. Rows are data only: attention never crosses
// the segments of a row (trainer/ops). The plan depends on sample lengths, seed, data_epoch,
// sequence_length and `packing`, and on nothing else: not on micro-batch, devices or threads.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "proto/result.h"

namespace ratchet::trainer {

struct Segment {
  std::uint32_t sample = 0;  // index into the tokenized data set
  std::uint32_t length = 0;  // its tokens
  bool operator==(const Segment&) const = default;
};

struct PackingOptions {
  std::uint64_t seed = 0;
  std::uint32_t sequence_length = 0;  // tokens a row at most
  bool packing = true;                // false: one sample a row, in shuffled order
};

// How many rows are kept open while samples come in shuffled order; each sample goes to the open
// row that it fills best. A constant of the plan (its digest depends on it).
inline constexpr std::size_t kOpenRows = 256;

class EpochPlan {
 public:
  // lengths[i] is the tokens of sample i: 1 to sequence_length, at most 2^32 - 1 samples.
  // Errors: a length outside these bounds, no samples.
  static Result<EpochPlan> make(std::span<const std::uint32_t> lengths,
                                const PackingOptions& options, std::uint64_t data_epoch);

  [[nodiscard]] std::uint64_t rows() const { return offsets_.size() - 1; }
  [[nodiscard]] std::span<const Segment> row(std::uint64_t index) const;
  [[nodiscard]] std::uint64_t row_tokens(std::uint64_t index) const;
  [[nodiscard]] std::uint64_t data_epoch() const { return data_epoch_; }
  // SHA-256 (hex) over options, data_epoch and every row; kept with the checkpoint.
  [[nodiscard]] const std::string& digest() const { return digest_; }

 private:
  EpochPlan() = default;
  std::vector<Segment> segments_;
  std::vector<std::uint64_t> offsets_;  // row i is segments_[offsets_[i] .. offsets_[i + 1])
  std::uint64_t data_epoch_ = 0;
  std::string digest_;
};

// Where a run stands in the data: the next row to be taken.
struct DataCursor {
  std::uint64_t data_epoch = 0;
  std::uint64_t row = 0;
  bool operator==(const DataCursor&) const = default;
};

// The rows of one optimizer step: [begin, end) of the plan of data_epoch. The last step of a data
// epoch takes what is left, so no step mixes two data epochs.
struct StepRows {
  std::uint64_t data_epoch = 0;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  bool operator==(const StepRows&) const = default;
};

struct RunLength {
  std::uint64_t global_batch = 1;            // rows a step
  std::optional<std::uint64_t> data_epochs;  // exactly one of the two
  std::optional<std::uint64_t> max_steps;
};

// Steps of a run, 0-based, and their rows. Plans are computed when first needed; the two newest are
// kept. Not thread-safe. `lengths` must outlive it.
class StepSchedule {
 public:
  // Errors: those of EpochPlan::make; global_batch 0; not exactly one of data_epochs, max_steps.
  static Result<StepSchedule> make(std::span<const std::uint32_t> lengths,
                                   const PackingOptions& options, const RunLength& length);

  // Steps of the whole run. With data_epochs set this computes every epoch's plan once.
  std::uint64_t total_steps();
  // Rows of step `step`; step may exceed total_steps() (the data goes on).
  StepRows rows_of(std::uint64_t step);
  // Position before `step`, and the step that starts at a position (nullopt: none does).
  DataCursor cursor_before(std::uint64_t step);
  std::optional<std::uint64_t> step_at(const DataCursor& cursor);
  // The plan of a data epoch; the reference holds until plan() was called for two others.
  const EpochPlan& plan(std::uint64_t data_epoch);

 private:
  StepSchedule(std::span<const std::uint32_t> lengths, const PackingOptions& options,
               const RunLength& length);
  std::uint64_t steps_in(std::uint64_t data_epoch);

  std::span<const std::uint32_t> lengths_;
  PackingOptions options_;
  RunLength length_;
  std::vector<std::uint64_t> rows_in_epoch_;       // as far as known
  std::vector<std::unique_ptr<EpochPlan>> plans_;  // newest last
};

}  // namespace ratchet::trainer
