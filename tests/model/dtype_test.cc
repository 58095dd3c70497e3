#include "trainer/model/dtype.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace ratchet::trainer {
namespace {

TEST(DType, NamesAndSizesAreTheFormatsOwn) {
  EXPECT_STREQ(dtype_name(DType::kBF16), "BF16");
  EXPECT_STREQ(dtype_name(DType::kF8E4M3), "F8_E4M3");
  EXPECT_EQ(dtype_size(DType::kBool), 1U);
  EXPECT_EQ(dtype_size(DType::kF16), 2U);
  EXPECT_EQ(dtype_size(DType::kF32), 4U);
  EXPECT_EQ(dtype_size(DType::kU64), 8U);
  EXPECT_EQ(dtype_from_name("I64"), DType::kI64);
  EXPECT_FALSE(dtype_from_name("float32").has_value());
  EXPECT_FALSE(dtype_from_name("").has_value());
}

TEST(DType, EveryNameLeadsBackToItsDtype) {
  for (int i = 0; i <= static_cast<int>(DType::kU64); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
  }
}

TEST(DType, EverySixteenBitPatternSurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float from_f16 = f16_to_float(half);
    const float from_bf16 = bf16_to_float(half);
    if (std::isnan(from_f16)) {
      EXPECT_TRUE(std::isnan(f16_to_float(float_to_f16(from_f16))));
    } else {
      ASSERT_EQ(float_to_f16(from_f16), half);
    }
    if (std::isnan(from_bf16)) {
      EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(from_bf16))));
    } else {
      ASSERT_EQ(float_to_bf16(from_bf16), half);
    }
  }
}

TEST(DType, RoundsToNearestEven) {
  // 1 + 2^-8 lies in the middle of two BF16 values, 1 + 3 * 2^-8 as well; both go to the even one.
  EXPECT_EQ(bf16_to_float(float_to_bf16(1.0F + 0x1p-8F)), 1.0F);
  EXPECT_EQ(bf16_to_float(float_to_bf16(1.0F + 3 * 0x1p-8F)), 1.0F + 0x1p-6F);
  EXPECT_EQ(bf16_to_float(float_to_bf16(std::nextafter(1.0F + 0x1p-8F, 2.0F))), 1.0F + 0x1p-7F);
  EXPECT_EQ(f16_to_float(float_to_f16(1.0F + 0x1p-11F)), 1.0F);
  EXPECT_EQ(f16_to_float(float_to_f16(1.0F + 3 * 0x1p-11F)), 1.0F + 0x1p-9F);
  EXPECT_EQ(f16_to_float(float_to_f16(65519.0F)), 65504.0F);
  EXPECT_TRUE(std::isinf(f16_to_float(float_to_f16(65520.0F))));
  EXPECT_EQ(f16_to_float(float_to_f16(0x1p-25F)), 0.0F);          // half the smallest: to even
  EXPECT_EQ(f16_to_float(float_to_f16(0x1.8p-25F)), 0x1p-24F);    // above half
  EXPECT_EQ(f16_to_float(float_to_f16(-0x1.8p-24F)), -0x1p-23F);  // in the middle: to even
  EXPECT_TRUE(std::isinf(bf16_to_float(float_to_bf16(std::numeric_limits<float>::max()))));
}

TEST(DType, WidensAndNarrowsBuffers) {
  const std::array<float, 3> values = {1.0F, -2.5F, 0.0F};
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    std::vector<std::byte> bytes(3 * dtype_size(dtype));
    narrow_from_float(dtype, values, bytes);
    std::array<float, 3> back{};
    widen_to_float(dtype, bytes, back);
    EXPECT_EQ(back, values) << dtype_name(dtype);
  }
}

}  // namespace
}  // namespace ratchet::trainer
