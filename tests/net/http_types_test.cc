#include "proto/net/http_types.h"

#include <gtest/gtest.h>

namespace ratchet::net {
namespace {

TEST(HttpTypes, HeadersHaveNoCaseAndNoLineBreaks) {
  Headers headers;
  headers.add("Content-Type", "a");
  headers.add("content-type", "b");
  EXPECT_EQ(headers.get("CONTENT-TYPE"), "a");
  headers.set("Content-type", "c");
  ASSERT_EQ(headers.fields().size(), 1U);
  headers.add("X", "1\r\nInjected: 1");
  headers.add("X\r\nY", "1");
  headers.add("", "1");
  headers.add("a b", "1");
  EXPECT_EQ(headers.fields().size(), 1U);
  EXPECT_FALSE(headers.has("X"));
  headers.remove("content-TYPE");
  EXPECT_TRUE(headers.fields().empty());
}

TEST(HttpTypes, MethodsAreSpelledExactly) {
  for (const char* name : {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}) {
    ASSERT_TRUE(method_from(name)) << name;
    EXPECT_EQ(method_name(*method_from(name)), name);
  }
  EXPECT_FALSE(method_from("get"));
  EXPECT_FALSE(method_from("TRACE"));
}

TEST(HttpTypes, BearerTokensAreFound) {
  Headers headers;
  EXPECT_EQ(bearer_token(headers), "");
  headers.set("authorization", "bearer  abc ");
  EXPECT_EQ(bearer_token(headers), "abc");
  headers.set("authorization", "Basic abc");
  EXPECT_EQ(bearer_token(headers), "");
}

TEST(HttpTypes, RangesFollowTheStandard) {
  using Kind = RangeAnswer::Kind;
  struct Case {
    const char* header;
    std::uint64_t size;
    Kind kind;
    ByteRange range;
  };
  for (const Case& c :
       {Case{"", 100, Kind::kWhole, {0, 100}}, Case{"bytes=0-9", 100, Kind::kPart, {0, 10}},
        Case{"bytes=90-200", 100, Kind::kPart, {90, 10}},
        Case{"bytes=10-", 100, Kind::kPart, {10, 90}},
        Case{"bytes=-10", 100, Kind::kPart, {90, 10}},
        Case{"bytes=-200", 100, Kind::kPart, {0, 100}},
        Case{"bytes=-0", 100, Kind::kUnsatisfiable, {}},
        Case{"bytes=100-", 100, Kind::kUnsatisfiable, {}},
        Case{"bytes=0-", 0, Kind::kUnsatisfiable, {}},
        Case{"bytes=9-3", 100, Kind::kWhole, {0, 100}},
        Case{"bytes=0-1,3-4", 100, Kind::kWhole, {0, 100}},
        Case{"bytes=x-y", 100, Kind::kWhole, {0, 100}},
        Case{"bytes=99999999999999999999-", 100, Kind::kWhole, {0, 100}},
        Case{"lines=1-2", 100, Kind::kWhole, {0, 100}}}) {
    const RangeAnswer answer = parse_range(c.header, c.size);
    EXPECT_EQ(answer.kind, c.kind) << c.header;
    EXPECT_EQ(answer.range, c.range) << c.header;
  }
  EXPECT_EQ(content_range({90, 10}, 100), "bytes 90-99/100");
}

}  // namespace
}  // namespace ratchet::net
