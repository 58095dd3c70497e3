#include "trainer/train/adamw_8bit.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/block_formats.h"

namespace ratchet::trainer {
namespace {

using kernels::code_of;
using kernels::kDynamicCodes;
using kernels::kSignedBounds;
using kernels::kSignedValues;
using kernels::kUnsignedBounds;
using kernels::kUnsignedValues;

constexpr std::size_t kBlock = kernels::kDynamicBlock;

// With it every value of either table but 0 gives a normal number: the smallest is 3.25e-7.
constexpr float kSmallestScale = 0x1p-104F;
static_assert(kSmallestScale * kUnsignedValues[1] >= std::numeric_limits<float>::min());
constexpr float kLargestScale = std::numeric_limits<float>::max();

std::size_t blocks_of(std::size_t size) { return (size + kBlock - 1) / kBlock; }

// code_of() without its search. Sign, exponent and seven bits of the mantissa name a bucket of
// numbers, in which the codes change at one bound at most; numbers below 2^-23 share one bucket,
// and those above 1, which only a scale held at its limit gives, have that of 1.
class CodeLookup {
 public:
  constexpr explicit CodeLookup(const std::array<float, kDynamicCodes - 1>& bounds) {
    std::copy(bounds.begin(), bounds.end(), bounds_.begin());
    bounds_.back() = std::numeric_limits<float>::infinity();  // nothing lies beyond the last code
    std::size_t code = 0;
    for (std::uint32_t i = kBuckets; i-- > 0;) code = fill(kBuckets + i, -high(i), -low(i), code);
    for (std::uint32_t i = 0; i < kBuckets; ++i) code = fill(i, low(i), high(i), code);
  }

  [[nodiscard]] constexpr bool is_exact() const { return exact_; }

  [[nodiscard]] std::uint8_t operator()(float x) const {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    // Signed: baseline x86-64 has no unsigned minimum, and the loop would take half as long again.
    const auto top = static_cast<std::int32_t>((bits & 0x7FFFFFFFU) >> kShift);
    const auto place = static_cast<std::uint32_t>(std::clamp(top, kFirst, kLast) - kFirst);
    const std::uint8_t code = codes_[place + (bits >> 31) * kBuckets];
    return static_cast<std::uint8_t>(code + (x > bounds_[code] ? 1 : 0));
  }

 private:
  static constexpr int kShift = 16;
  static constexpr std::int32_t kFirst = std::bit_cast<std::int32_t>(0x1p-23F) >> kShift;
  static constexpr std::int32_t kLast = std::bit_cast<std::int32_t>(1.0F) >> kShift;
  static constexpr auto kBuckets = static_cast<std::uint32_t>(kLast - kFirst + 1);

  // The lowest and the highest magnitude of bucket i.
  static constexpr float low(std::uint32_t i) {
    return i == 0 ? 0.0F : std::bit_cast<float>((std::uint32_t{kFirst} + i) << kShift);
  }
  static constexpr float high(std::uint32_t i) {
    return i + 1 == kBuckets
               ? 1.0F
               : std::bit_cast<float>(((std::uint32_t{kFirst} + i + 1) << kShift) - 1);
  }

  // `code` is at most that of `lowest`; returns that of `lowest`, from which the next one goes on.
  constexpr std::size_t fill(std::size_t bucket, float lowest, float highest, std::size_t code) {
    while (lowest > bounds_[code]) ++code;
    codes_[bucket] = static_cast<std::uint8_t>(code);
    exact_ = exact_ && (code + 1 == kDynamicCodes || !(highest > bounds_[code + 1]));
    return code;
  }

  std::array<std::uint8_t, 2 * kBuckets> codes_{};  // of the bucket's lowest number
  std::array<float, kDynamicCodes> bounds_{};
  bool exact_ = true;
};

constexpr CodeLookup kSignedCode(kSignedBounds);
constexpr CodeLookup kUnsignedCode(kUnsignedBounds);
static_assert(kSignedCode.is_exact() && kUnsignedCode.is_exact());
constexpr std::uint8_t kSignedZero = code_of(0.0F, kSignedBounds);
static_assert(kSignedValues[kSignedZero] == 0.0F && kUnsignedValues[0] == 0.0F);

struct Extremes {
  float low = 0.0F;
  float high = 0.0F;
};

// With 0, and without NaN: in an update that makes one, the parameter is NaN too and ends the run.
Extremes extremes_of(std::span<const float> values) {
  constexpr std::size_t kLanes = 16;  // independent ones, so that the loop is vectorised
  std::array<float, kLanes> low{};
  std::array<float, kLanes> high{};
  std::size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float value = values[i + lane];
      low[lane] = value < low[lane] ? value : low[lane];
      high[lane] = value > high[lane] ? value : high[lane];
    }
  }
  for (; i < values.size(); ++i) {
    low[0] = values[i] < low[0] ? values[i] : low[0];
    high[0] = values[i] > high[0] ? values[i] : high[0];
  }
  return {*std::min_element(low.begin(), low.end()), *std::max_element(high.begin(), high.end())};
}

// A block's codes; returns its scale.
float round_first(std::span<const float> values, std::uint8_t* __restrict codes) {
  const Extremes extremes = extremes_of(values);
  // Of two largest elements that differ in sign the positive one, wherever they stand.
  const float largest = extremes.high >= -extremes.low ? extremes.high : extremes.low;
  const float scale = std::clamp(largest, -kLargestScale, kLargestScale);
  if (std::abs(scale) < kSmallestScale) {
    std::fill_n(codes, values.size(), kSignedZero);
    return 0.0F;
  }
  for (std::size_t i = 0; i < values.size(); ++i) codes[i] = kSignedCode(values[i] / scale);
  return scale;
}

float round_second(std::span<const float> values, std::uint8_t* __restrict codes) {
  const float scale = std::min(extremes_of(values).high, kLargestScale);
  if (scale < kSmallestScale) {
    std::fill_n(codes, values.size(), std::uint8_t{0});
    return 0.0F;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint8_t code = kUnsignedCode(values[i] / scale);
    codes[i] = std::max(code, static_cast<std::uint8_t>(values[i] > 0.0F ? 1 : 0));
  }
  return scale;
}

}  // namespace

EightBitMoments::EightBitMoments(const ArenaLayout& layout) {
  std::size_t blocks = 0;
  for (const ArenaTensor& tensor : layout.tensors) {
    tensors_.push_back(
        {static_cast<std::size_t>(tensor.offset), static_cast<std::size_t>(tensor.size)});
    blocks += blocks_of(tensors_.back().size);
  }
  const auto size = static_cast<std::size_t>(layout.arena_size);
  first_ = {std::vector<std::uint8_t>(size, kSignedZero), std::vector<float>(blocks)};
  second_ = {std::vector<std::uint8_t>(size), std::vector<float>(blocks)};
}

std::int64_t EightBitMoments::bytes(const ArenaLayout& layout) {
  std::size_t blocks = 0;
  for (const ArenaTensor& tensor : layout.tensors) {
    blocks += blocks_of(static_cast<std::size_t>(tensor.size));
  }
  return 2 * (layout.arena_size + static_cast<std::int64_t>(blocks * sizeof(float)));
}

template <class F>
void EightBitMoments::for_each_block(F&& visit) const {
  std::size_t index = 0;
  for (const Extent& tensor : tensors_) {
    for (std::size_t done = 0; done < tensor.size; done += kBlock) {
      visit(Block{tensor.begin + done, std::min(kBlock, tensor.size - done), index++});
    }
  }
}

void EightBitMoments::step(const AdamWArgs& args) {
  std::array<float, kBlock> exp_avg{};
  std::array<float, kBlock> exp_avg_sq{};
  AdamWArgs part = args;
  for_each_block([&](const Block& block) {
    read_block(block, exp_avg.data(), exp_avg_sq.data());
    part.params = args.params.subspan(block.begin, block.size);
    part.grads = args.grads.subspan(block.begin, block.size);
    part.exp_avg = std::span(exp_avg).first(block.size);
    part.exp_avg_sq = std::span(exp_avg_sq).first(block.size);
    adamw_step(part);
    write_block(block, exp_avg.data(), exp_avg_sq.data());
  });
}

void EightBitMoments::read(std::span<float> exp_avg, std::span<float> exp_avg_sq) const {
  std::fill(exp_avg.begin(), exp_avg.end(), 0.0F);
  std::fill(exp_avg_sq.begin(), exp_avg_sq.end(), 0.0F);
  for_each_block([&](const Block& block) {
    read_block(block, exp_avg.data() + block.begin, exp_avg_sq.data() + block.begin);
  });
}

void EightBitMoments::write(std::span<const float> exp_avg, std::span<const float> exp_avg_sq) {
  for_each_block([&](const Block& block) {
    write_block(block, exp_avg.data() + block.begin, exp_avg_sq.data() + block.begin);
  });
}

void EightBitMoments::read_block(const Block& block, float* exp_avg, float* exp_avg_sq) const {
  const std::uint8_t* first = first_.codes.data() + block.begin;
  const std::uint8_t* second = second_.codes.data() + block.begin;
  const float first_scale = first_.scales[block.index];
  const float second_scale = second_.scales[block.index];
  for (std::size_t i = 0; i < block.size; ++i) {
    exp_avg[i] = kSignedValues[first[i]] * first_scale;
    exp_avg_sq[i] = kUnsignedValues[second[i]] * second_scale;
  }
}

void EightBitMoments::write_block(const Block& block, const float* exp_avg,
                                  const float* exp_avg_sq) {
  first_.scales[block.index] =
      round_first({exp_avg, block.size}, first_.codes.data() + block.begin);
  second_.scales[block.index] =
      round_second({exp_avg_sq, block.size}, second_.codes.data() + block.begin);
}

}  // namespace ratchet::trainer
