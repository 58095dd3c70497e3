#include "trainer/model/copy_folder.h"

#include <gtest/gtest.h>

#include "tests/model/fixtures.h"
#include "tests/support/files.h"

namespace ratchet::trainer {
namespace {

using ratchet::testing::expect_error;
using ratchet::testing::is_ok;
using ratchet::testing::make_tiny_model;
using ratchet::testing::read_bytes;
using ratchet::testing::TempFolder;
using ratchet::testing::write_bytes;

std::vector<float> values_of(const HfFolder& folder, std::string_view name) {
  const FolderTensor& tensor = *folder.find(name);
  std::vector<float> values(static_cast<std::size_t>(tensor.stored->element_count()));
  EXPECT_TRUE(is_ok(folder.read_tensor_as_float(tensor, values)));
  return values;
}

constexpr std::string_view kChanged = "model.layers.1.self_attn.o_proj.weight";

CopyFolderArgs add_one() {
  CopyFolderArgs args;
  args.selects = [](const FolderTensor& tensor) { return tensor.tensor.name == kChanged; };
  args.transform = [](const FolderTensor&, std::span<float> values) {
    for (float& value : values) value += 1.0F;
    return ok();
  };
  return args;
}

TEST(CopyFolder, ChangesTheChosenTensorsOnly) {
  const TempFolder temp;
  make_tiny_model(temp.path() / "in");
  write_bytes(temp.path() / "in" / "tokenizer.json", "tok");
  write_bytes(temp.path() / "in" / "training_args.bin", "private");
  const auto source = HfFolder::open(temp.path() / "in");
  ASSERT_TRUE(is_ok(source));
  for (const std::uint64_t shard_bytes : {std::uint64_t{1} << 30, std::uint64_t{3000}}) {
    const auto out = temp.path() / ("out" + std::to_string(shard_bytes));
    CopyFolderArgs args = add_one();
    args.max_shard_bytes = shard_bytes;
    std::uint64_t told = 0;
    args.progress = [&](std::uint64_t done, std::uint64_t total) {
      EXPECT_EQ(total, source->weight_bytes());
      told = done;
      return true;
    };
    ASSERT_TRUE(is_ok(copy_model_folder(*source, out, args)));
    EXPECT_EQ(told, source->weight_bytes());
    const auto copy = HfFolder::open(out);
    ASSERT_TRUE(is_ok(copy));
    EXPECT_TRUE(copy->notes().empty());
    EXPECT_EQ(copy->shards().size() > 1, shard_bytes == 3000);
    for (const FolderTensor& tensor : source->tensors()) {
      std::vector<float> want = values_of(*source, tensor.tensor.name);
      if (tensor.tensor.name == kChanged) {
        for (float& value : want) value += 1.0F;
      }
      EXPECT_EQ(values_of(*copy, tensor.tensor.name), want) << tensor.tensor.name;
    }
    EXPECT_EQ(read_bytes(out / "tokenizer.json"), "tok");
    EXPECT_EQ(read_bytes(out / "config.json"), read_bytes(temp.path() / "in" / "config.json"));
    EXPECT_FALSE(std::filesystem::exists(out / "training_args.bin"));
  }
}

TEST(CopyFolder, AnErrorOfTheTransformEndsTheCopyWithoutAModel) {
  const TempFolder temp;
  make_tiny_model(temp.path() / "in");
  const auto source = HfFolder::open(temp.path() / "in");
  ASSERT_TRUE(is_ok(source));
  CopyFolderArgs args = add_one();
  args.transform = [](const FolderTensor&, std::span<float>) -> Status {
    return Error{Code::kCorrupt, "The adapter is broken."};
  };
  expect_error(copy_model_folder(*source, temp.path() / "out", args), Code::kCorrupt, "broken");
  EXPECT_FALSE(std::filesystem::exists(temp.path() / "out" / "model.safetensors"));
  expect_error(copy_model_folder(*source, temp.path() / "in", args), Code::kAlreadyExists, "empty");
}

TEST(ShardPlan, CutsAtTheLimitAndNamesLikeTransformers) {
  const std::vector<TensorSpec> specs = {{"a", DType::kU8, {60}},
                                         {"b", DType::kU8, {40}},
                                         {"c", DType::kU8, {200}},
                                         {"d", DType::kU8, {1}}};
  const ShardPlan plan = plan_shards(specs, 100);
  ASSERT_EQ(plan.shards.size(), 3U);
  EXPECT_EQ(plan.shards[0].tensors.size(), 2U);
  EXPECT_EQ(plan.shards[1].file, "model-00002-of-00003.safetensors");
  EXPECT_NE(plan.index_json.find("\"total_size\": 301"), std::string::npos);
  const ShardPlan one = plan_shards(specs, 1000);
  ASSERT_EQ(one.shards.size(), 1U);
  EXPECT_EQ(one.shards[0].file, "model.safetensors");
  EXPECT_TRUE(one.index_json.empty());
}

}  // namespace
}  // namespace ratchet::trainer
