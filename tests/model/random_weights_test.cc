#include "trainer/model/random_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/model/fixtures.h"
#include "tests/support/files.h"
#include "trainer/model/hf_folder.h"

namespace ratchet::trainer {
namespace {

using ratchet::testing::expect_error;
using ratchet::testing::is_ok;
using ratchet::testing::kTinyLlama;
using ratchet::testing::read_bytes;
using ratchet::testing::TempFolder;
using ratchet::testing::tiny_config;
using ratchet::testing::write_bytes;

std::vector<float> draw(std::uint64_t seed, std::string_view name, std::uint64_t first,
                        std::size_t count) {
  std::vector<float> values(count);
  random_normal(seed, name, first, 1.0, values);
  return values;
}

TEST(RandomNormal, AnyCutGivesTheSameValues) {
  const std::vector<float> whole = draw(3, "w", 0, 1000);
  for (const std::size_t at : {1, 17, 999}) {
    const std::vector<float> rest = draw(3, "w", at, 1000 - at);
    EXPECT_TRUE(std::equal(rest.begin(), rest.end(), whole.begin() + static_cast<long>(at)));
  }
  EXPECT_NE(whole, draw(4, "w", 0, 1000));
  EXPECT_NE(whole, draw(3, "v", 0, 1000));
}

// The generator is part of the format of a seed: these bits must never change.
TEST(RandomNormal, BitsOfASeedAreFixed) {
  const auto units = [](std::vector<float> values) {  // of 2^-16
    for (float& value : values) value *= 65536.0F;
    return values;
  };
  EXPECT_EQ(units(draw(0, "model.embed_tokens.weight", 0, 4)),
            (std::vector<float>{-6619, -66710, 121461, 19933}));
  EXPECT_EQ(units(draw(1234567, "lm_head.weight", std::uint64_t{1} << 40, 4)),
            (std::vector<float>{-41909, -102122, 41981, 33340}));
}

TEST(RandomNormal, MomentsAndQuantilesAreThoseOfANormal) {
  constexpr std::size_t kCount = 1'000'000;
  std::vector<float> values = draw(11, "w", 0, kCount);
  double mean = 0.0;
  for (const float value : values) mean += value;
  mean /= kCount;
  double variance = 0.0;
  double neighbours = 0.0;
  for (std::size_t i = 0; i < kCount; ++i) {
    variance += (values[i] - mean) * (values[i] - mean) / kCount;
    if (i > 0) neighbours += values[i] * values[i - 1] / kCount;
  }
  EXPECT_NEAR(mean, 0.0, 0.005);  // five standard errors
  EXPECT_NEAR(variance, 1.0, 0.007);
  EXPECT_NEAR(neighbours, 0.0, 0.005);
  std::sort(values.begin(), values.end());
  // The sum of twelve uniforms is narrower in the tails by about a hundredth at two sigma.
  EXPECT_NEAR(values[kCount * 841 / 1000], 0.9986, 0.02);
  EXPECT_NEAR(values[kCount * 977 / 1000], 1.995, 0.04);
  EXPECT_LT(std::abs(values.front()), 6.0F);
}

TEST(RandomWeights, ThreadsAndShardsDoNotChangeTheModel) {
  const TempFolder temp;
  RandomWeightsArgs args;
  args.seed = 5;
  args.threads = 1;
  ratchet::testing::write_bytes(temp.path() / "config.json", kTinyLlama);
  ASSERT_TRUE(is_ok(make_random_model(temp.path() / "a", temp.path() / "config.json", {}, args)));
  args.threads = 4;
  ASSERT_TRUE(is_ok(make_random_model(temp.path() / "b", temp.path() / "config.json", {}, args)));
  EXPECT_EQ(read_bytes(temp.path() / "a" / "model.safetensors"),
            read_bytes(temp.path() / "b" / "model.safetensors"));
  const auto folder = HfFolder::open(temp.path() / "a");
  ASSERT_TRUE(is_ok(folder));
  EXPECT_EQ(folder->main_dtype(), DType::kBF16);
  EXPECT_EQ(folder->config().dtype, DType::kBF16);
  args.seed = 6;
  ASSERT_TRUE(is_ok(make_random_model(temp.path() / "c", temp.path() / "config.json", {}, args)));
  EXPECT_NE(read_bytes(temp.path() / "a" / "model.safetensors"),
            read_bytes(temp.path() / "c" / "model.safetensors"));
}

TEST(RandomWeights, RolesDecideTheValues) {
  const TempFolder temp;
  ratchet::testing::make_tiny_model(temp.path() / "m", ratchet::testing::kTinyTiedQwen2);
  const auto folder = HfFolder::open(temp.path() / "m");
  ASSERT_TRUE(is_ok(folder));
  for (const FolderTensor& tensor : folder->tensors()) {
    std::vector<float> values(static_cast<std::size_t>(tensor.stored->element_count()));
    ASSERT_TRUE(is_ok(folder->read_tensor_as_float(tensor, values)));
    const auto all = [&](float wanted) {
      return std::all_of(values.begin(), values.end(), [&](float v) { return v == wanted; });
    };
    switch (tensor.tensor.role) {
      case TensorRole::kNorm:
        EXPECT_TRUE(all(1.0F)) << tensor.tensor.name;
        break;
      case TensorRole::kBias:
        EXPECT_TRUE(all(0.0F)) << tensor.tensor.name;
        break;
      default:
        EXPECT_LT(*std::max_element(values.begin(), values.end()), 0.12F);
        EXPECT_GT(*std::max_element(values.begin(), values.end()), 0.02F) << tensor.tensor.name;
    }
  }
}

TEST(RandomWeights, ModelFolderCarriesTheTokenizerButNotItsWeights) {
  const TempFolder temp;
  const auto from = temp.path() / "from";
  std::filesystem::create_directories(from);
  write_bytes(from / "config.json", "{}");
  write_bytes(from / "tokenizer.json", "tok");
  write_bytes(from / "chat_template.jinja", "tpl");
  write_bytes(from / "model.safetensors", "old");
  write_bytes(from / "model.safetensors.index.json", "{}");
  write_bytes(temp.path() / "c.json", kTinyLlama);
  const auto out = temp.path() / "out";
  ASSERT_TRUE(is_ok(make_random_model(out, temp.path() / "c.json", from, {})));
  EXPECT_EQ(read_bytes(out / "tokenizer.json"), "tok");
  EXPECT_EQ(read_bytes(out / "chat_template.jinja"), "tpl");
  EXPECT_FALSE(std::filesystem::exists(out / "model.safetensors.index.json"));
  EXPECT_TRUE(is_ok(HfFolder::open(out)));
  expect_error(make_random_model(out, temp.path() / "c.json", from, {}), Code::kAlreadyExists,
               "not empty");
}

TEST(RandomWeights, StopsWhenToldToAndLeavesNoModel) {
  const TempFolder temp;
  RandomWeightsArgs args;
  args.progress = [](std::uint64_t done, std::uint64_t total) {
    EXPECT_LE(done, total);
    return false;
  };
  expect_error(write_random_weights(temp.path(), tiny_config(), args), Code::kFailedPrecondition,
               "stopped");
  EXPECT_TRUE(std::filesystem::is_empty(temp.path()));
  args = {};
  args.dtype = DType::kI8;
  expect_error(write_random_weights(temp.path(), tiny_config(), args), Code::kInvalidArgument,
               "I8");
}

}  // namespace
}  // namespace ratchet::trainer
