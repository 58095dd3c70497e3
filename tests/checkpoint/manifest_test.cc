#include "trainer/checkpoint/manifest.h"

#include <gtest/gtest.h>

#include "tests/checkpoint/small_job.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/model/digest.h"

namespace ratchet::trainer {
namespace {

Manifest full_manifest() {
  Manifest m;
  m.header = SmallJob().header();
  m.header.attempt_no = 3;
  m.header.epoch = 7;
  m.header.parent_manifest = std::string(64, 'a');
  m.header.optimizer.step = 300;
  m.header.exactness = {ResumeClass::kSameData, {"The number of threads was '2' and is '4'."}};
  m.step = 300;
  m.samples_seen = 2400;
  m.tokens_seen = 300 * 1024;
  const std::string hash(32, '1');
  m.files = {{"a.safetensors", kChunkBytes + 1, std::string(64, '2'), hash, {hash, hash}},
             {"b.json", 0, std::string(64, '3'), hash, {}}};
  m.tensors_digest = std::string(64, '4');
  m.witness_steps = {301, 302};
  return m;
}

TEST(Manifest, EveryFieldSurvivesTheRoundTrip) {
  const Manifest manifest = full_manifest();
  const std::string text = encode_manifest(manifest);
  auto decoded = decode_manifest(text);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, manifest);
  EXPECT_EQ(encode_manifest(*decoded), text);
}

TEST(Manifest, EveryFlippedBitIsRefused) {
  const std::string good = encode_manifest(full_manifest());
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (const int bit : {0, 4}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      auto decoded = decode_manifest(bad);
      ASSERT_FALSE(decoded) << "byte " << i;
      EXPECT_EQ(decoded.error().code, Code::kCorrupt);
    }
  }
}

TEST(Manifest, EveryTruncationAndAnyAppendedByteIsRefused) {
  const std::string good = encode_manifest(full_manifest());
  for (std::size_t n = 0; n < good.size(); ++n) ASSERT_FALSE(decode_manifest(good.substr(0, n)));
  for (const char* more : {" ", "\n", "x", "{}"}) EXPECT_FALSE(decode_manifest(good + more));
}

// A text whose seal fits: what only the rules for fields can refuse.
std::string sealed(std::string body) {
  const std::string seal = to_hex(sha256(std::string_view(body)));
  return body + ",\n \"sha256_above\": \"" + seal + "\"\n}\n";
}

TEST(Manifest, RulesHoldUnderAFittingSeal) {
  const std::string good = encode_manifest(full_manifest());
  const std::string body = good.substr(0, good.find(",\n \"sha256_above\""));
  ASSERT_TRUE(decode_manifest(sealed(body)));
  const struct {
    std::string from, to, word;
  } cases[] = {
      {"ratchet-checkpoint/1", "ratchet-checkpoint/2", "$.schema"},
      {"\"step\": 300,\n \"micro_step\": 0", "\"step\": 300,\n \"micro_step\": 1", "$.micro_step"},
      {"\"epoch\": 7", "\"epoch\": 7, \"epoch\": 8", "\"epoch\" twice"},
      {"\"epoch\": 7", "\"epoch\": 7, \"colour\": 8", "$.colour is unknown"},
      {"\"epoch\": 7,", "", "$.epoch is missing"},
      {"a.safetensors", "../etc/passwd", "$.files[0].name"},
      {"a.safetensors", "z.safetensors", "sorted"},
      {"b.json", "a.safetensors", "sorted"},
      {"b.json", "MANIFEST.json", "$.files[1].name"},
      {"\"bytes\": 16777217", "\"bytes\": 33554433", "$.files[0].chunk_xxh3"},
      {"\"class\": \"B\"", "\"class\": \"D\"", "$.exactness.class"},
      {"\"chunk_bytes\": 16777216", "\"chunk_bytes\": 1", "$.files[0].chunk_bytes"},
      {"\"epoch\": 7", "\"epoch\": 07", "not JSON"},
  };
  for (const auto& c : cases) {
    std::string text = body;
    const std::size_t at = text.find(c.from);
    ASSERT_NE(at, std::string::npos) << c.from;
    text.replace(at, c.from.size(), c.to);
    auto decoded = decode_manifest(sealed(text));
    ASSERT_FALSE(decoded) << c.to;
    EXPECT_NE(decoded.error().message.find(c.word), std::string::npos) << decoded.error().message;
  }
}

TEST(Manifest, DeepNestingAndSizeAreBounded) {
  std::string deep = "{\"a\":";
  for (int i = 0; i < 1000; ++i) deep += "[";
  auto decoded = decode_manifest(deep);
  ASSERT_FALSE(decoded);
  EXPECT_NE(decoded.error().message.find("deeper"), std::string::npos);
  decoded = decode_manifest(std::string(kMaxManifestBytes + 1, ' '));
  ASSERT_FALSE(decoded);
  EXPECT_NE(decoded.error().message.find("longer"), std::string::npos);
}

}  // namespace
}  // namespace ratchet::trainer
