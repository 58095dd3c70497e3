#include "trainer/data/packing.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <limits>
#include <set>
#include <tuple>
#include <utility>

#include "trainer/data/order.h"
#include "trainer/model/digest.h"
#include "trainer/model/file_io.h"

namespace ratchet::trainer {
namespace {

static_assert(std::endian::native == std::endian::little, "digests are over little-endian numbers");
static_assert(sizeof(Segment) == 8);

// Rows as flat lists: row i is segments[offsets[i] .. offsets[i + 1]).
struct FlatRows {
  std::vector<Segment> segments;
  std::vector<std::uint64_t> offsets{0};

  void close_row() { offsets.push_back(segments.size()); }
  [[nodiscard]] std::uint64_t rows() const { return offsets.size() - 1; }
  [[nodiscard]] std::span<const Segment> row(std::uint64_t index) const {
    return std::span(segments).subspan(offsets[index], offsets[index + 1] - offsets[index]);
  }
};

// Best fit into at most kOpenRows open rows; rows are closed when they are full, when they must
// make room for a new one (the fullest goes first), and at the end in the order in which they were
// opened.
class Packer {
 public:
  Packer(std::uint32_t capacity, FlatRows& out) : capacity_(capacity), out_(out) {}

  void add(const Segment& segment) {
    // The open row that the sample fills best; of equal ones the oldest.
    auto found = by_room_.lower_bound({segment.length, 0, 0});
    Open open;
    if (found != by_room_.end()) {
      open = *found;
      by_room_.erase(found);
    } else {
      if (by_room_.size() >= kOpenRows) close(by_room_.begin());
      open = {capacity_, next_number_++, take_slot()};
    }
    const std::uint32_t slot = std::get<2>(open);
    slots_[slot].push_back(segment);
    std::get<0>(open) -= segment.length;
    const auto placed = by_room_.insert(open).first;
    if (std::get<0>(open) == 0) close(placed);
  }

  void finish() {
    std::vector<Open> rest(by_room_.begin(), by_room_.end());
    std::sort(rest.begin(), rest.end(),
              [](const Open& a, const Open& b) { return std::get<1>(a) < std::get<1>(b); });
    for (const Open& open : rest) close(by_room_.find(open));
  }

 private:
  using Open = std::tuple<std::uint32_t, std::uint64_t, std::uint32_t>;  // room, number, slot

  std::uint32_t take_slot() {
    if (free_.empty()) {
      slots_.emplace_back();
      return static_cast<std::uint32_t>(slots_.size() - 1);
    }
    const std::uint32_t slot = free_.back();
    free_.pop_back();
    return slot;
  }

  void close(std::set<Open>::iterator open) {
    const std::uint32_t slot = std::get<2>(*open);
    out_.segments.insert(out_.segments.end(), slots_[slot].begin(), slots_[slot].end());
    out_.close_row();
    slots_[slot].clear();
    free_.push_back(slot);
    by_room_.erase(open);
  }

  std::uint32_t capacity_;
  FlatRows& out_;
  std::set<Open> by_room_;
  std::vector<std::vector<Segment>> slots_;
  std::vector<std::uint32_t> free_;
  std::uint64_t next_number_ = 0;
};

Status check_lengths(std::span<const std::uint32_t> lengths, std::uint32_t sequence_length) {
  if (lengths.empty()) {
    return Error{Code::kInvalidArgument, "There are no samples to train on."};
  }
  if (lengths.size() > std::numeric_limits<std::uint32_t>::max()) {
    return Error{Code::kUnsupported, cat("The data set has ", lengths.size(),
                                         " samples; at most 4294967295 can be ordered.")};
  }
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] == 0 || lengths[i] > sequence_length) {
      return Error{Code::kInvalidArgument,
                   cat("Sample ", i, " has ", lengths[i], " tokens; a row of ", sequence_length,
                       " tokens takes samples of 1 to that many.")};
    }
  }
  return ok();
}

std::string plan_digest(const PackingOptions& options, std::uint64_t data_epoch,
                        const std::vector<Segment>& segments,
                        const std::vector<std::uint64_t>& offsets) {
  const std::uint64_t head[] = {options.seed, options.sequence_length,
                                static_cast<std::uint64_t>(options.packing), data_epoch,
                                offsets.size() - 1};
  Sha256 digest;
  digest.update("ratchet plan 1\n");
  digest.update(std::as_bytes(std::span(head)));
  digest.update(std::as_bytes(std::span(offsets)));
  digest.update(std::as_bytes(std::span(segments)));
  const Sha256Digest bytes = digest.finish();
  return to_hex(bytes);
}

}  // namespace

Result<EpochPlan> EpochPlan::make(std::span<const std::uint32_t> lengths,
                                  const PackingOptions& options, std::uint64_t data_epoch) {
  if (auto status = check_lengths(lengths, options.sequence_length); !status) {
    return status.error();
  }
  const Permutation order(lengths.size(), options.seed, data_epoch, OrderPurpose::kSamples);
  FlatRows packed;
  packed.segments.reserve(lengths.size());
  Packer packer(options.sequence_length, packed);
  for (std::uint64_t i = 0; i < lengths.size(); ++i) {
    const auto sample = static_cast<std::uint32_t>(order.at(i));
    const Segment segment{sample, lengths[sample]};
    if (options.packing) {
      packer.add(segment);
    } else {
      packed.segments.push_back(segment);
      packed.close_row();
    }
  }
  EpochPlan plan;
  plan.data_epoch_ = data_epoch;
  if (options.packing) {
    packer.finish();
    // Rows close in an order that follows their fullness; shuffling them removes that.
    const Permutation row_order(packed.rows(), options.seed, data_epoch, OrderPurpose::kRows);
    FlatRows shuffled;
    shuffled.segments.reserve(packed.segments.size());
    for (std::uint64_t i = 0; i < packed.rows(); ++i) {
      const auto row = packed.row(row_order.at(i));
      shuffled.segments.insert(shuffled.segments.end(), row.begin(), row.end());
      shuffled.close_row();
    }
    packed = std::move(shuffled);
  }
  plan.segments_ = std::move(packed.segments);
  plan.offsets_ = std::move(packed.offsets);
  plan.digest_ = plan_digest(options, data_epoch, plan.segments_, plan.offsets_);
  return plan;
}

std::span<const Segment> EpochPlan::row(std::uint64_t index) const {
  return std::span(segments_).subspan(offsets_[index], offsets_[index + 1] - offsets_[index]);
}

std::uint64_t EpochPlan::row_tokens(std::uint64_t index) const {
  std::uint64_t tokens = 0;
  for (const Segment& segment : row(index)) tokens += segment.length;
  return tokens;
}

StepSchedule::StepSchedule(std::span<const std::uint32_t> lengths, const PackingOptions& options,
                           const RunLength& length)
    : lengths_(lengths), options_(options), length_(length) {}

Result<StepSchedule> StepSchedule::make(std::span<const std::uint32_t> lengths,
                                        const PackingOptions& options, const RunLength& length) {
  if (length.global_batch == 0) {
    return Error{Code::kInvalidArgument, "The global batch is 0 rows; it must be 1 or more."};
  }
  if (length.data_epochs.has_value() == length.max_steps.has_value()) {
    return Error{Code::kInvalidArgument,
                 "Exactly one of data_epochs and max_steps must say how long the run is."};
  }
  auto first = EpochPlan::make(lengths, options, 0);
  if (!first) return first.error();
  StepSchedule schedule(lengths, options, length);
  schedule.rows_in_epoch_.push_back(first->rows());
  schedule.plans_.push_back(std::make_unique<EpochPlan>(*std::move(first)));
  return schedule;
}

const EpochPlan& StepSchedule::plan(std::uint64_t data_epoch) {
  constexpr std::size_t kKept = 2;
  for (const auto& plan : plans_) {
    if (plan->data_epoch() == data_epoch) return *plan;
  }
  // make() checked the lengths, so this cannot fail.
  auto made = EpochPlan::make(lengths_, options_, data_epoch);
  if (plans_.size() >= kKept) plans_.erase(plans_.begin());
  plans_.push_back(std::make_unique<EpochPlan>(std::move(made).value()));
  return *plans_.back();
}

std::uint64_t StepSchedule::steps_in(std::uint64_t data_epoch) {
  while (rows_in_epoch_.size() <= data_epoch) {
    rows_in_epoch_.push_back(options_.packing ? plan(rows_in_epoch_.size()).rows()
                                              : lengths_.size());
  }
  return (rows_in_epoch_[data_epoch] + length_.global_batch - 1) / length_.global_batch;
}

std::uint64_t StepSchedule::total_steps() {
  if (length_.max_steps) return *length_.max_steps;
  std::uint64_t steps = 0;
  for (std::uint64_t epoch = 0; epoch < *length_.data_epochs; ++epoch) steps += steps_in(epoch);
  return steps;
}

StepRows StepSchedule::rows_of(std::uint64_t step) {
  std::uint64_t epoch = 0;
  while (step >= steps_in(epoch)) step -= steps_in(epoch++);
  const std::uint64_t begin = step * length_.global_batch;
  return {epoch, begin, std::min(begin + length_.global_batch, rows_in_epoch_[epoch])};
}

DataCursor StepSchedule::cursor_before(std::uint64_t step) {
  const StepRows rows = rows_of(step);
  return {rows.data_epoch, rows.begin};
}

std::optional<std::uint64_t> StepSchedule::step_at(const DataCursor& cursor) {
  std::uint64_t step = 0;
  for (std::uint64_t epoch = 0; epoch < cursor.data_epoch; ++epoch) step += steps_in(epoch);
  (void)steps_in(cursor.data_epoch);
  const bool starts_a_step =
      cursor.row % length_.global_batch == 0 && cursor.row < rows_in_epoch_[cursor.data_epoch];
  if (!starts_a_step) return std::nullopt;
  return step + cursor.row / length_.global_batch;
}

}  // namespace ratchet::trainer
