#include "trainer/data/tokenized_dataset.h"

#include <algorithm>

namespace ratchet::trainer {
namespace {

constexpr std::uint64_t kWordBits = 64;

}  // namespace

std::span<const std::int32_t> TokenizedDataset::ids(std::uint64_t sample) const {
  return std::span(ids_).subspan(offsets_[sample], lengths_[sample]);
}

bool TokenizedDataset::trained(std::uint64_t sample, std::uint32_t index) const {
  const std::uint64_t bit = offsets_[sample] + index;
  return ((mask_[bit / kWordBits] >> (bit % kWordBits)) & 1U) != 0;
}

std::uint64_t TokenizedDataset::trained_in(std::uint64_t sample) const {
  std::uint64_t count = 0;
  for (std::uint32_t i = 0; i < lengths_[sample]; ++i) count += trained(sample, i) ? 1 : 0;
  return count;
}

std::vector<std::uint64_t> TokenizedDataset::rows_of_samples() const {
  std::vector<std::uint64_t> rows;
  rows.reserve(origins_.size());
  for (const SampleOrigin& origin : origins_) rows.push_back(origin.row);
  return rows;
}

TokenizedDataset TokenizedDataset::subset(std::span<const std::uint64_t> samples) const {
  TokenizedDataset part;
  EncodedSample copy;
  for (const std::uint64_t sample : samples) {
    const auto source = ids(sample);
    copy.ids.assign(source.begin(), source.end());
    copy.train.resize(source.size());
    for (std::uint32_t i = 0; i < source.size(); ++i) copy.train[i] = trained(sample, i) ? 1 : 0;
    part.append(copy, origins_[sample]);
  }
  return part;
}

void TokenizedDataset::append(const EncodedSample& sample, const SampleOrigin& origin) {
  const std::uint64_t begin = ids_.size();
  ids_.insert(ids_.end(), sample.ids.begin(), sample.ids.end());
  mask_.resize((ids_.size() + kWordBits - 1) / kWordBits, 0);
  for (std::size_t i = 1; i < sample.train.size(); ++i) {  // a first token is never a target
    if (sample.train[i] == 0) continue;
    mask_[(begin + i) / kWordBits] |= 1ULL << ((begin + i) % kWordBits);
    ++trained_;
  }
  offsets_.push_back(begin);
  lengths_.push_back(static_cast<std::uint32_t>(sample.ids.size()));
  origins_.push_back(origin);
}

}  // namespace ratchet::trainer
