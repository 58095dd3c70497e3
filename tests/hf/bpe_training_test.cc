#include "trainer/hf/bpe_training.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "trainer/hf/chat_template.h"
#include "trainer/hf/loss_spans.h"
#include "trainer/hf/tokenizer.h"

namespace ratchet::trainer {
namespace {

std::vector<std::string> corpus() {
  std::vector<std::string> texts;
  for (int i = 0; i < 400; ++i) {
    texts.push_back("The ratchet turns " + std::to_string(i) +
                    " times, the wheel turns back never. Das Rad dreht sich weiter, é ü 🙂.\n");
  }
  return texts;
}

TEST(BpeTraining, GivesTheSameBytesEveryTime) {
  const auto texts = corpus();
  const auto first = train_bpe(texts, {.vocab_size = 320}).value();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(train_bpe(texts, {.vocab_size = 320}).value(), first);
}

TEST(BpeTraining, TheTokenizerCoversEveryText) {
  const BpeTraining training{.vocab_size = 320};
  const auto json = train_bpe(corpus(), training).value();
  const auto tokenizer = Tokenizer::from_bytes(json, default_tokenizer_config()).value();
  EXPECT_EQ(tokenizer.vocab_size(), 320);
  for (size_t i = 0; i < training.special_tokens.size(); ++i) {
    EXPECT_EQ(tokenizer.token_to_id(training.special_tokens[i]), static_cast<int32_t>(i));
  }
  EXPECT_EQ(tokenizer.bos_id(), 0);
  EXPECT_EQ(tokenizer.eos_id(), 1);
  EXPECT_EQ(tokenizer.pad_id(), 2);
  for (const std::string& text :
       std::vector<std::string>{"The ratchet turns", "日本語 never seen \t\n", "a 1234 b", ""}) {
    const auto ids = tokenizer.encode(text, AddSpecial::kNo).value();
    EXPECT_EQ(tokenizer.decode(ids, SkipSpecial::kNo).value(), text);
    const auto with_bos = tokenizer.encode(text, AddSpecial::kYes).value();
    EXPECT_EQ(with_bos.size(), ids.size() + 1);
    EXPECT_EQ(with_bos.front(), 0);
  }
  EXPECT_LT(tokenizer.encode("The ratchet turns", AddSpecial::kNo)->size(), 10U);
  EXPECT_EQ(tokenizer.encode("123", AddSpecial::kNo)->size(), 3U);
}

TEST(BpeTraining, AVocabularyTooSmallForTheBytesIsRefused) {
  const auto trained = train_bpe(corpus(), {.vocab_size = 200});
  ASSERT_FALSE(trained);
  EXPECT_EQ(trained.error().code, Code::kInvalidArgument);
  EXPECT_FALSE(train_bpe(std::vector<std::string>{"\xff"}, {.vocab_size = 320}));
}

TEST(BpeTraining, TheFolderServesConversations) {
  const auto folder = std::filesystem::path(::testing::TempDir()) / "ratchet_bpe_folder";
  std::filesystem::create_directories(folder);
  const auto json = train_bpe(corpus(), {.vocab_size = 320}).value();
  ASSERT_TRUE(write_tokenizer_folder(folder, json, default_tokenizer_config()));
  const auto tokenizer = Tokenizer::load(folder).value();
  const auto compiled = ChatTemplate::load(folder).value();
  EXPECT_TRUE(compiled.has_generation_tags());
  const auto tokens =
      tokenize_conversation(tokenizer, compiled,
                            R"([{"role":"system","content":"s"},{"role":"user","content":"turns?"},
          {"role":"assistant","content":"The wheel turns."}])");
  ASSERT_TRUE(tokens) << tokens.error().message;
  std::vector<int32_t> trained;
  for (size_t i = 0; i < tokens->ids.size(); ++i) {
    if (tokens->train[i] != 0) trained.push_back(tokens->ids[i]);
  }
  EXPECT_EQ(tokenizer.decode(trained, SkipSpecial::kNo).value(), "The wheel turns.<|eos|>");
  EXPECT_EQ(tokens->ids.front(), 0);
  EXPECT_FALSE(compiled.render(R"([{"role":"tool","content":"x"}])"));
  EXPECT_FALSE(write_tokenizer_folder("/nonexistent/folder", json, "{}"));
}

}  // namespace
}  // namespace ratchet::trainer
