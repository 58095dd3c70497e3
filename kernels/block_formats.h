#pragma once

// The two block formats that this project stores numbers in. Plain C++, for host and device code.
//
// NF4 (Dettmers et al. 2023, "QLoRA", section 3 and appendix E): 64 weights share the largest of
// their magnitudes (absmax, fp32); each weight over absmax is one of 16 values. Two codes a byte,
// the earlier weight in the upper half. With double quantization the absmax of 256 blocks, less
// the mean over the tensor, are stored as dynamic 8-bit numbers and one fp32 scale.
//
// Dynamic 8-bit (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization", section 1.3,
// code table as bitsandbytes' create_dynamic_map): a number over its block's absmax is one of 256
// values, seven decades of them, evenly spaced within each.
//
// A code is the index of the nearest value; a number half-way goes to the smaller value. NaN goes
// to the largest code of NF4 and dynamic numbers: callers that must not hide it look for it.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace ratchet::kernels {

inline constexpr int kNf4Block = 64;        // weights
inline constexpr int kNf4ScaleBlock = 256;  // absmax values
inline constexpr int kDynamicBlock = 256;   // optimizer state
inline constexpr std::size_t kNf4Codes = 16;
inline constexpr std::size_t kDynamicCodes = 256;

// QLoRA, appendix E; bounds as in bitsandbytes' dQuantizeNF4.
inline constexpr std::array<float, kNf4Codes> kNf4Values{
    -1.0F,
    -0.6961928009986877F,
    -0.5250730514526367F,
    -0.39491748809814453F,
    -0.28444138169288635F,
    -0.18477343022823334F,
    -0.09105003625154495F,
    0.0F,
    0.07958029955625534F,
    0.16093020141124725F,
    0.24611230194568634F,
    0.33791524171829224F,
    0.44070982933044434F,
    0.5626170039176941F,
    0.7229568362236023F,
    1.0F,
};

// x has the code of how many bounds it passes. The published quantizer's constants; some are one
// unit in the last place off the middle of their neighbours.
inline constexpr std::array<float, kNf4Codes - 1> kNf4Bounds{
    -0.8480964004993439F,  -0.6106329262256622F,  -0.4599952697753906F,   -0.33967943489551544F,
    -0.23460740596055984F, -0.13791173323988914F, -0.045525018125772476F, 0.03979014977812767F,
    0.1202552504837513F,   0.2035212516784668F,   0.2920137718319893F,    0.3893125355243683F,
    0.5016634166240692F,   0.6427869200706482F,   0.8614784181118011F,
};

// bounds[i] lies half-way between values[i] and values[i + 1].
template <std::size_t N>
constexpr std::array<float, N - 1> bounds_between(const std::array<float, N>& values) {
  std::array<float, N - 1> bounds{};
  for (std::size_t i = 0; i + 1 < N; ++i) bounds[i] = (values[i] + values[i + 1]) / 2.0F;
  return bounds;
}

template <std::size_t N>
constexpr std::uint8_t code_of(float x, const std::array<float, N>& bounds) {
  const auto place = std::partition_point(bounds.begin(), bounds.end(),
                                          [x](float bound) { return !(x <= bound); });
  return static_cast<std::uint8_t>(place - bounds.begin());
}

// The 256 values in ascending order; with a sign for moments and absmax differences, without one
// for squares.
constexpr std::array<float, kDynamicCodes> dynamic_values(bool is_signed) {
  std::array<float, kDynamicCodes> values{};
  std::size_t count = 0;
  double decade = 1e-6;
  for (int exponent = 0; exponent < 7; ++exponent, decade *= 10.0) {
    const int items = (is_signed ? 1 : 2) << exponent;
    for (int i = 0; i < items; ++i) {
      // Middle of the i-th of `items` equal parts of [0.1, 1].
      const double mean = 0.1 + 0.9 * (static_cast<double>(i) + 0.5) / static_cast<double>(items);
      values[count++] = static_cast<float>(decade * mean);
      if (is_signed) values[count++] = static_cast<float>(-decade * mean);
    }
  }
  values[count++] = 0.0F;
  values[count++] = 1.0F;
  std::sort(values.begin(), values.end());
  return values;
}

inline constexpr std::array<float, kDynamicCodes> kSignedValues = dynamic_values(true);
inline constexpr std::array<float, kDynamicCodes> kUnsignedValues = dynamic_values(false);
inline constexpr std::array<float, kDynamicCodes - 1> kSignedBounds = bounds_between(kSignedValues);
inline constexpr std::array<float, kDynamicCodes - 1> kUnsignedBounds =
    bounds_between(kUnsignedValues);

}  // namespace ratchet::kernels
