#include "trainer/model/adapter_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/model/fixtures.h"
#include "tests/support/shared_inputs.h"

namespace ratchet::trainer {
namespace {

using ratchet::testing::expect_error;
using ratchet::testing::is_ok;
using ratchet::testing::read_bytes;

Result<AdapterConfig> parse(const std::string& keys) {
  return parse_adapter_config(R"({"peft_type":"LORA","target_modules":["q_proj"])" +
                              (keys.empty() ? "" : "," + keys) + "}");
}

TEST(AdapterConfig, TypeAndTargetsAreEnough) {
  const auto config = parse("");
  ASSERT_TRUE(is_ok(config));
  EXPECT_EQ(config->rank, 8);
  EXPECT_EQ(config->alpha, 8.0);
  EXPECT_FALSE(config->rslora);
  EXPECT_EQ(config->target_modules, std::vector<std::string>{"q_proj"});
  expect_error(parse_adapter_config(R"({"target_modules":["q_proj"]})"), Code::kInvalidArgument,
               "peft_type");
  expect_error(parse_adapter_config(R"({"peft_type":"LORA"})"), Code::kInvalidArgument,
               "target_modules");
}

TEST(AdapterConfig, ReadsTheThreeFormsOfTargets) {
  const auto with = [](const std::string& targets) {
    return parse_adapter_config(R"({"peft_type":"LORA","target_modules":)" + targets + "}");
  };
  EXPECT_EQ(with(R"(["v_proj","q_proj","v_proj"])")->target_modules,
            (std::vector<std::string>{"q_proj", "v_proj"}));
  EXPECT_EQ(with(R"("all-linear")")->targets, AdapterConfig::Targets::kAllLinear);
  EXPECT_EQ(with(R"(".*\\.q_proj")")->targets, AdapterConfig::Targets::kPattern);
  expect_error(with("[]"), Code::kInvalidArgument, "target_modules");
  expect_error(with("[1]"), Code::kInvalidArgument, "target_modules");
  expect_error(with("{}"), Code::kInvalidArgument, "target_modules");
}

TEST(AdapterConfig, WhatGoesBeyondPlainLoraIsRefusedByName) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {R"("use_qalora":true)", "use_qalora"},
      {R"("lora_bias":true)", "lora_bias"},
      {R"("fan_in_fan_out":true)", "fan_in_fan_out"},
      {R"("rank_pattern":{"q_proj":4})", "rank_pattern"},
      {R"("alpha_pattern":{"q_proj":4})", "alpha_pattern"},
      {R"("modules_to_save":["lm_head"])", "modules_to_save"},
      {R"("layer_replication":[[0,2],[1,3]])", "layer_replication"},
      {R"("trainable_token_indices":[1])", "trainable_token_indices"},
      {R"("target_parameters":["x"])", "target_parameters"},
      {R"("alora_invocation_tokens":[1])", "alora_invocation_tokens"},
      {R"("kasa_config":{"beta":1})", "kasa_config"},
      {R"("bias":"all")", "'all'"},
      {R"("bias":"lora_only")", "'lora_only'"},
      {R"("task_type":"SEQ_CLS")", "SEQ_CLS"},
      {R"("init_lora_weights":"pissa")", "pissa"},
      {R"("init_lora_weights":"olora")", "olora"}};
  for (const auto& [keys, part] : cases) expect_error(parse(keys), Code::kUnsupported, part);
  expect_error(parse_adapter_config(R"({"peft_type":"IA3","target_modules":["q_proj"]})"),
               Code::kUnsupported, "IA3");
}

TEST(AdapterConfig, EmptyFormsOfTheseKeysAreFine) {
  EXPECT_TRUE(is_ok(parse(
      R"("rank_pattern":{},"alpha_pattern":{},"modules_to_save":null,"use_dora":false,
         "layer_replication":[],"init_lora_weights":"gaussian","task_type":null,"bias":"none",
         "unknown_key_of_the_future":{"a":[1]},"lora_dropout":0)")));
}

TEST(AdapterConfig, ValuesOutOfRangeAreRefused) {
  expect_error(parse(R"("r":0)"), Code::kInvalidArgument, "'r'");
  expect_error(parse(R"("r":8.0)"), Code::kInvalidArgument, "'r'");
  expect_error(parse(R"("lora_alpha":-1)"), Code::kInvalidArgument, "lora_alpha");
  expect_error(parse(R"("lora_dropout":1.5)"), Code::kInvalidArgument, "lora_dropout");
  expect_error(parse(R"("use_rslora":1)"), Code::kInvalidArgument, "use_rslora");
}

TEST(AdapterConfig, WrittenTextIsReadBack) {
  AdapterConfig config;
  config.base_model = "some/model \"quoted\"";
  config.rank = 4;
  config.alpha = 12.5;
  config.rslora = true;
  config.dropout = 0.1;
  config.target_modules = {"gate_proj", "q_proj"};
  const std::string text = adapter_config_json(config);
  const auto back = parse_adapter_config(text);
  ASSERT_TRUE(is_ok(back));
  EXPECT_EQ(back->base_model, config.base_model);
  EXPECT_EQ(back->rank, 4);
  EXPECT_EQ(back->alpha, 12.5);
  EXPECT_TRUE(back->rslora);
  EXPECT_EQ(back->dropout, 0.1);
  EXPECT_EQ(back->target_modules, config.target_modules);
  EXPECT_EQ(adapter_config_json(*back), text);
}

// PEFT 0.19.1's own file, parsed and written again, differs only in what the two runs differ in.
TEST(AdapterConfig, WritesTheBytesThatPeftWrites) {
  RATCHET_NEEDS_SHARED_INPUTS();
  const std::string text = read_bytes(ratchet::testing::shared_inputs() / "configs" /
                                      "adapter_config.peft-0.19.1.qwen2.5-0.5b.json");
  const auto config = parse_adapter_config(text);
  ASSERT_TRUE(is_ok(config));
  EXPECT_EQ(config->rank, 8);
  EXPECT_EQ(config->alpha, 16.0);
  EXPECT_EQ(config->dropout, 0.05);
  EXPECT_EQ(config->peft_version, "0.19.1");
  EXPECT_EQ(config->target_modules, (std::vector<std::string>{"q_proj", "v_proj"}));
  std::string trimmed = text;
  while (trimmed.ends_with('\n')) trimmed.pop_back();
  EXPECT_EQ(adapter_config_json(*config), trimmed);
}

}  // namespace
}  // namespace ratchet::trainer
