#include "kernels/span.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace ratchet::kernels {
namespace {

const void* at(uintptr_t address) {
  return reinterpret_cast<const void*>(address);  // NOLINT(performance-no-int-to-ptr): never read
}

TEST(Span, AlignmentIsSixteenBytes) {
  EXPECT_TRUE(Span(at(0x1000), 4).aligned());
  EXPECT_FALSE(Span(at(0x1008), 4).aligned());
  EXPECT_TRUE(Span(nullptr, 4).aligned());
}

TEST(Span, RangesThatTouchDoNotOverlap) {
  const Span a(at(0x1000), 64);
  EXPECT_FALSE(a.overlaps(Span(at(0x1040), 64)));
  EXPECT_FALSE(a.overlaps(Span(at(0x0fc0), 64)));
  EXPECT_TRUE(a.overlaps(Span(at(0x103f), 64)));
  EXPECT_TRUE(a.overlaps(Span(at(0x0fc1), 64)));
  EXPECT_TRUE(a.overlaps(Span(at(0x0f00), 0x1000)));
  EXPECT_TRUE(Span(at(0x0f00), 0x1000).overlaps(a));
}

TEST(Span, NothingOverlapsWithNothing) {
  const Span a(at(0x1000), 64);
  EXPECT_FALSE(a.overlaps(Span(at(0x1000), 0)));
  EXPECT_FALSE(a.overlaps(Span(nullptr, 0x100000)));
  EXPECT_FALSE(a.overlaps(Span(at(0x1000), 0, 64, 64)));
}

TEST(Span, RowsOfOneWiderRowInterleave) {
  // [rows, left 32 | right 16 | unused 16]
  const Span left(at(0x1000), 4, 32, 64), right(at(0x1020), 4, 16, 64);
  EXPECT_FALSE(left.overlaps(right));
  EXPECT_FALSE(right.overlaps(left));
  EXPECT_TRUE(left.overlaps(Span(at(0x1010), 4, 16, 64))) << "starts inside";
  EXPECT_TRUE(left.overlaps(Span(at(0x1030), 4, 48, 64))) << "wraps into the next row";
  EXPECT_TRUE(left.overlaps(Span(at(0x1040), 4, 32, 64))) << "rows lower";
  EXPECT_FALSE(left.overlaps(Span(at(0x1060), 4, 16, 64))) << "rows lower, other columns";
  EXPECT_TRUE(left.overlaps(Span(at(0x1020), 4, 16, 128))) << "unequal strides are not looked into";
}

TEST(Span, OnlyTheVerySameDoesNotClash) {
  const Span rows(at(0x1000), 4, 32, 64);
  EXPECT_FALSE(rows.clashes(Span(at(0x1000), 4, 32, 64)));
  EXPECT_TRUE(rows.clashes(Span(at(0x1000), 4, 16, 64)));
  EXPECT_TRUE(rows.clashes(Span(at(0x1000), 4, 32, 80)));
  EXPECT_TRUE(rows.clashes(Span(at(0x1000), 3, 32, 64)));
  EXPECT_FALSE(Span(at(0x1000), 1, 32, 64).clashes(Span(at(0x1000), 1, 32, 80)));
}

}  // namespace
}  // namespace ratchet::kernels
