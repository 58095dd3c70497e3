#pragma once

// Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel Random
// Numbers: As Easy as 1, 2, 3", SC 2011 (constants of their section 4.3, ten rounds). A pure
// function of (counter, key): no state, so the same numbers come out whatever the order, the
// threads or the ranks that ask for them. Torch-free; safe from any thread.

#include <array>
#include <cstdint>

namespace ratchet::trainer::ops {

using PhiloxCounter = std::array<uint32_t, 4>;
using PhiloxKey = std::array<uint32_t, 2>;

inline constexpr uint32_t kPhiloxM0 = 0xD2511F53U;
inline constexpr uint32_t kPhiloxM1 = 0xCD9E8D57U;
inline constexpr uint32_t kPhiloxW0 = 0x9E3779B9U;
inline constexpr uint32_t kPhiloxW1 = 0xBB67AE85U;
inline constexpr int kPhiloxRounds = 10;

// Forced inline so that a caller built for a wider instruction set vectorises it.
[[gnu::always_inline]] inline PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t product0 = uint64_t{kPhiloxM0} * counter[0];
    const uint64_t product1 = uint64_t{kPhiloxM1} * counter[2];
    const auto high0 = static_cast<uint32_t>(product0 >> 32);
    const auto high1 = static_cast<uint32_t>(product1 >> 32);
    counter = {high1 ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               high0 ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += kPhiloxW0;
    key[1] += kPhiloxW1;
  }
  return counter;
}

// What a stream of random numbers is for; part of every key, so that no two uses share numbers.
enum class RandomUse : uint32_t {
  kDropout = 1,
  kLoraInit = 2,
  kSampling = 3,
};

// Key of one stream: `a` and `b` name it within its use (data_epoch and layer*module, say).
inline PhiloxKey stream_key(uint64_t seed, RandomUse use, uint64_t a, uint32_t b) {
  const PhiloxCounter counter = {static_cast<uint32_t>(a), static_cast<uint32_t>(a >> 32), b,
                                 static_cast<uint32_t>(use)};
  const PhiloxKey key = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  const PhiloxCounter mixed = philox4x32(counter, key);
  return {mixed[0], mixed[1]};
}

// Uniform in [0, 1) with 24 bits, exactly representable in float.
inline float uniform_from_bits(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1.0p-24F; }

}  // namespace ratchet::trainer::ops
