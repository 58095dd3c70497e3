#include "trainer/model/lora_layout.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/model/fixtures.h"
#include "trainer/model/model_tensors.h"

namespace ratchet::trainer {
namespace {

using ratchet::testing::expect_error;
using ratchet::testing::is_ok;
using ratchet::testing::tiny_config;

std::vector<TargetModule> targets(std::vector<std::string> words) {
  const auto parsed = parse_target_modules(words);
  EXPECT_TRUE(is_ok(parsed));
  return parsed ? *parsed : std::vector<TargetModule>{};
}

Result<std::vector<TargetModule>> parse(std::vector<std::string> words) {
  return parse_target_modules(words);
}

TEST(LoraLayout, TargetWordsAreReadInEitherForm) {
  EXPECT_EQ(targets({"v_proj", "q"}), (std::vector{TargetModule::kQ, TargetModule::kV}));
  EXPECT_EQ(targets({"all-linear"}).size(), 7U);
  expect_error(parse({}), Code::kInvalidArgument, "No target module");
  expect_error(parse({"q", "q_proj"}), Code::kInvalidArgument, "twice");
  expect_error(parse({"lm_head"}), Code::kInvalidArgument, "'lm_head'");
  expect_error(parse({"all-linear", "q"}), Code::kInvalidArgument, "'all-linear'");
}

TEST(LoraLayout, NamesShapesAndOffsets) {
  const auto layout =
      make_lora_layout(tiny_config(), {.rank = 3, .alpha = 6.0}, targets({"down", "k"}));
  ASSERT_TRUE(is_ok(layout));
  ASSERT_EQ(layout->adapters.size(), 4U);  // 2 layers x 2 modules, by layer, in forward order
  const LoraAdapter& first = layout->adapters[0];
  EXPECT_EQ(first.site, (LoraSite{0, TargetModule::kK}));
  EXPECT_EQ(first.in, 16);
  EXPECT_EQ(first.out, 8);
  const ArenaTensor& a = layout->arena.tensors[first.a];
  const ArenaTensor& b = layout->arena.tensors[first.b];
  EXPECT_EQ(a.name, "base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight");
  EXPECT_EQ(a.shape, (std::vector<std::int64_t>{3, 16}));
  EXPECT_EQ(a.offset, 0);
  EXPECT_EQ(b.name, "base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight");
  EXPECT_EQ(b.shape, (std::vector<std::int64_t>{8, 3}));
  EXPECT_EQ(b.offset, 48);
  EXPECT_EQ(b.size, 24);
  EXPECT_EQ(layout->arena.tensors[2].offset, 80);  // 72, rounded up to 16 floats
  EXPECT_EQ(layout->arena.tensors.back().name,
            "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight");
  EXPECT_EQ(layout->arena.parameter_count(), 2 * 3 * (16 + 8 + 24 + 16));
  EXPECT_EQ(layout->arena.find(b.name), &b);
  EXPECT_EQ(layout->arena.find("x"), nullptr);
}

TEST(LoraLayout, TensorsAreAlignedAndDoNotOverlap) {
  const auto layout =
      make_lora_layout(tiny_config(), {.rank = 5, .alpha = 1.0}, targets({"all-linear"}));
  ASSERT_TRUE(is_ok(layout));
  std::int64_t end = 0;
  for (const ArenaTensor& tensor : layout->arena.tensors) {
    EXPECT_EQ(tensor.offset % kArenaAlignment, 0);
    EXPECT_GE(tensor.offset, end);
    EXPECT_LT(tensor.offset - end, kArenaAlignment);
    end = tensor.offset + tensor.size;
  }
  EXPECT_GE(layout->arena.arena_size, end);
  EXPECT_EQ(layout->arena.arena_size % kArenaAlignment, 0);
}

// 8B all-linear at rank 16 has 41,943,040 parameters, 70B 207,093,760.
TEST(LoraLayout, ParameterCountsOfKnownModels) {
  const std::string llama = R"({"model_type":"llama","vocab_size":128256,"num_key_value_heads":8,)";
  const ModelConfig b8 = tiny_config(llama + R"("hidden_size":4096,"intermediate_size":14336,)"
                                             R"("num_hidden_layers":32,"num_attention_heads":32})");
  const ModelConfig b70 =
      tiny_config(llama + R"("hidden_size":8192,"intermediate_size":28672,)"
                          R"("num_hidden_layers":80,"num_attention_heads":64})");
  const LoraLayoutArgs args{.rank = 16, .alpha = 32.0};
  EXPECT_EQ(make_lora_layout(b8, args, kAllTargetModules)->arena.parameter_count(), 41'943'040);
  EXPECT_EQ(make_lora_layout(b70, args, kAllTargetModules)->arena.parameter_count(), 207'093'760);
}

TEST(LoraLayout, ScalingIsAlphaOverRankOrItsRoot) {
  LoraLayout layout;
  layout.rank = 16;
  layout.alpha = 8.0;
  EXPECT_EQ(layout.scaling(), 0.5);
  layout.rslora = true;
  EXPECT_EQ(layout.scaling(), 2.0);
}

TEST(LoraLayout, BadArgumentsAreRefused) {
  const ModelConfig config = tiny_config();
  const auto with = [&](std::int64_t rank, double alpha) {
    return make_lora_layout(config, {.rank = rank, .alpha = alpha}, kAllTargetModules);
  };
  expect_error(with(0, 1.0), Code::kInvalidArgument, "rank of 0");
  expect_error(with(5000, 1.0), Code::kInvalidArgument, "rank of 5000");
  expect_error(with(4, 0.0), Code::kInvalidArgument, "alpha");
  expect_error(with(4, std::nan("")), Code::kInvalidArgument, "alpha");
  const LoraLayoutArgs args{.rank = 4, .alpha = 4.0};
  expect_error(make_lora_layout(config, args, std::vector<LoraSite>{{2, TargetModule::kQ}}),
               Code::kInvalidArgument, "2 layers");
  expect_error(
      make_lora_layout(config, args,
                       std::vector<LoraSite>{{1, TargetModule::kQ}, {1, TargetModule::kQ}}),
      Code::kInvalidArgument, "twice");
  expect_error(make_lora_layout(config, args, std::vector<LoraSite>{}), Code::kInvalidArgument,
               "at least one");
}

TEST(LoraLayout, FullLayoutHoldsEveryTensorOfTheModel) {
  for (const std::string_view json : {testing::kTinyLlama, testing::kTinyTiedQwen2}) {
    const ModelConfig config = tiny_config(json);
    const ArenaLayout arena = make_full_layout(config);
    EXPECT_EQ(arena.parameter_count(), parameter_count(config));
    EXPECT_EQ(arena.find("lm_head.weight") == nullptr, config.tie_word_embeddings);
    EXPECT_NE(arena.find("model.layers.1.mlp.down_proj.weight"), nullptr);
  }
}

}  // namespace
}  // namespace ratchet::trainer
