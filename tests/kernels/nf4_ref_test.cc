// The CPU reference against the format's definition: nearest value, order of the halves, the error
// that the widest gap allows.

#include "kernels/reference/nf4_ref.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace ratchet::kernels::reference {
namespace {

uint8_t code_at(const Nf4& packed, size_t n) {
  return n % 2 == 0 ? packed.codes[n / 2] >> 4U : packed.codes[n / 2] & 15U;
}

std::vector<float> wave(size_t count, double scale) {
  std::vector<float> out(count);
  for (size_t i = 0; i < count; ++i) {
    out[i] = static_cast<float>(scale * std::sin(1.7 * static_cast<double>(i * i % 9973)));
  }
  return out;
}

TEST(Nf4Reference, TablesAreAscending) {
  EXPECT_TRUE(std::is_sorted(kNf4Values.begin(), kNf4Values.end()));
  EXPECT_TRUE(std::is_sorted(kNf4Bounds.begin(), kNf4Bounds.end()));
  EXPECT_TRUE(std::is_sorted(kSignedValues.begin(), kSignedValues.end()));
  for (size_t i = 0; i + 1 < kNf4Codes; ++i) {
    const double middle = (double{kNf4Values[i]} + double{kNf4Values[i + 1]}) / 2.0;
    EXPECT_NEAR(kNf4Bounds[i], middle, 1e-7) << i;
  }
}

TEST(Nf4Reference, EachValueHasItsOwnCode) {
  std::vector<float> x(64, 0.0F);
  for (size_t i = 0; i < kNf4Codes; ++i) x[i] = 3.0F * kNf4Values[i];
  const Nf4 packed = nf4_quantize(x);
  EXPECT_EQ(packed.absmax_B[0], 3.0F);
  for (size_t i = 0; i < kNf4Codes; ++i) EXPECT_EQ(code_at(packed, i), i);
  EXPECT_EQ(packed.codes[0], 0x01) << "the earlier weight is in the upper half";
  EXPECT_EQ(packed.codes[7], 0xEF);
  EXPECT_EQ(packed.codes[31], 0x77) << "zero";
  const std::vector<float> back = nf4_dequantize(packed.codes, packed.absmax_B);
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(back[i], x[i]) << i;
}

TEST(Nf4Reference, TheErrorIsHalfTheWidestGapAtMost) {
  const std::vector<float> x = wave(64 * 37 + 32, 0.8);
  const Nf4 packed = nf4_quantize(x);
  ASSERT_EQ(packed.absmax_B.size(), 38U);
  const std::vector<float> back = nf4_dequantize(packed.codes, packed.absmax_B);
  const double half_gap = (1.0 - 0.6961928009986877) / 2.0 + 1e-6;  // between codes 0 and 1
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_LE(std::fabs(double{back[i]} - double{x[i]}),
              half_gap * double{packed.absmax_B[i / 64]});
  }
}

TEST(Nf4Reference, ZerosAndWhatIsNoNumber) {
  EXPECT_EQ(nf4_quantize(std::vector<float>(64, -0.0F)).codes, std::vector<uint8_t>(32, 0x77));
  std::vector<float> x = wave(64, 1.0);
  x[5] = std::numeric_limits<float>::quiet_NaN();
  const Nf4 packed = nf4_quantize(x);
  EXPECT_TRUE(std::isnan(packed.absmax_B[0]));
  EXPECT_EQ(packed.codes, std::vector<uint8_t>(32, 0xFF));
}

TEST(Nf4Reference, NestedAbsmax) {
  // Code 255 is the dynamic value 1, and the codes in the middle hold 0.
  const auto zero = std::find(kSignedValues.begin(), kSignedValues.end(), 0.0F);
  const auto code = static_cast<uint8_t>(zero - kSignedValues.begin());
  std::vector<uint8_t> codes(300, code);
  codes[256] = 255;
  const std::vector<float> absmax = nf4_nested_absmax(codes, {0.5F, 0.25F}, 2.0F);
  EXPECT_EQ(absmax[0], 2.0F);
  EXPECT_EQ(absmax[256], 2.25F) << "the second scale";
}

}  // namespace
}  // namespace ratchet::kernels::reference
