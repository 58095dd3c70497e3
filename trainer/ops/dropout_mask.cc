#include "trainer/ops/dropout_mask.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "trainer/ops/philox.h"

namespace ratchet::trainer::ops {
namespace {

constexpr int64_t kWords = 4;               // random words of one Philox block
constexpr int64_t kLow32 = 0xffffffffLL;    // mask of the low half of a 64-bit lane
constexpr int64_t kBlocksPerGrain = 16384;  // Philox blocks worth a thread's while

PhiloxKey key_of(const DropoutKey& key) {
  TORCH_CHECK(key.module < kModulesPerLayer, "dropout module ", key.module, " is not below ",
              kModulesPerLayer);
  return stream_key(key.seed, RandomUse::kDropout, static_cast<uint64_t>(key.data_epoch),
                    key.layer * kModulesPerLayer + key.module);
}

// In 64 bits: a p just below 1 rounds to 2^32, which drops all, as it should.
uint64_t threshold_of(double p) {
  TORCH_CHECK(p >= 0.0 && p < 1.0, "dropout must be in [0, 1), got ", p);
  return static_cast<uint64_t>(std::llround(p * 0x1.0p32));
}

void check_places(const TokenPlaces& places, int64_t columns) {
  TORCH_CHECK(places.sample_T.scalar_type() == at::kLong &&
                  places.position_T.scalar_type() == at::kLong && places.sample_T.dim() == 1 &&
                  places.sample_T.sizes() == places.position_T.sizes(),
              "dropout places must be two int64 vectors of one length, got ",
              places.sample_T.sizes(), " and ", places.position_T.sizes());
  TORCH_CHECK(columns >= 0, "dropout columns must not be negative, got ", columns);
}

struct Row {
  uint32_t position, sample_low, sample_high;
};

// One token's mask; `out` holds `columns` bytes.
[[gnu::always_inline]] inline void fill_row(const Row& row, PhiloxKey key, uint64_t threshold,
                                            int64_t columns, uint8_t* out) {
  const int64_t full = columns / kWords;
  for (int64_t block = 0; block < full; ++block) {
    const PhiloxCounter words = philox4x32(
        {static_cast<uint32_t>(block), row.position, row.sample_low, row.sample_high}, key);
    for (int64_t i = 0; i < kWords; ++i) {
      out[block * kWords + i] = words[static_cast<size_t>(i)] >= threshold ? 1 : 0;
    }
  }
  if (full * kWords < columns) {
    const PhiloxCounter words = philox4x32(
        {static_cast<uint32_t>(full), row.position, row.sample_low, row.sample_high}, key);
    for (int64_t i = full * kWords; i < columns; ++i) {
      out[i] = words[static_cast<size_t>(i - full * kWords)] >= threshold ? 1 : 0;
    }
  }
}

using FillRow = void (*)(const Row&, PhiloxKey, uint64_t, int64_t, uint8_t*);

void fill_row_base(const Row& row, PhiloxKey key, uint64_t threshold, int64_t columns,
                   uint8_t* out) {
  fill_row(row, key, threshold, columns, out);
}

#if defined(__x86_64__)
// The generator is integer arithmetic: wider vectors change the speed, never a bit.
[[gnu::target("avx2")]] void fill_row_avx2(const Row& row, PhiloxKey key, uint64_t threshold,
                                           int64_t columns, uint8_t* out) {
  fill_row(row, key, threshold, columns, out);
}

[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")]] void fill_row_avx512(
    const Row& row, PhiloxKey key, uint64_t threshold, int64_t columns, uint8_t* out) {
  fill_row(row, key, threshold, columns, out);
}
#endif

FillRow widest_fill_row() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return fill_row_avx512;
  }
  if (__builtin_cpu_supports("avx2")) {
    return fill_row_avx2;
  }
#endif
  return fill_row_base;
}

// 32 x 32 -> 64 bit product in int64 lanes. The signed product wraps to the right bits; the high
// half is masked because the shift copies the sign.
struct Halves {
  at::Tensor high, low;
};

Halves multiply(const at::Tensor& value, uint32_t factor) {
  const at::Tensor product = value * static_cast<int64_t>(factor);
  return {product.bitwise_right_shift(32).bitwise_and_(kLow32), product.bitwise_and(kLow32)};
}

}  // namespace

at::Tensor dropout_keep_mask_loop(const DropoutKey& key, const TokenPlaces& places, int64_t columns,
                                  double p) {
  check_places(places, columns);
  const PhiloxKey philox_key = key_of(key);
  const uint64_t threshold = threshold_of(p);
  const at::Tensor sample = places.sample_T.contiguous();
  const at::Tensor position = places.position_T.contiguous();
  const auto* samples = sample.const_data_ptr<int64_t>();
  const auto* positions = position.const_data_ptr<int64_t>();
  const int64_t tokens = sample.numel();
  at::Tensor mask = at::empty({tokens, columns}, sample.options().dtype(at::kByte));
  auto* out = mask.mutable_data_ptr<uint8_t>();
  const FillRow fill = widest_fill_row();
  const int64_t blocks = std::max<int64_t>(1, columns / kWords);
  const int64_t grain = std::max<int64_t>(1, kBlocksPerGrain / blocks);
  at::parallel_for(0, tokens, grain, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const auto bits = static_cast<uint64_t>(samples[t]);
      fill({static_cast<uint32_t>(positions[t]), static_cast<uint32_t>(bits),
            static_cast<uint32_t>(bits >> 32)},
           philox_key, threshold, columns, out + t * columns);
    }
  });
  return mask;
}

at::Tensor dropout_keep_mask_tensor(const DropoutKey& key, const TokenPlaces& places,
                                    int64_t columns, double p) {
  check_places(places, columns);
  PhiloxKey round_key = key_of(key);
  const auto threshold = static_cast<int64_t>(threshold_of(p));
  const int64_t tokens = places.sample_T.numel();
  const int64_t blocks = (columns + kWords - 1) / kWords;
  const at::Tensor zero = at::zeros({tokens, blocks}, places.sample_T.options());
  at::Tensor c0 = at::arange(blocks, places.sample_T.options()).unsqueeze(0) + zero;
  at::Tensor c1 = places.position_T.bitwise_and(kLow32).unsqueeze(1) + zero;
  at::Tensor c2 = places.sample_T.bitwise_and(kLow32).unsqueeze(1) + zero;
  at::Tensor c3 = places.sample_T.bitwise_right_shift(32).bitwise_and_(kLow32).unsqueeze(1) + zero;
  for (int round = 0; round < kPhiloxRounds; ++round) {
    Halves first = multiply(c0, kPhiloxM0);
    Halves second = multiply(c2, kPhiloxM1);
    c0 = second.high.bitwise_xor_(c1).bitwise_xor_(static_cast<int64_t>(round_key[0]));
    c2 = first.high.bitwise_xor_(c3).bitwise_xor_(static_cast<int64_t>(round_key[1]));
    c1 = std::move(second.low);
    c3 = std::move(first.low);
    round_key[0] += kPhiloxW0;
    round_key[1] += kPhiloxW1;
  }
  const at::Tensor words = at::stack({c0, c1, c2, c3}, 2).reshape({tokens, blocks * kWords});
  return words.narrow(1, 0, columns).ge(threshold).to(at::kByte);
}

at::Tensor dropout_keep_mask(const DropoutKey& key, const TokenPlaces& places, int64_t columns,
                             double p) {
  return places.sample_T.is_cpu() ? dropout_keep_mask_loop(key, places, columns, p)
                                  : dropout_keep_mask_tensor(key, places, columns, p);
}

}  // namespace ratchet::trainer::ops
