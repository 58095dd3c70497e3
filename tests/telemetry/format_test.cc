#include "trainer/telemetry/format.h"

#include <gtest/gtest.h>

#include <limits>

namespace ratchet::trainer {
namespace {

TEST(Format, BytesPickTheUnit) {
  EXPECT_EQ(format_bytes(Bytes(0)), "0 B");
  EXPECT_EQ(format_bytes(Bytes(1023)), "1023 B");
  EXPECT_EQ(format_bytes(Bytes(1536)), "1.5 KiB");
  EXPECT_EQ(format_bytes(mebibytes(1) - Bytes(1)), "1.0 MiB");
  EXPECT_EQ(format_bytes(gibibytes(14)), "14.0 GiB");
  EXPECT_EQ(format_bytes(Bytes(std::numeric_limits<std::int64_t>::max())), "8.0 EiB");
  EXPECT_EQ(format_bytes(Bytes(-2048)), "-2.0 KiB");
}

TEST(Format, DurationsRead) {
  EXPECT_EQ(format_duration(0), "0.0 s");
  EXPECT_EQ(format_duration(0.44), "0.4 s");
  EXPECT_EQ(format_duration(9.97), "10 s");
  EXPECT_EQ(format_duration(59.7), "1 min 00 s");
  EXPECT_EQ(format_duration(185), "3 min 05 s");
  EXPECT_EQ(format_duration(7620), "2 h 07 min");
  EXPECT_EQ(format_duration(86'399.6), "1 d 0 h");
  EXPECT_EQ(format_duration(273'600), "3 d 4 h");
  EXPECT_EQ(format_duration(-1), "?");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::quiet_NaN()), "?");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "?");
  EXPECT_EQ(format_duration(1e300), "?");
}

TEST(Format, CountsAreGrouped) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(1'234'567), "1,234,567");
  EXPECT_EQ(format_count(-123'456), "-123,456");
  EXPECT_EQ(format_count(std::numeric_limits<std::int64_t>::min()), "-9,223,372,036,854,775,808");
}

TEST(Format, RatesAreShort) {
  EXPECT_EQ(format_rate(0.5), "0.5");
  EXPECT_EQ(format_rate(950), "950");
  EXPECT_EQ(format_rate(999.6), "1.0 k");
  EXPECT_EQ(format_rate(12'345), "12.3 k");
  EXPECT_EQ(format_rate(1'200'000), "1.2 M");
  EXPECT_EQ(format_rate(-1), "?");
}

}  // namespace
}  // namespace ratchet::trainer
