// Which tokens are trained: the masks of templates with and without generation tags.

#include "trainer/hf/loss_spans.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/hf/shared_inputs.h"
#include "trainer/hf/bpe_training.h"

namespace ratchet::trainer {
namespace {

using testing::compile_file;
using testing::expected_renders;
using testing::have_shared_inputs;
using testing::shared_inputs;

std::vector<std::string> texts_of(const RenderedLoss& loss) {
  std::vector<std::string> texts;
  for (const ByteSpan& span : loss.spans) {
    texts.push_back(loss.text.substr(span.begin, span.end - span.begin));
  }
  return texts;
}

std::vector<ByteSpan> merged(const std::vector<ByteSpan>& spans) {
  std::vector<ByteSpan> result;
  for (const ByteSpan& span : spans) {
    if (!result.empty() && result.back().end == span.begin) {
      result.back().end = span.end;
    } else {
      result.push_back(span);
    }
  }
  return result;
}

// A base template must agree with the spans that its training twin's tags give, where both render
// the same text. `prompt_tail`: what the twin counts in although the generation prompt writes it.
void expect_twin_spans(const std::string& base, const std::string& twin,
                       const std::string& prompt_tail, const std::vector<std::string>& refused,
                       size_t compared) {
  const auto compiled = compile_file(base);
  std::vector<std::string> refusals;
  size_t agreed = 0;
  for (const auto& expected : expected_renders()) {
    if (expected.template_name != twin || !expected.rendered) continue;
    SCOPED_TRACE(base + " " + expected.test_case);
    const auto loss = render_with_loss(compiled, expected.messages_json, expected.options);
    if (!loss) {
      EXPECT_EQ(loss.error().code, Code::kUnsupported);
      refusals.push_back(expected.test_case);
      continue;
    }
    ASSERT_EQ(loss->text, *expected.rendered);
    auto spans = merged(*expected.spans);
    for (ByteSpan& span : spans) {
      ASSERT_EQ(loss->text.substr(span.begin, prompt_tail.size()), prompt_tail);
      span.begin += prompt_tail.size();
    }
    EXPECT_EQ(loss->spans, spans);
    ++agreed;
  }
  EXPECT_EQ(refusals, refused);
  EXPECT_EQ(agreed, compared);
}

TEST(LossSpans, ProofAgreesWithTheTrainingTwinOfQwen) {
  if (!have_shared_inputs()) GTEST_SKIP() << "shared inputs absent";
  // The twin's tag begins before the line end that belongs to `<|im_start|>assistant\n`, the
  // generation prompt: the model never writes that line end.
  expect_twin_spans("llama.cpp/Qwen-Qwen2.5-7B-Instruct.jinja", "trl/qwen2_5_training.jinja", "\n",
                    {}, 22);
}

TEST(LossSpans, ProofAgreesWithTheTrainingTwinOfPhi) {
  if (!have_shared_inputs()) GTEST_SKIP() << "shared inputs absent";
  // Phi-3's template leaves tool calls out: what would be trained is an empty answer.
  expect_twin_spans("trl/phi3.jinja", "trl/phi3_training.jinja", "",
                    {"tool_call_dict_args", "tool_call_string_args"}, 20);
}

TEST(LossSpans, QwenThreeIsRefusedWhereItRewritesEarlierTurns) {
  if (!have_shared_inputs()) GTEST_SKIP() << "shared inputs absent";
  const auto compiled = compile_file("trl/qwen3.jinja");
  size_t proven = 0;
  size_t refused = 0;
  for (const auto& expected : expected_renders()) {
    if (expected.template_name != "trl/qwen3_training.jinja" || !expected.rendered) continue;
    SCOPED_TRACE(expected.test_case);
    const auto loss = render_with_loss(compiled, expected.messages_json, expected.options);
    if (loss && !expected.spans->empty() && loss->text == *expected.rendered) {
      EXPECT_EQ(loss->spans, *expected.spans);
      ++proven;
    }
    // Before the first user message the stock template never shows thoughts: nothing is rewritten.
    if (expected.assistant_turns > 1 && expected.test_case != "assistant_first") {
      ASSERT_FALSE(loss) << loss->text;
      EXPECT_EQ(loss.error().code, Code::kUnsupported);
      ++refused;
    }
  }
  EXPECT_GE(proven, 9U);
  EXPECT_GE(refused, 6U);
}

TEST(LossSpans, OtherPublishedTemplatesAreProven) {
  if (!have_shared_inputs()) GTEST_SKIP() << "shared inputs absent";
  struct Case {
    const char* file;
    std::vector<std::string> spans;
  };
  const std::vector<Case> cases = {
      {"chujiezheng/chatml.jinja",
       {"Hi there<|im_end|>\n\n\n", "I am an assistant<|im_end|>\n\n\n",
        "Answer.<|im_end|>\n\n\n"}},
      {"chujiezheng/zephyr.jinja",
       {"Hi there</s>\n\n\n", "I am an assistant</s>\n\n\n", "Answer.</s>\n\n\n"}},
      {"mistral-common/v3_spm.jinja",
       {" Hi there</s>", "    I am an assistant   </s>", " Answer.</s>"}},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.file);
    for (const auto& expected : expected_renders()) {
      if (expected.template_name != one.file || expected.test_case != "multi_turn") continue;
      const auto loss =
          render_with_loss(compile_file(one.file), expected.messages_json, expected.options);
      ASSERT_TRUE(loss) << loss.error().message;
      EXPECT_EQ(texts_of(*loss), one.spans);
    }
  }
}

TEST(LossSpans, MistralToolCallsAreProvenAndMergedTurnsRefused) {
  if (!have_shared_inputs()) GTEST_SKIP() << "shared inputs absent";
  const auto compiled = compile_file("mistral-common/v3_spm.jinja");
  for (const auto& expected : expected_renders()) {
    if (expected.template_name != "mistral-common/v3_spm.jinja") continue;
    const auto loss = render_with_loss(compiled, expected.messages_json, expected.options);
    if (expected.test_case == "tool_call_string_args") {
      ASSERT_TRUE(loss) << loss.error().message;
      EXPECT_EQ(texts_of(*loss), (std::vector<std::string>{
                                     "[TOOL_CALLS] [{\"name\": \"get_weather\", \"arguments\": "
                                     "{\"city\": \"Oslo\"}, \"id\": \"abcdef123\"}]</s>",
                                     " 4 C.</s>"}));
    }
    if (expected.test_case == "two_assistants_in_a_row") {
      ASSERT_FALSE(loss);
      EXPECT_NE(loss.error().message.find("its end cannot be told"), std::string::npos)
          << loss.error().message;
    }
  }
}

TEST(LossSpans, TagsDecideWhereTheyAre) {
  const auto tagged = ChatTemplate::from_source(default_chat_template(), {{"bos_token", "<|bos|>"},
                                                                          {"eos_token", "<|eos|>"}})
                          .value();
  const auto loss = render_with_loss(
      tagged, R"([{"role":"user","content":"a"},{"role":"assistant","content":" b "},
                  {"role":"user","content":"b"},{"role":"assistant","content":"c"}])");
  ASSERT_TRUE(loss) << loss.error().message;
  EXPECT_EQ(loss->text, "<|bos|><|user|>a<|assistant|>b<|eos|><|user|>b<|assistant|>c<|eos|>");
  EXPECT_EQ(texts_of(*loss), (std::vector<std::string>{"b<|eos|>", "c<|eos|>"}));
}

TEST(LossSpans, WeightZeroTakesATurnOut) {
  const SpecialTokens tokens = {{"bos_token", "<|bos|>"}, {"eos_token", "<|eos|>"}};
  std::string untagged = default_chat_template();
  for (const char* tag : {"{%- generation %}", "{%- endgeneration %}"}) {
    untagged.replace(untagged.find(tag), std::string(tag).size(), "");
  }
  const char* messages =
      R"([{"role":"user","content":"a"},{"role":"assistant","content":"b","weight":0},
          {"role":"user","content":"b"},{"role":"assistant","content":"c","weight":1}])";
  for (const std::string& source : {default_chat_template(), untagged}) {
    const auto compiled = ChatTemplate::from_source(source, tokens).value();
    const auto loss = render_with_loss(compiled, messages);
    ASSERT_TRUE(loss) << loss.error().message;
    EXPECT_EQ(texts_of(*loss), std::vector<std::string>{"c<|eos|>"});
  }
}

TEST(LossSpans, ATokenIsTrainedIfItTouchesASpan) {
  const std::vector<ByteSpan> offsets = {{0, 3}, {3, 3}, {3, 5}, {5, 5}, {5, 6}, {6, 9}, {9, 12}};
  const std::vector<ByteSpan> spans = {{4, 6}, {10, 11}};
  EXPECT_EQ(train_mask(offsets, spans), (std::vector<uint8_t>{0, 0, 1, 0, 1, 0, 1}));
  EXPECT_EQ(train_mask(offsets, {}), std::vector<uint8_t>(7, 0));
}

TEST(LossSpans, TokensOfAQwenConversationAreMasked) {
  if (!have_shared_inputs()) GTEST_SKIP() << "shared inputs absent";
  const auto tokenizer = Tokenizer::load(shared_inputs() / "tokenizers/qwen2").value();
  const auto compiled = ChatTemplate::load(shared_inputs() / "tokenizers/qwen2",
                                           shared_inputs() / "templates/trl/qwen2_5.jinja")
                            .value();
  const auto tokens = tokenize_conversation(
      tokenizer, compiled,
      R"([{"role":"user","content":"Hello"},{"role":"assistant","content":"Hi there"}])");
  ASSERT_TRUE(tokens) << tokens.error().message;
  std::vector<int32_t> trained;
  for (size_t i = 0; i < tokens->ids.size(); ++i) {
    if (tokens->train[i] != 0) trained.push_back(tokens->ids[i]);
  }
  // "Hi", " there", <|im_end|>, "\n"
  EXPECT_EQ(trained, (std::vector<int32_t>{13048, 1052, 151645, 198}));
}

TEST(LossSpans, ATemplateThatWritesBosGetsNoSecondOne) {
  if (!have_shared_inputs()) GTEST_SKIP() << "shared inputs absent";
  const auto folder = shared_inputs() / "models/stories260K-hf";
  const auto tokenizer = Tokenizer::load(folder).value();
  ASSERT_EQ(tokenizer.encode("x", AddSpecial::kYes)->front(), 1);
  const auto compiled = ChatTemplate::from_source(
                            "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}"
                            "{{ eos_token }}{% endfor %}"
                            "{% if add_generation_prompt %}assistant: {% endif %}",
                            tokenizer.special_tokens())
                            .value();
  const auto tokens = tokenize_conversation(
      tokenizer, compiled,
      R"([{"role":"user","content":"Hello"},{"role":"assistant","content":"Hi"}])");
  ASSERT_TRUE(tokens) << tokens.error().message;
  EXPECT_EQ(std::count(tokens->ids.begin(), tokens->ids.end(), 1), 1);
  EXPECT_EQ(tokens->ids.front(), 1);
  EXPECT_EQ(tokens->train.back(), 1);
  EXPECT_EQ(tokens->ids.back(), 2);
}

}  // namespace
}  // namespace ratchet::trainer
