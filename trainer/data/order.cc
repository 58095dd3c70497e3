#include "trainer/data/order.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace ratchet::trainer {

std::uint64_t mix64(std::uint64_t value) {
  // The finaliser of splitmix64 (Steele, Lea, Flood 2014), with its published constants.
  value += 0x9e3779b97f4a7c15ULL;
  value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27U)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31U);
}

Permutation::Permutation(std::uint64_t count, std::uint64_t seed, std::uint64_t data_epoch,
                         OrderPurpose purpose)
    : count_(count), half_bits_(1), keys_{} {
  const int bits = count <= 1 ? 1 : static_cast<int>(std::bit_width(count - 1));
  half_bits_ = (bits + 1) / 2;
  std::uint64_t key = mix64(seed);
  key = mix64(key ^ data_epoch);
  key = mix64(key ^ static_cast<std::uint64_t>(purpose));
  for (std::uint64_t& round_key : keys_) {
    key = mix64(key);
    round_key = key;
  }
}

std::uint64_t Permutation::encrypt(std::uint64_t value) const {
  const std::uint64_t mask = (1ULL << static_cast<unsigned>(half_bits_)) - 1;
  std::uint64_t left = value >> static_cast<unsigned>(half_bits_);
  std::uint64_t right = value & mask;
  for (const std::uint64_t key : keys_) {
    const std::uint64_t next = left ^ (mix64(right ^ key) & mask);
    left = right;
    right = next;
  }
  return (left << static_cast<unsigned>(half_bits_)) | right;
}

std::uint64_t Permutation::decrypt(std::uint64_t value) const {
  const std::uint64_t mask = (1ULL << static_cast<unsigned>(half_bits_)) - 1;
  std::uint64_t left = value >> static_cast<unsigned>(half_bits_);
  std::uint64_t right = value & mask;
  for (auto key = keys_.rbegin(); key != keys_.rend(); ++key) {
    const std::uint64_t before = right ^ (mix64(left ^ *key) & mask);
    right = left;
    left = before;
  }
  return (left << static_cast<unsigned>(half_bits_)) | right;
}

// The Feistel network permutes [0, 4^half_bits_), less than four times count_ (or 4 values).
// Walking the cycle from a value inside ends inside, after fewer than four steps on average.
std::uint64_t Permutation::at(std::uint64_t position) const {
  std::uint64_t value = encrypt(position);
  while (value >= count_) value = encrypt(value);
  return value;
}

std::uint64_t Permutation::position_of(std::uint64_t element) const {
  std::uint64_t value = decrypt(element);
  while (value >= count_) value = decrypt(value);
  return value;
}

SampleSplit split_samples(std::span<const std::uint64_t> groups, double share, std::uint64_t seed) {
  std::uint64_t group_count = 0;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (i == 0 || groups[i] != groups[i - 1]) ++group_count;
  }
  std::uint64_t held_out = 0;
  if (share > 0.0 && group_count > 1) {
    const auto wanted =
        static_cast<std::uint64_t>(std::llround(share * static_cast<double>(group_count)));
    held_out = std::clamp<std::uint64_t>(wanted, 1, group_count - 1);
  }
  const Permutation order(group_count, seed, 0, OrderPurpose::kValidation);
  SampleSplit split;
  std::uint64_t group = 0;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (i > 0 && groups[i] != groups[i - 1]) ++group;
    const bool validation = held_out > 0 && order.position_of(group) < held_out;
    (validation ? split.validation : split.train).push_back(i);
  }
  return split;
}

}  // namespace ratchet::trainer
