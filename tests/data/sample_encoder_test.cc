#include "trainer/data/sample_encoder.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/data/data_testing.h"
#include "tests/data/encoder_fixture.h"
#include "trainer/data/message_forms.h"

namespace ratchet::trainer {
namespace {

Row text_row(std::string text) {
  Row row;
  row.kind = RowKind::kText;
  row.text = std::move(text);
  return row;
}

Row pair_row(std::string prompt, std::string completion) {
  Row row;
  row.kind = RowKind::kPromptCompletion;
  row.prompt = std::move(prompt);
  row.completion = std::move(completion);
  return row;
}

Row chat_row(std::string messages) {
  Row row;
  row.kind = RowKind::kChat;
  row.messages_json = std::move(messages);
  return row;
}

EncodedSample encode(const SampleEncoder& encoder, const Row& row) {
  auto sample = encoder.encode(row);
  EXPECT_TRUE(sample) << sample.error().message;
  if (!sample) return {};
  EXPECT_EQ(sample->ids.size(), sample->train.size());
  return *std::move(sample);
}

// The text of the trained tokens.
std::string trained_text(const Tokenizer& tokenizer, const EncodedSample& sample) {
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < sample.ids.size(); ++i) {
    if (sample.train[i] != 0) ids.push_back(sample.ids[i]);
  }
  return tokenizer.decode(ids, SkipSpecial::kNo).value();
}

TEST(SampleEncoder, TextIsTrainedFromItsFirstToken) {
  const Tokenizer tokenizer = small_tokenizer();
  const SampleEncoder encoder(tokenizer, nullptr);
  const EncodedSample sample = encode(encoder, text_row("the data set"));
  const auto inner = tokenizer.encode("the data set", AddSpecial::kNo).value();
  ASSERT_EQ(sample.ids.size(), inner.size() + 2);
  EXPECT_EQ(sample.ids.front(), tokenizer.bos_id());
  EXPECT_EQ(sample.ids.back(), tokenizer.eos_id());
  EXPECT_EQ(sample.train.front(), 0);
  EXPECT_EQ(trained_text(tokenizer, sample), "the data set<|eos|>");
}

TEST(SampleEncoder, TokensWithoutNamesAreNotWritten) {
  const Tokenizer tokenizer = nameless_tokenizer();
  const SampleEncoder encoder(tokenizer, nullptr);
  const EncodedSample sample = encode(encoder, text_row("some text"));
  EXPECT_EQ(sample.ids, tokenizer.encode("some text", AddSpecial::kNo).value());
  EXPECT_EQ(sample.train.front(), 0) << "nothing predicts a first token";
}

TEST(SampleEncoder, PairsWithoutATemplate) {
  const Tokenizer tokenizer = small_tokenizer();
  const SampleEncoder encoder(tokenizer, nullptr);
  const EncodedSample sample = encode(encoder, pair_row("a question", "an answer"));
  EXPECT_EQ(sample.text, "a question\nan answer");
  EXPECT_EQ(sample.ids.front(), tokenizer.bos_id());
  EXPECT_EQ(trained_text(tokenizer, sample), "an answer<|eos|>");
  EXPECT_EQ(encode(encoder, pair_row("a question\n", "an answer")).text, "a question\nan answer");
  EXPECT_EQ(encode(encoder, pair_row("a question", " an answer")).text, "a question an answer");
  EXPECT_EQ(encode(encoder, pair_row("", "an answer")).text, "an answer");
}

TEST(SampleEncoder, PairsWithATemplateAreChats) {
  const Tokenizer tokenizer = small_tokenizer();
  const ChatTemplate chat_template = small_template();
  const SampleEncoder encoder(tokenizer, &chat_template);
  const EncodedSample pair = encode(encoder, pair_row("a \"question\"", "an\nanswer"));
  const EncodedSample chat =
      encode(encoder, chat_row(R"([{"role":"user","content":"a \"question\""},)"
                               R"({"role":"assistant","content":"an\nanswer"}])"));
  EXPECT_EQ(pair.ids, chat.ids);
  EXPECT_EQ(pair.train, chat.train);
  EXPECT_EQ(trained_text(tokenizer, pair), "an\nanswer<|eos|>");
}

TEST(SampleEncoder, ChatsTrainRepliesOnly) {
  const Tokenizer tokenizer = small_tokenizer();
  const ChatTemplate chat_template = small_template();
  const SampleEncoder encoder(tokenizer, &chat_template);
  const EncodedSample sample = encode(
      encoder, chat_row(R"([{"role":"system","content":"s"},{"role":"user","content":"q1"},)"
                        R"({"role":"assistant","content":"r1","weight":0},)"
                        R"({"role":"user","content":"q2"},{"role":"assistant","content":"r2"}])"));
  EXPECT_EQ(sample.text,
            "<|bos|><|system|>s<|user|>q1<|assistant|>r1<|eos|><|user|>q2"
            "<|assistant|>r2<|eos|>");
  EXPECT_EQ(trained_text(tokenizer, sample), "r2<|eos|>");
  EXPECT_EQ(sample.ids.front(), tokenizer.bos_id()) << "one bos, written by the template";
  EXPECT_NE(sample.ids[1], tokenizer.bos_id());
}

TEST(SampleEncoder, ChatsNeedATemplate) {
  const Tokenizer tokenizer = small_tokenizer();
  const SampleEncoder encoder(tokenizer, nullptr);
  const auto sample = encoder.encode(chat_row(R"([{"role":"user","content":"q"}])"));
  ASSERT_FALSE(sample);
  EXPECT_NE(sample.error().message.find("data.chat_template"), std::string::npos);
}

TEST(SampleEncoder, ContentPartsMustBeReadByTheTemplate) {
  const Tokenizer tokenizer = small_tokenizer();
  Row row = chat_row(R"([{"role":"user","content":[{"type":"text","text":"a"},)"
                     R"({"type":"text","text":"b"}]},{"role":"assistant","content":"r"}])");
  row.has_parts = true;
  const std::string tail =
      "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
      "{% endif %}{% endfor %}";
  const ChatTemplate reads = template_of(
      "{% for m in messages %}{% if m.content is not string %}{% for p in m.content %}"
      "{{ p.text }}{% endfor %}{% elif m.role != 'assistant' %}{{ m.content }}{% endif %}" +
      tail);
  EXPECT_EQ(encode(SampleEncoder(tokenizer, &reads), row).text, "abr");
  const ChatTemplate writes_list = template_of(
      "{% for m in messages %}{% if m.role != 'assistant' %}{{ m.content | string }}{% endif %}" +
      tail);
  const auto refused = SampleEncoder(tokenizer, &writes_list).encode(row);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("list of parts"), std::string::npos);
}

TEST(SampleEncoder, DoubtsControlTokensAndStringArguments) {
  const Tokenizer tokenizer = small_tokenizer();
  const ChatTemplate quotes = template_of(
      "{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.arguments | tojson }}"
      "{% endfor %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}");
  const SampleEncoder encoder(tokenizer, &quotes);
  const auto plain = encoder.doubts(text_row("nothing special"));
  EXPECT_TRUE(plain.empty());
  const auto control = encoder.doubts(text_row("say <|eos|> now"));
  ASSERT_EQ(control.size(), 1);
  EXPECT_EQ(control[0].rule, Rule::kControlTokenText);
  EXPECT_EQ(control[0].current, "<|eos|>");
  Row call = chat_row(R"([{"role":"assistant","content":"","tool_calls":[{"type":"function",)"
                      R"("function":{"name":"f","arguments":"{\"x\": 1}"}}]}])");
  call.has_string_arguments = true;
  const auto doubts = encoder.doubts(call);
  ASSERT_EQ(doubts.size(), 1);
  EXPECT_EQ(doubts[0].rule, Rule::kStringArguments);
}

TEST(SampleEncoder, ViewsShowWhatCannotBeTrained) {
  const Tokenizer tokenizer = small_tokenizer();
  const ChatTemplate tagged = small_template();
  const auto question =
      SampleEncoder(tokenizer, &tagged).view(chat_row(R"([{"role":"user","content":"q"}])"), true);
  ASSERT_TRUE(question);
  EXPECT_EQ(question->sample.text, "<|bos|><|user|>q<|assistant|>");
  EXPECT_TRUE(question->fault.empty());
  EXPECT_EQ(question->sample.train, std::vector<std::uint8_t>(question->sample.ids.size(), 0));

  // No tags, and a reply that is shown otherwise when another follows: no proof holds.
  const ChatTemplate forgetful = template_of(
      "{% for m in messages %}{{ '<|' + m.role + '|>' }}"
      "{% if m.role == 'assistant' and not loop.last %}{{ m.content | upper }}"
      "{% else %}{{ m.content }}{% endif %}{% endfor %}"
      "{% if add_generation_prompt %}<|assistant|>{% endif %}");
  const SampleEncoder encoder(tokenizer, &forgetful);
  const Row row = chat_row(R"([{"role":"user","content":"q"},{"role":"assistant","content":"r"},)"
                           R"({"role":"user","content":"q"},{"role":"assistant","content":"r"}])");
  EXPECT_FALSE(encoder.encode(row));
  const auto view = encoder.view(row, false);
  ASSERT_TRUE(view) << view.error().message;
  EXPECT_EQ(view->sample.text, "<|user|>q<|assistant|>R<|user|>q<|assistant|>r");
  EXPECT_FALSE(view->sample.ids.empty());
  EXPECT_TRUE(view->sample.train.empty());
  EXPECT_FALSE(view->fault.empty());
}

TEST(MessageForms, RewriteOnlyWhatTheyName) {
  const std::string messages =
      R"([{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},)"
      R"({"role":"assistant","content":null,"tool_calls":[{"function":{"arguments":"{\"x\":1}"}}]}])";
  EXPECT_EQ(
      with_joined_parts(messages),
      R"([{"role":"user","content":"ab"},)"
      R"({"role":"assistant","content":null,"tool_calls":[{"function":{"arguments":"{\"x\":1}"}}]}])");
  EXPECT_EQ(
      with_object_arguments(messages),
      R"([{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},)"
      R"({"role":"assistant","content":null,"tool_calls":[{"function":{"arguments":{"x":1}}}]}])");
}

// Ids and masks of real conversations under real training templates, against ids and spans that
// Jinja2 and the reference encoder gave.
TEST(SampleEncoder, SharedTemplatesGiveTheExpectedIdsAndMasks) {
  RATCHET_NEEDS_SHARED_INPUTS();
  const auto inputs = ratchet::testing::shared_inputs();
  const Tokenizer tokenizer = Tokenizer::load(inputs / "tokenizers/qwen2").value();
  std::ifstream file(inputs / "templates/expectations/jinja2_renders.jsonl");
  std::size_t compared = 0;
  for (std::string line; std::getline(file, line);) {
    const auto expected = nlohmann::ordered_json::parse(line);
    if (!expected.contains("assistant_char_spans") || !expected.contains("ids_qwen2_5") ||
        !expected["tools"].is_null()) {
      continue;
    }
    const std::string source =
        read_all(inputs / "templates" / expected["template"].get<std::string>());
    const auto chat_template = ChatTemplate::from_source(
        source, {{"bos_token", expected["bos_token"].get<std::string>()},
                 {"eos_token", expected["eos_token"].get<std::string>()}});
    ASSERT_TRUE(chat_template);
    const SampleEncoder encoder(tokenizer, &*chat_template);
    SCOPED_TRACE(expected["template"].get<std::string>() + " " +
                 expected["case"].get<std::string>());
    const auto view = encoder.view(chat_row(expected["messages"].dump()),
                                   expected["add_generation_prompt"].get<bool>());
    ASSERT_TRUE(view) << view.error().message;
    EXPECT_EQ(view->sample.text, expected["rendered"].get<std::string>());
    EXPECT_EQ(view->sample.ids, expected["ids_qwen2_5"].get<std::vector<std::int32_t>>());
    // Character spans to byte masks, then token by token.
    std::vector<std::size_t> byte_of;
    const std::string& text = view->sample.text;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if ((static_cast<unsigned char>(text[i]) & 0xc0U) != 0x80U) byte_of.push_back(i);
    }
    byte_of.push_back(text.size());
    std::vector<bool> in_span(text.size(), false);
    for (const auto& span : expected["assistant_char_spans"]) {
      for (std::size_t i = byte_of.at(span[0]); i < byte_of.at(span[1]); ++i) in_span[i] = true;
    }
    const auto encoding = tokenizer.encode_with_offsets(text, AddSpecial::kNo).value();
    for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
      bool trained = false;
      for (std::size_t k = encoding.offsets[i].begin; k < encoding.offsets[i].end; ++k) {
        trained = trained || in_span[k];
      }
      EXPECT_EQ(view->sample.train[i] != 0, trained) << "token " << i;
    }
    ++compared;
  }
  EXPECT_GT(compared, 10);
}

}  // namespace
}  // namespace ratchet::trainer
