#pragma once

// NF4 on the host (format and sources: kernels/block_formats.h): 4-bit weights whose absmax are
// 8-bit themselves, 0.516 bytes a weight. No LibTorch.
//
// Same input, same bits, on every machine and for any number of threads: blocks are independent,
// and the mean is a sum in double in order of the blocks.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ratchet::trainer::ops {

// Blocks of a tensor of `count` weights; the last may be short.
std::size_t nf4_blocks(std::size_t count);

// codes: (count + 1) / 2 bytes, absmax: nf4_blocks(count) floats; both are overwritten. Weights may
// come in portions of a multiple of 64. A block with a NaN has absmax NaN.
void nf4_quantize(std::span<const float> weights, std::span<std::uint8_t> codes,
                  std::span<float> absmax);

// Double quantization of all absmax of one tensor.
struct Nf4Scales {
  std::vector<std::uint8_t> absmax_codes;  // one a block
  std::vector<float> scales;               // one for 256 blocks
  float mean = 0.0F;                       // of the absmax
};
Nf4Scales nf4_quantize_absmax(std::span<const float> absmax);

// The absmax that block `index` has after that: value[code] * scale + mean.
float nf4_absmax(std::span<const std::uint8_t> absmax_codes, std::span<const float> scales,
                 float mean, std::size_t index);

}  // namespace ratchet::trainer::ops
