#pragma once

// Element types of stored tensors: the safetensors names, their sizes, and exact conversions to
// and from fp32.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace ratchet::trainer {

// The dtypes that the safetensors format defines with a whole number of bytes per element.
enum class DType {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kF64,
  kI64,
  kU64,
};

// Bytes per element.
std::size_t dtype_size(DType dtype);

// The safetensors word, "BF16" say. The returned text lives forever.
const char* dtype_name(DType dtype);

// The dtype with this safetensors word; empty for an unknown word.
std::optional<DType> dtype_from_name(std::string_view name);

// F32, BF16 and F16 are what model weights may be stored in.
bool is_weight_dtype(DType dtype);

// Exact widening. `BF16` and `F16` are given as their 16 bits.
float bf16_to_float(std::uint16_t bits);
float f16_to_float(std::uint16_t bits);

// Round to nearest, ties to even. A NaN stays a (quiet) NaN; overflow becomes an infinity.
std::uint16_t float_to_bf16(float value);
std::uint16_t float_to_f16(float value);

// Converts `src`, elements of a weight dtype in little-endian order, to fp32. Requires
// is_weight_dtype(dtype) and src.size() == dst.size() * dtype_size(dtype); aborts otherwise.
void widen_to_float(DType dtype, std::span<const std::byte> src, std::span<float> dst);

// The reverse of widen_to_float, rounding to nearest even; the same requirements.
void narrow_from_float(DType dtype, std::span<const float> src, std::span<std::byte> dst);

}  // namespace ratchet::trainer
