#pragma once

// The order of samples: a pure function of (seed, data_epoch, index), with O(1) seek both ways.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace ratchet::trainer {

// What a permutation is for; different purposes of one seed give unrelated permutations.
enum class OrderPurpose : std::uint64_t { kSamples = 1, kRows = 2, kValidation = 3 };

// A bijection of [0, count): a balanced Feistel network over the next even number of bits, walked
// along its cycle until the value is inside. Golden values in tests/data/order_test.cc: the mapping
// never changes. Immutable, thread-safe. count may be 0 (then there is nothing to ask).
class Permutation {
 public:
  Permutation(std::uint64_t count, std::uint64_t seed, std::uint64_t data_epoch,
              OrderPurpose purpose);
  [[nodiscard]] std::uint64_t count() const { return count_; }
  // index < count(); at(position) = which element comes at this position.
  [[nodiscard]] std::uint64_t at(std::uint64_t position) const;
  // position_of(at(p)) == p.
  [[nodiscard]] std::uint64_t position_of(std::uint64_t element) const;

 private:
  static constexpr int kRounds = 8;
  [[nodiscard]] std::uint64_t encrypt(std::uint64_t value) const;
  [[nodiscard]] std::uint64_t decrypt(std::uint64_t value) const;

  std::uint64_t count_;
  int half_bits_;
  std::array<std::uint64_t, kRounds> keys_;
};

// A well-mixed 64-bit function of its input (the finaliser of splitmix64), shared by users of
// seeds.
std::uint64_t mix64(std::uint64_t value);

// Division of samples into training and validation: whole groups (rows of the file, so that the
// pairs of one conversation stay together) are drawn until round(share * groups) of them, at least
// one, are held out. A pure function of its arguments. `groups[i]` is the group of sample i,
// ascending. Both lists ascend. share 0: all train. A single group: all train.
struct SampleSplit {
  std::vector<std::uint64_t> train;
  std::vector<std::uint64_t> validation;
};
SampleSplit split_samples(std::span<const std::uint64_t> groups, double share, std::uint64_t seed);

}  // namespace ratchet::trainer
