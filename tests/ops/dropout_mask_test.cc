#include "trainer/ops/dropout_mask.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/ops/op_checks.h"
#include "trainer/ops/philox.h"

namespace ratchet::trainer::ops {
namespace {

TokenPlaces places(std::initializer_list<int64_t> samples,
                   std::initializer_list<int64_t> positions) {
  return {at::tensor(at::ArrayRef<int64_t>(samples), at::kLong),
          at::tensor(at::ArrayRef<int64_t>(positions), at::kLong)};
}

TokenPlaces many_places(int64_t tokens) {
  const at::Tensor t = at::arange(tokens, at::kLong);
  return {t.floor_divide(17) + (int64_t{5} << 32), t.remainder(17)};
}

// Known answers of the Random123 distribution (kat_vectors, philox4x32 10 rounds).
TEST(Philox, GivesThePublishedVectors) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox4x32({ones, ones, ones, ones}, {ones, ones}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(DropoutMask, LoopAndTensorOperatorsGiveTheSameBits) {
  const DropoutKey key{0x123456789abcdef0ULL, 3, 21, 6};
  for (const int64_t columns : {0, 1, 3, 4, 67, 1024}) {
    const TokenPlaces where = many_places(41);
    EXPECT_TRUE(at::equal(dropout_keep_mask_loop(key, where, columns, 0.3),
                          dropout_keep_mask_tensor(key, where, columns, 0.3)))
        << columns;
  }
}

TEST(DropoutMask, FollowsItsDefinition) {
  const DropoutKey key{42, 1, 2, 3};
  const at::Tensor mask = dropout_keep_mask(key, places({(int64_t{7} << 32) + 9}, {5}), 6, 0.25);
  const PhiloxKey stream = stream_key(42, RandomUse::kDropout, 1, 2 * kModulesPerLayer + 3);
  for (uint32_t c = 0; c < 6; ++c) {
    const uint32_t word = philox4x32({c / 4, 5, 9, 7}, stream)[c % 4];
    EXPECT_EQ(mask[0][c].item<uint8_t>(), word >= 0x40000000U ? 1 : 0) << c;
  }
}

TEST(DropoutMask, DoesNotDependOnWhatElseIsInTheBatch) {
  const DropoutKey key{7, 0, 1, 2};
  const at::Tensor together = dropout_keep_mask(key, places({3, 3, 8}, {0, 1, 0}), 50, 0.5);
  const at::Tensor alone = dropout_keep_mask(key, places({8}, {0}), 50, 0.5);
  EXPECT_TRUE(at::equal(together[2], alone[0]));
}

TEST(DropoutMask, ChangesWithEveryPartOfTheKey) {
  const DropoutKey base{7, 0, 1, 2};
  const TokenPlaces where = places({3}, {4});
  const at::Tensor mask = dropout_keep_mask(base, where, 256, 0.5);
  const auto differs = [&](const DropoutKey& key, const TokenPlaces& other) {
    return !at::equal(mask, dropout_keep_mask(key, other, 256, 0.5));
  };
  EXPECT_TRUE(differs({8, 0, 1, 2}, where));
  EXPECT_TRUE(differs({7, 1, 1, 2}, where));
  EXPECT_TRUE(differs({7, 0, 2, 2}, where));
  EXPECT_TRUE(differs({7, 0, 1, 3}, where));
  EXPECT_TRUE(differs(base, places({4}, {4})));
  EXPECT_TRUE(differs(base, places({3}, {5})));
  EXPECT_TRUE(differs(base, places({3 + (int64_t{1} << 32)}, {4})));
}

TEST(DropoutMask, KeepsTheRightShare) {
  const at::Tensor mask = dropout_keep_mask({1, 0, 0, 0}, many_places(400), 1000, 0.1);
  // 400,000 draws: standard deviation of the mean 0.0005.
  EXPECT_NEAR(mask.to(at::kDouble).mean().item<double>(), 0.9, 0.003);
  EXPECT_EQ(dropout_keep_mask({1, 0, 0, 0}, many_places(4), 9, 0.0).sum().item<int64_t>(), 36);
}

TEST(DropoutMask, RefusesBrokenContracts) {
  const TokenPlaces where = places({3}, {4});
  EXPECT_THROW(dropout_keep_mask({1, 0, 0, kModulesPerLayer}, where, 4, 0.1), c10::Error);
  EXPECT_THROW(dropout_keep_mask({}, where, 4, 1.0), c10::Error);
  EXPECT_THROW(dropout_keep_mask({}, where, 4, -0.1), c10::Error);
  EXPECT_THROW(dropout_keep_mask({}, where, -1, 0.1), c10::Error);
  EXPECT_THROW(dropout_keep_mask({}, places({3, 4}, {4}), 4, 0.1), c10::Error);
}

}  // namespace
}  // namespace ratchet::trainer::ops
