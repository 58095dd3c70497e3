#include "trainer/model/model_config.h"

#include <gtest/gtest.h>

#include "tests/model/fixtures.h"
#include "tests/support/shared_inputs.h"
#include "trainer/model/model_tensors.h"

namespace ratchet::trainer {
namespace {

using ratchet::testing::expect_error;
using ratchet::testing::is_ok;
using ratchet::testing::read_bytes;
using ratchet::testing::shared_inputs;

Result<ModelConfig> parse(const std::string& keys) { return parse_model_config("{" + keys + "}"); }

// Sizes of a small model, to be followed by what a test is about.
const std::string kSizes =
    R"("vocab_size":32,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":4,)"
    R"("num_attention_heads":4,"num_key_value_heads":2,)";

Result<ModelConfig> small(const std::string& type, const std::string& keys) {
  return parse(kSizes + R"("model_type":")" + type + "\"" + (keys.empty() ? "" : ",") + keys);
}

TEST(ModelConfig, AbsentKeysTakeTheClassDefaults) {
  const auto llama = parse(R"("model_type":"llama")");
  ASSERT_TRUE(is_ok(llama));
  EXPECT_EQ(llama->vocab_size, 32000);
  EXPECT_EQ(llama->intermediate_size, 11008);
  EXPECT_EQ(llama->kv_head_count, 32);
  EXPECT_EQ(llama->head_dim, 128);
  EXPECT_EQ(llama->max_position_embeddings, 2048);
  EXPECT_EQ(llama->rms_norm_eps, 1e-6);
  EXPECT_EQ(llama->rope_theta, 10000.0);
  EXPECT_FALSE(llama->tie_word_embeddings);
  EXPECT_EQ(llama->bos_token_id, 1);
  EXPECT_EQ(llama->eos_token_ids, std::vector<std::int64_t>{2});

  const auto mistral = parse(R"("model_type":"mistral")");
  ASSERT_TRUE(is_ok(mistral));
  EXPECT_EQ(mistral->kv_head_count, 8);
  EXPECT_EQ(mistral->intermediate_size, 14336);
  EXPECT_EQ(mistral->max_position_embeddings, 131072);
  EXPECT_EQ(mistral->sliding_windows, std::vector<std::int64_t>(32, 4096));

  const auto qwen2 = parse(R"("model_type":"qwen2")");
  ASSERT_TRUE(is_ok(qwen2));
  EXPECT_EQ(qwen2->vocab_size, 151936);
  EXPECT_EQ(qwen2->intermediate_size, 22016);
  EXPECT_TRUE(qwen2->qkv_bias);
  EXPECT_FALSE(qwen2->o_bias);
  EXPECT_TRUE(qwen2->eos_token_ids.empty());
  EXPECT_FALSE(qwen2->bos_token_id.has_value());

  const auto qwen3 = parse(R"("model_type":"qwen3","num_attention_heads":16,
                              "num_key_value_heads":8,"hidden_size":1024)");
  ASSERT_TRUE(is_ok(qwen3));
  EXPECT_EQ(qwen3->head_dim, 128);  // not 1024 / 16
  EXPECT_TRUE(qwen3->qk_norm);
  EXPECT_FALSE(qwen3->qkv_bias);
}

TEST(ModelConfig, NullKeyValueHeadsAndHeadDimMeanTheDerivedValue) {
  const auto config = parse(R"("model_type":"mistral","hidden_size":64,"num_attention_heads":4,
                               "num_key_value_heads":null,"head_dim":null)");
  ASSERT_TRUE(is_ok(config));
  EXPECT_EQ(config->kv_head_count, 4);
  EXPECT_EQ(config->head_dim, 16);
}

TEST(ModelConfig, HeadDimNeedNotBeHiddenOverHeads) {
  const auto config = small("llama", R"("head_dim":6)");
  ASSERT_TRUE(is_ok(config));
  EXPECT_EQ(config->q_size(), 24);
  EXPECT_EQ(config->kv_size(), 12);
}

TEST(ModelConfig, EosMayBeANumberAListOrNull) {
  EXPECT_EQ(small("llama", R"("eos_token_id":7)")->eos_token_ids, std::vector<std::int64_t>{7});
  EXPECT_EQ(small("llama", R"("eos_token_id":[7,8])")->eos_token_ids,
            (std::vector<std::int64_t>{7, 8}));
  EXPECT_TRUE(small("llama", R"("eos_token_id":null)")->eos_token_ids.empty());
  EXPECT_FALSE(small("llama", R"("pad_token_id":-1)")->pad_token_id.has_value());
  expect_error(small("llama", R"("eos_token_id":["</s>"])"), Code::kInvalidArgument,
               "eos_token_id");
  expect_error(small("llama", R"("eos_token_id":1.5)"), Code::kInvalidArgument, "eos_token_id");
}

TEST(ModelConfig, BiasesFollowTheFamily) {
  const std::string both = R"("attention_bias":true,"mlp_bias":true)";
  const auto llama = small("llama", both);
  EXPECT_TRUE(llama->qkv_bias && llama->o_bias && llama->mlp_bias);
  const auto mistral = small("mistral", both);
  EXPECT_FALSE(mistral->qkv_bias || mistral->o_bias || mistral->mlp_bias);
  const auto qwen2 = small("qwen2", R"("attention_bias":false)");
  EXPECT_TRUE(qwen2->qkv_bias);
  EXPECT_FALSE(qwen2->o_bias || qwen2->mlp_bias);
  const auto qwen3 = small("qwen3", R"("attention_bias":true,"head_dim":4)");
  EXPECT_TRUE(qwen3->qkv_bias && qwen3->o_bias);
  EXPECT_FALSE(qwen3->mlp_bias);
}

constexpr const char* kLlama3 = R"("factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,)"
                                R"("original_max_position_embeddings":8192)";

TEST(ModelConfig, RopeIsReadInBothSpellings) {
  for (const std::string& keys :
       {R"("rope_theta":5e5,"rope_scaling":{"rope_type":"llama3",)" + std::string(kLlama3) + "}",
        R"("rope_theta":5e5,"rope_scaling":{"type":"llama3",)" + std::string(kLlama3) + "}",
        R"("rope_parameters":{"rope_theta":500000,"rope_type":"llama3",)" + std::string(kLlama3) +
            "}",
        R"("rope_theta":5e5,"rope_scaling":{"rope_type":"llama3",)" + std::string(kLlama3) +
            R"(},"rope_parameters":{"rope_theta":5e5,"rope_type":"llama3",)" + kLlama3 + "}"}) {
    const auto config = small("llama", keys);
    ASSERT_TRUE(is_ok(config)) << keys;
    EXPECT_EQ(config->rope_theta, 5e5);
    ASSERT_TRUE(config->rope_scaling.has_value());
    EXPECT_EQ(config->rope_scaling->factor, 8.0);
    EXPECT_EQ(config->rope_scaling->original_max_position_embeddings, 8192);
  }
  for (const char* keys : {"", R"("rope_scaling":null)", R"("rope_scaling":{})",
                           R"("rope_parameters":{"rope_type":"default","rope_theta":10000.0})",
                           R"("rope_scaling":{"rope_type":"default"},"rope_parameters":null)"}) {
    const auto config = small("llama", keys);
    ASSERT_TRUE(is_ok(config)) << keys;
    EXPECT_FALSE(config->rope_scaling.has_value());
    EXPECT_EQ(config->rope_theta, 10000.0);
  }
}

TEST(ModelConfig, RopeSpellingsMustAgree) {
  expect_error(small("llama", R"("rope_theta":1e4,"rope_parameters":{"rope_theta":5e5})"),
               Code::kInvalidArgument, "rope_parameters");
  expect_error(small("llama", R"("rope_scaling":{"type":"default","rope_type":"llama3",)" +
                                  std::string(kLlama3) + "}"),
               Code::kInvalidArgument, "must agree");
  expect_error(small("llama", R"("rope_scaling":{"rope_type":"llama3",)" + std::string(kLlama3) +
                                  R"(},"rope_parameters":{"rope_type":"default"})"),
               Code::kInvalidArgument, "must agree");
}

TEST(ModelConfig, OtherRopesAreRefusedByName) {
  for (const char* type : {"linear", "dynamic", "yarn", "longrope", "su", "mrope"}) {
    const std::string keys =
        R"("rope_scaling":{"rope_type":")" + std::string(type) + R"(","factor":2.0})";
    expect_error(small("llama", keys), Code::kUnsupported, std::string("'") + type + "'");
  }
  expect_error(small("llama", R"("partial_rotary_factor":0.5)"), Code::kUnsupported,
               "partial_rotary_factor");
  expect_error(small("llama", R"("rope_parameters":{"full_attention":{"rope_theta":1e4}})"),
               Code::kUnsupported, "full_attention");
  expect_error(small("llama", R"("rope_scaling":{"factor":2.0})"), Code::kInvalidArgument,
               "rope_type");
  expect_error(small("llama", R"("rope_scaling":{"rope_type":"llama3","factor":8.0})"),
               Code::kInvalidArgument, "original_max_position_embeddings");
  expect_error(small("llama", R"("rope_scaling":{"rope_type":"llama3","factor":8.0,
                       "low_freq_factor":4.0,"high_freq_factor":1.0,
                       "original_max_position_embeddings":64})"),
               Code::kInvalidArgument, "high_freq_factor");
}

using Windows = std::vector<std::int64_t>;

TEST(ModelConfig, SlidingWindowsOfTheFamilies) {
  EXPECT_EQ(small("llama", R"("sliding_window":8)")->sliding_windows, Windows(4, 0));
  EXPECT_EQ(small("mistral", R"("sliding_window":8)")->sliding_windows, Windows(4, 8));
  EXPECT_EQ(small("mistral", R"("sliding_window":null)")->sliding_windows, Windows(4, 0));
  const std::string off = R"("sliding_window":131072,"use_sliding_window":false)";
  EXPECT_EQ(small("qwen2", off + R"(,"max_window_layers":0)")->sliding_windows, Windows(4, 0));
  const std::string on = R"("sliding_window":8,"use_sliding_window":true)";
  EXPECT_EQ(small("qwen2", on + R"(,"max_window_layers":3)")->sliding_windows,
            (Windows{0, 0, 0, 8}));
  EXPECT_EQ(small("qwen3", on + R"(,"head_dim":4,"max_window_layers":1)")->sliding_windows,
            (Windows{0, 8, 8, 8}));
  EXPECT_EQ(small("qwen2", on)->sliding_windows, Windows(4, 0));  // from layer 28 on
  EXPECT_EQ(small("qwen2", R"("use_sliding_window":true,"max_window_layers":0)")->sliding_windows,
            Windows(4, 4096));
  EXPECT_EQ(small("qwen2", R"("use_sliding_window":true,"sliding_window":null,
                              "max_window_layers":0)")
                ->sliding_windows,
            Windows(4, 0));
}

TEST(ModelConfig, LayerTypesSayTheSameInTheNewSpelling) {
  const std::string types =
      R"("layer_types":["full_attention","sliding_attention","sliding_attention",)"
      R"("sliding_attention"],"use_sliding_window":true,"sliding_window":8)";
  EXPECT_EQ(small("qwen2", types)->sliding_windows, (Windows{0, 8, 8, 8}));
  EXPECT_EQ(small("qwen2", types + R"(,"max_window_layers":1)")->sliding_windows,
            (Windows{0, 8, 8, 8}));
  expect_error(small("qwen2", types + R"(,"max_window_layers":2)"), Code::kInvalidArgument,
               "layer 1");
  // 28 is the class default, which transformers 5 writes beside any list.
  EXPECT_EQ(small("qwen2", types + R"(,"max_window_layers":28)")->sliding_windows,
            (Windows{0, 8, 8, 8}));
  expect_error(small("qwen2", R"("use_sliding_window":false,"layer_types":["full_attention",
                       "full_attention","full_attention","sliding_attention"])"),
               Code::kInvalidArgument, "layer 3");
  expect_error(small("qwen2", R"("layer_types":["full_attention"])"), Code::kInvalidArgument,
               "layer_types");
  expect_error(small("qwen2", R"("layer_types":["full_attention","full_attention",
                                "full_attention","chunked_attention"])"),
               Code::kInvalidArgument, "chunked_attention");
  expect_error(small("mistral", R"("sliding_window":8,"layer_types":["full_attention",
                       "full_attention","full_attention","full_attention"])"),
               Code::kInvalidArgument, "layer 0");
}

TEST(ModelConfig, DtypeIsReadInBothSpellings) {
  EXPECT_EQ(small("llama", R"("torch_dtype":"bfloat16")")->dtype, DType::kBF16);
  EXPECT_EQ(small("llama", R"("dtype":"float16")")->dtype, DType::kF16);
  EXPECT_EQ(small("llama", R"("dtype":"float32","torch_dtype":"torch.float32")")->dtype,
            DType::kF32);
  EXPECT_FALSE(small("llama", "")->dtype.has_value());
  expect_error(small("llama", R"("dtype":"float32","torch_dtype":"bfloat16")"),
               Code::kInvalidArgument, "torch_dtype");
}

TEST(ModelConfig, WhatIsNotAppliedIsSaid) {
  const auto config = small("llama", R"("attention_dropout":0.1,"auto_map":{"AutoConfig":"x.Y"})");
  ASSERT_TRUE(is_ok(config));
  ASSERT_EQ(config->notes.size(), 2U);
  EXPECT_NE(config->notes[0].find("0.1"), std::string::npos);
  EXPECT_TRUE(small("llama", R"("attention_dropout":0.0)")->notes.empty());
}

struct RefusedCase {
  const char* name;
  Code code;
  const char* keys;  // after the sizes
  const char* part;  // of the message
};

class ModelConfigRules : public ::testing::TestWithParam<RefusedCase> {};

TEST_P(ModelConfigRules, IsRefusedWithItsReason) {
  expect_error(parse(kSizes + GetParam().keys), GetParam().code, GetParam().part);
}

INSTANTIATE_TEST_SUITE_P(
    All, ModelConfigRules,
    ::testing::Values(
        RefusedCase{"NoType", Code::kInvalidArgument, R"("bos_token_id":1)", "model_type"},
        RefusedCase{"OtherType", Code::kUnsupported, R"("model_type":"gpt2")", "'gpt2'"},
        RefusedCase{"OtherArchitecture", Code::kUnsupported,
                    R"("architectures":["GPT2LMHeadModel"])", "GPT2LMHeadModel"},
        RefusedCase{"Classifier", Code::kUnsupported,
                    R"("model_type":"llama","architectures":["LlamaForSequenceClassification"])",
                    "LlamaForSequenceClassification"},
        RefusedCase{"TypeAgainstArchitecture", Code::kUnsupported,
                    R"("model_type":"llama","architectures":["Qwen2ForCausalLM"])",
                    "Qwen2ForCausalLM"},
        RefusedCase{"Quantized", Code::kUnsupported,
                    R"("model_type":"llama","quantization_config":{"quant_method":"gptq"})",
                    "quantized"},
        RefusedCase{"Gelu", Code::kInvalidArgument, R"("model_type":"llama","hidden_act":"gelu")",
                    "hidden_act"},
        RefusedCase{"OddHeadDim", Code::kInvalidArgument, R"("model_type":"llama","head_dim":5)",
                    "even"},
        RefusedCase{"EpsZero", Code::kInvalidArgument, R"("model_type":"llama","rms_norm_eps":0)",
                    "rms_norm_eps"},
        RefusedCase{"EpsText", Code::kInvalidArgument,
                    R"("model_type":"llama","rms_norm_eps":"1e-5")", "rms_norm_eps"},
        RefusedCase{"TieText", Code::kInvalidArgument,
                    R"("model_type":"llama","tie_word_embeddings":"yes")", "tie_word_embeddings"},
        RefusedCase{"ThetaNegative", Code::kInvalidArgument,
                    R"("model_type":"llama","rope_theta":-1)", "rope_theta"},
        RefusedCase{"WindowZero", Code::kInvalidArgument,
                    R"("model_type":"mistral","sliding_window":0)", "sliding_window"},
        RefusedCase{"DuplicateKey", Code::kInvalidArgument,
                    R"("model_type":"llama","hidden_size":32)", "twice"},
        RefusedCase{"HugeNumber", Code::kInvalidArgument,
                    R"("model_type":"llama","rms_norm_eps":1e999)", "could not be read"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(ModelConfig, SizesOutOfRangeAreAllNamedAtOnce) {
  const auto config = parse(R"("model_type":"llama","vocab_size":0,"hidden_size":1e9,
                               "num_hidden_layers":99999,"num_attention_heads":"4")");
  ASSERT_FALSE(config.has_value());
  for (const char* key :
       {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"}) {
    EXPECT_NE(config.error().message.find(key), std::string::npos) << config.error().message;
  }
  expect_error(parse(R"("model_type":"llama","num_attention_heads":4,"num_key_value_heads":3)"),
               Code::kInvalidArgument, "divide");
  expect_error(parse(R"("model_type":"llama","hidden_size":30,"num_attention_heads":4)"),
               Code::kInvalidArgument, "multiple");
  expect_error(parse(R"("model_type":"llama","hidden_size":18446744073709551615)"),
               Code::kInvalidArgument, "hidden_size");
}

TEST(ModelConfig, TextThatIsNotAConfigIsRefused) {
  expect_error(parse_model_config(""), Code::kInvalidArgument, "JSON");
  expect_error(parse_model_config("[]"), Code::kInvalidArgument, "not a JSON object");
  expect_error(parse_model_config("{\"a\":"), Code::kInvalidArgument, "JSON");
  expect_error(parse_model_config(std::string("{}\0", 3)), Code::kInvalidArgument, "NUL");
  const std::string deep = "{\"a\":" + std::string(100'000, '[');
  expect_error(parse_model_config(deep), Code::kInvalidArgument, "levels");
}

TEST(GenerationConfig, ReadsEosAsNumberOrList) {
  EXPECT_EQ(parse_generation_config(R"({"eos_token_id":[1,2],"pad_token_id":3})")->eos_token_ids,
            (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(parse_generation_config(R"({"eos_token_id":5})")->eos_token_ids,
            std::vector<std::int64_t>{5});
  EXPECT_TRUE(parse_generation_config("{}")->eos_token_ids.empty());
  expect_error(parse_generation_config(R"({"eos_token_id":"x"})"), Code::kInvalidArgument,
               "eos_token_id");
}

// Sizes and parameter counts of real configurations, as their publishers state them.
struct RealCase {
  const char* file;
  Family family;
  std::int64_t layers;
  std::int64_t hidden;
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t head_dim;
  double theta;
  double rope_factor;  // 0: no scaling
  bool tied;
  std::size_t eos_count;
  std::int64_t parameters;
};

class RealConfigs : public ::testing::TestWithParam<RealCase> {};

TEST_P(RealConfigs, AreReadAsPublished) {
  RATCHET_NEEDS_SHARED_INPUTS();
  const RealCase& want = GetParam();
  const auto config = parse_model_config(
      read_bytes(shared_inputs() / "configs" / (want.file + std::string(".config.json"))));
  ASSERT_TRUE(is_ok(config));
  EXPECT_EQ(config->family, want.family);
  EXPECT_EQ(config->layer_count, want.layers);
  EXPECT_EQ(config->hidden_size, want.hidden);
  EXPECT_EQ(config->head_count, want.heads);
  EXPECT_EQ(config->kv_head_count, want.kv_heads);
  EXPECT_EQ(config->head_dim, want.head_dim);
  EXPECT_EQ(config->rope_theta, want.theta);
  EXPECT_EQ(config->rope_scaling ? config->rope_scaling->factor : 0.0, want.rope_factor);
  EXPECT_EQ(config->tie_word_embeddings, want.tied);
  EXPECT_EQ(config->eos_token_ids.size(), want.eos_count);
  EXPECT_EQ(config->sliding_windows, Windows(static_cast<std::size_t>(want.layers), 0));
  EXPECT_EQ(config->qkv_bias, want.family == Family::kQwen2);
  EXPECT_EQ(config->qk_norm, want.family == Family::kQwen3);
  EXPECT_EQ(parameter_count(*config), want.parameters);
}

INSTANTIATE_TEST_SUITE_P(
    All, RealConfigs,
    ::testing::Values(RealCase{"Llama-2-7b-hf", Family::kLlama, 32, 4096, 32, 32, 128, 1e4, 0,
                               false, 1, 6'738'415'616},
                      RealCase{"Meta-Llama-3-8B", Family::kLlama, 32, 4096, 32, 8, 128, 5e5, 0,
                               false, 1, 8'030'261'248},
                      RealCase{"Meta-Llama-3-70B", Family::kLlama, 80, 8192, 64, 8, 128, 5e5, 0,
                               false, 1, 70'553'706'496},
                      RealCase{"Llama-3.1-8B-Instruct", Family::kLlama, 32, 4096, 32, 8, 128, 5e5,
                               8, false, 3, 8'030'261'248},
                      RealCase{"Llama-3.1-70B-Instruct", Family::kLlama, 80, 8192, 64, 8, 128, 5e5,
                               8, false, 3, 70'553'706'496},
                      RealCase{"Llama-3.2-1B-Instruct", Family::kLlama, 16, 2048, 32, 8, 64, 5e5,
                               32, true, 3, 1'235'814'400},
                      RealCase{"Mistral-7B-Instruct-v0.3", Family::kMistral, 32, 4096, 32, 8, 128,
                               1e6, 0, false, 1, 7'248'023'552},
                      RealCase{"Qwen2-72B-Instruct", Family::kQwen2, 80, 8192, 64, 8, 128, 1e6, 0,
                               false, 1, 72'706'203'648},
                      RealCase{"Qwen2-Boundless-1.5B", Family::kQwen2, 28, 1536, 12, 2, 128, 1e6, 0,
                               true, 1, 1'543'714'304},
                      RealCase{"Qwen2.5-7B-Instruct", Family::kQwen2, 28, 3584, 28, 4, 128, 1e6, 0,
                               false, 1, 7'615'616'512},
                      RealCase{"Qwen3-8B", Family::kQwen3, 36, 4096, 32, 8, 128, 1e6, 0, false, 1,
                               8'190'735'360}),
    [](const auto& test) {
      std::string name = test.param.file;
      std::erase_if(name, [](char c) { return c == '-' || c == '.'; });
      return name;
    });

TEST(ModelConfig, UnsupportedRealArchitecturesAreRefusedByName) {
  RATCHET_NEEDS_SHARED_INPUTS();
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"Mixtral-8x7B-v0.1", "MixtralForCausalLM"},
      {"gemma-2-9b-it", "Gemma2ForCausalLM"},
      {"Phi-3-mini-4k-instruct", "Phi3ForCausalLM"},
      {"phi-4", "Phi3ForCausalLM"}};
  for (const auto& [file, architecture] : cases) {
    const auto config = parse_model_config(
        read_bytes(shared_inputs() / "configs" / (file + std::string(".config.json"))));
    expect_error(config, Code::kUnsupported, architecture);
    expect_error(config, Code::kUnsupported, "Supported are Llama");
  }
}

TEST(GenerationConfig, ReadsTheSharedFile) {
  RATCHET_NEEDS_SHARED_INPUTS();
  const auto config = parse_generation_config(
      read_bytes(shared_inputs() / "configs" / "Qwen2-Boundless-1.5B.generation_config.json"));
  ASSERT_TRUE(is_ok(config));
  EXPECT_EQ(config->eos_token_ids, (std::vector<std::int64_t>{151645, 151643}));
  EXPECT_EQ(config->pad_token_id, 151643);
}

}  // namespace
}  // namespace ratchet::trainer
