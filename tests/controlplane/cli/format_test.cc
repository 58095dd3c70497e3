#include "controlplane/cli/format.h"

#include <gtest/gtest.h>

#include <limits>

namespace ratchet::control::cli {
namespace {

TEST(Format, DurationsReadAsPeopleSayThem) {
  EXPECT_EQ(format_duration(0), "0.0 s");
  EXPECT_EQ(format_duration(1.44), "1.4 s");
  EXPECT_EQ(format_duration(9.96), "10 s");
  EXPECT_EQ(format_duration(59.4), "59 s");
  EXPECT_EQ(format_duration(59.6), "1 min 00 s");
  EXPECT_EQ(format_duration(185), "3 min 05 s");
  EXPECT_EQ(format_duration(7800), "2 h 10 min");
  EXPECT_EQ(format_duration(90'000), "1 d 1 h");
  EXPECT_EQ(format_duration(-1), "?");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::quiet_NaN()), "?");
  EXPECT_EQ(format_duration(1e300), "?");
}

TEST(Format, BytesNeverShowAThousandAndTwentyFour) {
  EXPECT_EQ(format_bytes(Bytes(0)), "0 B");
  EXPECT_EQ(format_bytes(Bytes(1023)), "1023 B");
  EXPECT_EQ(format_bytes(kibibytes(1)), "1.0 KiB");
  EXPECT_EQ(format_bytes(Bytes(1024 * 1024 - 1)), "1.0 MiB");
  EXPECT_EQ(format_bytes(gibibytes(80)), "80.0 GiB");
}

TEST(Format, MoneyBelowADollarKeepsItsDigits) {
  EXPECT_EQ(format_usd(0), "$0.00");
  EXPECT_EQ(format_usd(0.00042), "$0.0004");
  EXPECT_EQ(format_usd(0.99994), "$0.9999");
  EXPECT_EQ(format_usd(0.99996), "$1.00");
  EXPECT_EQ(format_usd(12.345), "$12.35");
  EXPECT_EQ(format_usd(std::numeric_limits<double>::infinity()), "?");
}

TEST(Format, CountsAndRates) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(-1234), "-1,234");
  EXPECT_EQ(format_rate(9.5), "9.5");
  EXPECT_EQ(format_rate(1234), "1.2 k");
  EXPECT_EQ(format_rate(-1), "?");
}

TEST(Format, TimesAndAges) {
  const UnixMillis time(1'763'733'193'000);
  EXPECT_EQ(format_time(time), "2025-11-21 13:53:13 UTC");
  EXPECT_EQ(format_time(UnixMillis(0)), "-");
  EXPECT_EQ(format_age(time, time + UnixMillis(500)), "now");
  EXPECT_EQ(format_age(time, time + UnixMillis(45'000)), "45 s ago");
  EXPECT_EQ(format_age(time, time + UnixMillis(185'000)), "3 min ago");
  EXPECT_EQ(format_age(time, time + UnixMillis(3 * 86'400'000)), "3 d ago");
  EXPECT_EQ(format_age(time + UnixMillis(7'200'000), time), "in 2 h");
  EXPECT_EQ(format_age(UnixMillis(0), time), "-");
}

TEST(Format, TheBarIsAsWideAsAsked) {
  EXPECT_EQ(format_bar(0, 12), "[>         ]");
  EXPECT_EQ(format_bar(0.5, 12), "[=====>    ]");
  EXPECT_EQ(format_bar(1, 12), "[==========]");
  EXPECT_EQ(format_bar(7, 12), "[==========]");
  EXPECT_EQ(format_bar(std::numeric_limits<double>::quiet_NaN(), 5), "[>  ]");
  EXPECT_EQ(format_bar(0.5, 2), "");
}

TEST(Format, WhatAServerSaysCannotSteerTheTerminal) {
  EXPECT_EQ(printable("a\x1b[31mred\x07"), "a?[31mred?");
  EXPECT_EQ(printable("two\nlines"), "two lines");
  EXPECT_EQ(printable("two\nlines", true), "two\nlines");
  EXPECT_EQ(printable("\xC2\x9B"
                      "31m"),
            "?31m");
  EXPECT_EQ(printable("Zürich"), "Zürich");
}

TEST(Format, CutsBetweenCharacters) {
  EXPECT_EQ(columns_of("Zürich"), 6U);
  EXPECT_EQ(fit("Zürich", 6), "Zürich");
  EXPECT_EQ(fit("Zürichsee", 5), "Zü...");
  EXPECT_EQ(fit("abc", 2), "ab");
  EXPECT_EQ(fit("abc", 0), "");
}

TEST(Parse, Durations) {
  EXPECT_EQ(*parse_duration_ms("30s"), 30'000);
  EXPECT_EQ(*parse_duration_ms("500ms"), 500);
  EXPECT_EQ(*parse_duration_ms("1.5 h"), 5'400'000);
  EXPECT_EQ(*parse_duration_ms("7"), 7'000);
  for (const char* bad : {"", "s", "-1s", "3 weeks", "1e99h", "nan", "30s "}) {
    EXPECT_FALSE(parse_duration_ms(bad)) << bad;
  }
  EXPECT_NE(parse_duration_ms("soon").error().message.find("'soon'"), std::string::npos);
}

TEST(Parse, Sizes) {
  EXPECT_EQ(*parse_bytes("24GiB"), gibibytes(24));
  EXPECT_EQ(*parse_bytes("24G"), gibibytes(24));
  EXPECT_EQ(*parse_bytes("80GB"), Bytes(80'000'000'000));
  EXPECT_EQ(*parse_bytes("1024"), Bytes(1024));
  EXPECT_FALSE(parse_bytes("much"));
  EXPECT_FALSE(parse_bytes("99999999TiB"));
}

TEST(Parse, Times) {
  const UnixMillis now(1'000'000);
  EXPECT_EQ(*parse_time("+2h", now), now + UnixMillis(7'200'000));
  EXPECT_EQ(*parse_time("2025-11-21T13:53:13Z", now), UnixMillis(1'763'733'193'000));
  EXPECT_EQ(*parse_time("2025-11-21T13:53Z", now), UnixMillis(1'763'733'180'000));
  EXPECT_FALSE(parse_time("2025-11-21T13:53:13", now));
  EXPECT_FALSE(parse_time("tomorrow", now));
}

}  // namespace
}  // namespace ratchet::control::cli
