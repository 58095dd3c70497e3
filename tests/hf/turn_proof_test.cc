// Templates made to break a proof: each must be proven rightly or refused, never guessed.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "trainer/hf/loss_spans.h"

namespace ratchet::trainer {
namespace {

const SpecialTokens kTokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};

constexpr const char* kChat =
    R"([{"role":"user","content":"one"},{"role":"assistant","content":"two"},
        {"role":"user","content":"three"},{"role":"assistant","content":"four"}])";

// Spans as text, or the reason of the refusal.
std::vector<std::string> spans(std::string_view source, std::string_view messages = kChat,
                               const SpecialTokens& tokens = kTokens) {
  const auto compiled = ChatTemplate::from_source(source, tokens);
  if (!compiled) return {"does not compile: " + compiled.error().message};
  const auto loss = render_with_loss(*compiled, messages);
  if (!loss) return {"refused: " + loss.error().message};
  std::vector<std::string> texts;
  for (const ByteSpan& span : loss->spans) {
    texts.push_back(loss->text.substr(span.begin, span.end - span.begin));
  }
  return texts;
}

void expect_refused(std::string_view source, std::string_view reason,
                    std::string_view messages = kChat) {
  const auto result = spans(source, messages);
  ASSERT_EQ(result.size(), 1U) << source;
  EXPECT_EQ(result[0].rfind("refused: ", 0), 0U) << result[0];
  EXPECT_NE(result[0].find(reason), std::string::npos) << result[0];
}

using Texts = std::vector<std::string>;

constexpr const char* kChatml =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

TEST(TurnProof, EqualTextsElsewhereDoNotConfuseIt) {
  // The same words stand in every turn: only the renders can tell which are the assistant's.
  const std::string pair =
      R"({"role":"user","content":"yes"},{"role":"assistant","content":"yes"})";
  EXPECT_EQ(spans(kChatml, "[" + pair + "," + pair + "]"),
            (Texts{"yes<|im_end|>\n", "yes<|im_end|>\n"}));
}

TEST(TurnProof, TheEndOfTheTurnIsIncludedAndTheNextHeaderIsNot) {
  EXPECT_EQ(spans("{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}"
                  "{% if add_generation_prompt %}[assistant]{% endif %}"),
            (Texts{"two</s>", "four</s>"}));
  EXPECT_EQ(spans("{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}"),
            (Texts{"two\n", "four\n"}));
}

TEST(TurnProof, AnEmptyTurnStillTrainsItsEnd) {
  EXPECT_EQ(spans(kChatml, R"([{"role":"user","content":"x"},{"role":"assistant","content":""}])"),
            Texts{"<|im_end|>\n"});
}

TEST(TurnProof, TrimmedContentIsFine) {
  EXPECT_EQ(
      spans("{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}{{ eos_token }}"
            "{% endfor %}",
            R"([{"role":"user","content":"x"},{"role":"assistant","content":" \n y\u00a0 "}])"),
      Texts{"y</s>"});
}

TEST(TurnProof, AClosingTokenBelongsToTheLastTurnOnly) {
  const char* with_variable =
      "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|assistant|>{% else %}{{ eos_token }}{% endif %}";
  const SpecialTokens phi = {{"eos_token", "<|endoftext|>"}};
  EXPECT_EQ(spans(with_variable, kChat, phi),
            (Texts{"two<|end|>\n", "four<|end|>\n<|endoftext|>"}));
  // Written out, and no tokenizer that says what a control token is: the border between
  // "<|end|>\n<|" and what follows is not proven.
  expect_refused(
      "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|assistant|>{% else %}<|endoftext|>{% endif %}",
      "its end cannot be told");
}

TEST(TurnProof, AFolderSaysWhatAControlTokenIs) {
  const auto folder = std::filesystem::path(::testing::TempDir()) / "ratchet_turn_proof_folder";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "tokenizer_config.json") << R"({"eos_token": "<|end|>",
      "added_tokens_decoder": {"1": {"content": "<|endoftext|>"}, "2": {"content": "<|end|>"},
                               "3": {"content": "<|user|>"}, "4": {"content": "<|assistant|>"}}})";
  std::ofstream(folder / "chat_template.jinja")
      << "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
         "{% if add_generation_prompt %}<|assistant|>{% else %}<|endoftext|>{% endif %}";
  const auto loss = render_with_loss(ChatTemplate::load(folder).value(), kChat);
  ASSERT_TRUE(loss) << loss.error().message;
  ASSERT_EQ(loss->spans.size(), 2U);
  const auto text = [&loss](size_t i) {
    return loss->text.substr(loss->spans[i].begin, loss->spans[i].end - loss->spans[i].begin);
  };
  EXPECT_EQ(text(0), "two<|end|>\n");
  EXPECT_EQ(text(1), "four<|end|>\n<|endoftext|>");
}

TEST(TurnProof, WhatFollowsTheGenerationPromptIsTrained) {
  EXPECT_EQ(
      spans("{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}<think></think>"
            "{% endif %}{{ m.content }};{% endfor %}"
            "{% if add_generation_prompt %}<assistant>{% endif %}"),
      (Texts{"<think></think>two;", "<think></think>four;"}));
}

TEST(TurnProof, WithoutAGenerationPromptHeadersStayOut) {
  EXPECT_EQ(spans("{% for m in messages %}<{{ m.role }}>{{ m.content }};{% endfor %}"),
            (Texts{"two;", "four;"}));
}

TEST(TurnProof, RewrittenTurnsAreRefused) {
  // Earlier turns lose their thoughts.
  expect_refused(
      "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' and loop.last %}"
      "<think></think>{% endif %}{{ m.content }};{% endfor %}"
      "{% if add_generation_prompt %}<assistant>{% endif %}",
      "differently once later turns follow");
  expect_refused("{% for m in messages %}<{{ m.role }}>{{ m.content | upper }};{% endfor %}",
                 "once and unchanged");
  expect_refused("{% for m in messages %}<{{ m.role }}>{{ m.content.split('|')[-1] }};{% endfor %}",
                 "the template writes \"b\" for its content \"a|b\"",
                 R"([{"role":"user","content":"x"},{"role":"assistant","content":"a|b"}])");
}

TEST(TurnProof, TurnsWrittenTwiceOrNotAtAllAreRefused) {
  expect_refused("{% for m in messages %}{{ m.content }}{{ m.content }};{% endfor %}",
                 "once and unchanged");
  expect_refused("{% for m in messages if m.role == 'user' %}{{ m.content }};{% endfor %}",
                 "once and unchanged");
}

TEST(TurnProof, ContentThatChangesOtherTextIsRefused) {
  expect_refused(
      "{% for m in messages %}<{{ m.role }}>{{ m.content }};{% endfor %}"
      "{{ messages[-1].content | length }}",
      "once and unchanged");
  // Only what the turn truly says sets this off; no sentinel does.
  expect_refused(
      "{% for m in messages %}<{{ m.role }}>{{ m.content }};{% endfor %}"
      "{% if messages[-1].content == 'four' %}!{% endif %}",
      "changes the text outside of the turn");
}

TEST(TurnProof, TemplatesThatLookAtTheirTokensAreProvenWithTheTrueOnes) {
  EXPECT_EQ(spans("{% for m in messages %}<{{ m.role }}>{{ m.content }}"
                  "{{ eos_token if eos_token == '</s>' else 'wrong' }}{% endfor %}"),
            (Texts{"two</s>", "four</s>"}));
}

TEST(TurnProof, OneTokenInTwoRolesIsNoTrap) {
  EXPECT_EQ(
      spans("{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}"
            "{% endfor %}",
            kChat, {{"bos_token", "<|e|>"}, {"eos_token", "<|e|>"}}),
      (Texts{"two<|e|>", "four<|e|>"}));
}

TEST(TurnProof, TheAssistantMaySpeakFirst) {
  const char* messages =
      R"([{"role":"assistant","content":"hi"},{"role":"user","content":"x"},
          {"role":"assistant","content":"y"}])";
  EXPECT_EQ(spans(kChatml, messages), (Texts{"hi<|im_end|>\n", "y<|im_end|>\n"}));
  const std::string no_empty = std::string("{{ messages[0].role[:0] }}") + kChatml;
  EXPECT_EQ(spans(no_empty, messages), (Texts{"hi<|im_end|>\n", "y<|im_end|>\n"}));
}

TEST(TurnProof, PartsOfContentAreProvenWhereTheTemplateReadsThem) {
  const char* reads_parts =
      "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}{% else %}"
      "{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %};{% endfor %}";
  EXPECT_EQ(spans(reads_parts,
                  R"([{"role":"user","content":"x"},{"role":"assistant",
                      "content":[{"type":"text","text":"a"},{"type":"text","text":" b"}]}])"),
            Texts{"a b;"});
  expect_refused(reads_parts, "not text",
                 R"([{"role":"user","content":"x"},{"role":"assistant",
                     "content":[{"type":"image","url":"y"}]}])");
  expect_refused(reads_parts, "neither content nor tool calls",
                 R"([{"role":"user","content":"x"},{"role":"assistant","content":null}])");
}

TEST(TurnProof, UsersTextThatLooksLikeASentinelIsAvoided) {
  const auto result =
      spans(kChatml, R"([{"role":"user","content":"QZx0alpha WZx0longerbetah VZx0v100v Zx1"},
                   {"role":"assistant","content":"QZx0alpha"}])");
  EXPECT_EQ(result, Texts{"QZx0alpha<|im_end|>\n"});
}

TEST(TurnProof, ConversationsThatDoNotRenderAreTheUsersError) {
  const auto compiled = ChatTemplate::from_source("{{ messages[0].content + 'x' }}", {}).value();
  const auto loss = render_with_loss(compiled, R"([{"role":"user"}])");
  ASSERT_FALSE(loss);
  EXPECT_EQ(loss.error().code, Code::kInvalidArgument);
}

TEST(TurnProof, NothingToTrainIsNoError) {
  EXPECT_EQ(spans(kChatml, R"([{"role":"user","content":"x"}])"), Texts{});
  EXPECT_EQ(spans(kChatml, "[]"), Texts{});
}

}  // namespace
}  // namespace ratchet::trainer
