#include "trainer/model/dtype.h"

#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace ratchet::trainer {

namespace {

struct DTypeRow {
  DType dtype;
  std::size_t size;
  const char* name;
};

constexpr std::array<DTypeRow, 15> kRows = {{{DType::kBool, 1, "BOOL"},
                                             {DType::kU8, 1, "U8"},
                                             {DType::kI8, 1, "I8"},
                                             {DType::kF8E5M2, 1, "F8_E5M2"},
                                             {DType::kF8E4M3, 1, "F8_E4M3"},
                                             {DType::kI16, 2, "I16"},
                                             {DType::kU16, 2, "U16"},
                                             {DType::kF16, 2, "F16"},
                                             {DType::kBF16, 2, "BF16"},
                                             {DType::kI32, 4, "I32"},
                                             {DType::kU32, 4, "U32"},
                                             {DType::kF32, 4, "F32"},
                                             {DType::kF64, 8, "F64"},
                                             {DType::kI64, 8, "I64"},
                                             {DType::kU64, 8, "U64"}}};

const DTypeRow& row(DType dtype) { return kRows[static_cast<std::size_t>(dtype)]; }

void check_conversion(DType dtype, std::size_t bytes, std::size_t floats) {
  if (is_weight_dtype(dtype) && bytes == floats * dtype_size(dtype)) return;
  std::fprintf(stderr, "dtype conversion of %zu bytes of %s with %zu floats breaks its contract\n",
               bytes, dtype_name(dtype), floats);
  std::abort();
}

std::uint16_t load_u16(const std::byte* at) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof(bits));
  return bits;
}

}  // namespace

std::size_t dtype_size(DType dtype) { return row(dtype).size; }

const char* dtype_name(DType dtype) { return row(dtype).name; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DTypeRow& candidate : kRows) {
    if (name == candidate.name) return candidate.dtype;
  }
  return std::nullopt;
}

bool is_weight_dtype(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16;
}

float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

std::uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  // Rounding a NaN up could carry into the sign; its payload's top half is kept instead.
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  const std::uint32_t round = 0x7fffU + ((bits >> 16) & 1U);
  return static_cast<std::uint16_t>((bits + round) >> 16);
}

float f16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fU;
  const std::uint32_t mantissa = bits & 0x3ffU;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;  // zero and subnormals
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

std::uint16_t float_to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return static_cast<std::uint16_t>(sign | 0x7e00U);
  // 65520 is the middle between the largest F16 and the next power; it rounds to infinity.
  if (magnitude >= 0x477ff000U) return static_cast<std::uint16_t>(sign | 0x7c00U);
  if (magnitude < 0x38800000U) {
    // Below the smallest normal F16: adding 0.5 makes the FPU round at 2^-24 for us.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000U));
  }
  const std::uint32_t round = 0xfffU + ((magnitude >> 13) & 1U);
  return static_cast<std::uint16_t>(sign | ((magnitude + round - 0x38000000U) >> 13));
}

void widen_to_float(DType dtype, std::span<const std::byte> src, std::span<float> dst) {
  check_conversion(dtype, src.size(), dst.size());
  if (src.empty()) return;
  if (dtype == DType::kF32) {
    std::memcpy(dst.data(), src.data(), src.size());
  } else if (dtype == DType::kBF16) {
    for (std::size_t i = 0; i < dst.size(); ++i) {
      dst[i] = bf16_to_float(load_u16(src.data() + 2 * i));
    }
  } else {
    for (std::size_t i = 0; i < dst.size(); ++i)
      dst[i] = f16_to_float(load_u16(src.data() + 2 * i));
  }
}

void narrow_from_float(DType dtype, std::span<const float> src, std::span<std::byte> dst) {
  check_conversion(dtype, dst.size(), src.size());
  if (dst.empty()) return;
  if (dtype == DType::kF32) {
    std::memcpy(dst.data(), src.data(), dst.size());
    return;
  }
  for (std::size_t i = 0; i < src.size(); ++i) {
    const std::uint16_t bits = dtype == DType::kBF16 ? float_to_bf16(src[i]) : float_to_f16(src[i]);
    std::memcpy(dst.data() + 2 * i, &bits, sizeof(bits));
  }
}

}  // namespace ratchet::trainer
