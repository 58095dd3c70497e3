#include "trainer/ops/nf4.h"

#include <algorithm>
#include <cmath>

#include "kernels/block_formats.h"

namespace ratchet::trainer::ops {
namespace {

using kernels::code_of;
using kernels::kNf4Block;
using kernels::kNf4Bounds;
using kernels::kNf4ScaleBlock;
using kernels::kSignedBounds;
using kernels::kSignedValues;

constexpr std::size_t kBlockWeights = kNf4Block;
constexpr std::size_t kScaleBlock = kNf4ScaleBlock;

// NaN stays NaN, which std::max would lose.
float largest_magnitude(std::span<const float> values) {
  float largest = 0.0F;
  for (const float value : values) {
    const float magnitude = std::abs(value);
    if (!(magnitude <= largest)) largest = magnitude;
    if (std::isnan(largest)) break;
  }
  return largest;
}

// A product with 0 in place of 1 / 0: a block of zeros is all code 7, the value 0.
float reciprocal(float absmax) { return absmax > 0.0F ? 1.0F / absmax : 0.0F; }

}  // namespace

std::size_t nf4_blocks(std::size_t count) { return (count + kBlockWeights - 1) / kBlockWeights; }

void nf4_quantize(std::span<const float> weights, std::span<std::uint8_t> codes,
                  std::span<float> absmax) {
  for (std::size_t block = 0; block < absmax.size(); ++block) {
    const std::size_t first = block * kBlockWeights;
    const auto values = weights.subspan(first, std::min(kBlockWeights, weights.size() - first));
    absmax[block] = largest_magnitude(values);
    const float scale = reciprocal(absmax[block]);
    for (std::size_t i = 0; i < values.size(); i += 2) {
      const std::uint8_t high = code_of(values[i] * scale, kNf4Bounds);
      const float second = i + 1 < values.size() ? values[i + 1] * scale : 0.0F;
      codes[(first + i) / 2] =
          static_cast<std::uint8_t>((high << 4U) | code_of(second, kNf4Bounds));
    }
  }
}

Nf4Scales nf4_quantize_absmax(std::span<const float> absmax) {
  Nf4Scales out;
  double sum = 0.0;
  for (const float value : absmax) sum += static_cast<double>(value);
  out.mean = absmax.empty() ? 0.0F : static_cast<float>(sum / static_cast<double>(absmax.size()));
  out.absmax_codes.reserve(absmax.size());
  std::vector<float> rest;
  for (std::size_t first = 0; first < absmax.size(); first += kScaleBlock) {
    const auto block = absmax.subspan(first, std::min(kScaleBlock, absmax.size() - first));
    rest.assign(block.begin(), block.end());
    for (float& value : rest) value -= out.mean;
    const float scale = largest_magnitude(rest);
    out.scales.push_back(scale);
    const float inverse = reciprocal(scale);
    for (const float value : rest) {
      out.absmax_codes.push_back(code_of(value * inverse, kSignedBounds));
    }
  }
  return out;
}

float nf4_absmax(std::span<const std::uint8_t> absmax_codes, std::span<const float> scales,
                 float mean, std::size_t index) {
  // Two roundings, as where the product is stored: no fused multiply-add.
  const float product = kSignedValues[absmax_codes[index]] * scales[index / kScaleBlock];
  return product + mean;
}

}  // namespace ratchet::trainer::ops
