#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tests/data/data_testing.h"
#include "tests/data/encoder_fixture.h"
#include "trainer/data/forecast.h"
#include "trainer/data/tokenized_dataset.h"

namespace ratchet::trainer {
namespace {

TokenizeReport tokenize(const std::filesystem::path& path, const Tokenizer& tokenizer,
                        const ChatTemplate* chat_template, const TokenizeOptions& options = {}) {
  auto report = tokenize_file(path, tokenizer, chat_template, options);
  EXPECT_TRUE(report) << report.error().message;
  return report ? *std::move(report) : TokenizeReport{};
}

std::string text_rows(const std::vector<std::string>& texts) {
  std::string file;
  for (const std::string& text : texts) file += "{\"text\":\"" + text + "\"}\n";
  return file;
}

class TokenizeFile : public ::testing::Test {
 protected:
  TokenizeReport run(const std::string& content, const TokenizeOptions& options = {}) {
    return tokenize(write_into(folder_, "data.jsonl", content), tokenizer_, &template_, options);
  }

  ratchet::testing::TempFolder folder_;
  Tokenizer tokenizer_ = small_tokenizer();
  ChatTemplate template_ = small_template();
};

TEST_F(TokenizeFile, CountsAndKeepsSamples) {
  const TokenizeReport report = run(text_rows({"the data", "the rows", "the data"}) + "{bad\n");
  EXPECT_EQ(report.format, DataFormat::kText);
  EXPECT_EQ(report.counts.rows, 4);
  EXPECT_EQ(report.counts.rejected_rows, 1);
  EXPECT_EQ(report.counts.samples, 3);
  EXPECT_EQ(report.counts.duplicates, 1);
  EXPECT_EQ(report.counts.tokens, report.dataset.tokens());
  EXPECT_EQ(report.counts.trained_tokens, report.counts.tokens - 3) << "all but each first token";
  EXPECT_FALSE(report.passed());
  EXPECT_EQ(report.findings.count(Rule::kMalformedJson), 1);
  const DataFinding copy = first_finding(report.findings, Rule::kDuplicateRow);
  EXPECT_EQ(copy.place.row, 2);
  EXPECT_EQ(copy.place.line, 3);
  EXPECT_NE(copy.message.find("row 0"), std::string::npos);
  EXPECT_EQ(report.dataset.origin(1).row, 1);
}

TEST_F(TokenizeFile, OverLongRowsAreErrorsDroppedOrCut) {
  const std::string rows = text_rows({"the data", std::string(200, 'z'), "the rows"});
  TokenizeOptions options;
  options.sequence_length = 16;
  const TokenizeReport error = run(rows, options);
  EXPECT_FALSE(error.passed());
  EXPECT_EQ(error.counts.over_long, 1);
  EXPECT_GT(error.counts.longest, 16);
  EXPECT_EQ(first_finding(error.findings, Rule::kTokenLengthExceeded).place.row, 1);

  options.over_long = OverLong::kDrop;
  const TokenizeReport drop = run(rows, options);
  EXPECT_TRUE(drop.passed());
  EXPECT_EQ(drop.counts.samples, 2);
  EXPECT_EQ(drop.counts.dropped, 1);
  EXPECT_EQ(drop.findings.count(Rule::kDroppedOverLong), 1);

  options.over_long = OverLong::kTruncate;
  const TokenizeReport cut = run(rows, options);
  EXPECT_TRUE(cut.passed());
  EXPECT_EQ(cut.counts.samples, 3);
  EXPECT_EQ(cut.counts.truncated, 1);
  EXPECT_EQ(cut.dataset.lengths()[1], 16);
}

TEST_F(TokenizeFile, RowsThatTrainNothingAreLeftOut) {
  TokenizeOptions options;
  options.sequence_length = 16;
  options.over_long = OverLong::kTruncate;
  const std::string prompt(200, 'z');
  const TokenizeReport report = run("{\"prompt\":\"" + prompt + "\",\"completion\":\"a\"}\n" +
                                        "{\"prompt\":\"p\",\"completion\":\"c\"}\n",
                                    options);
  EXPECT_EQ(report.counts.untrainable, 1);
  EXPECT_EQ(report.counts.truncated, 0);
  EXPECT_EQ(report.counts.samples, 1);
  EXPECT_EQ(report.dataset.origin(0).row, 1);
  EXPECT_EQ(first_finding(report.findings, Rule::kNoTrainableToken).place.row, 0);
}

TEST_F(TokenizeFile, RowsThatTheTemplateRefusesAreCritical) {
  const TokenizeReport report =
      run("{\"messages\":[{\"role\":\"user\",\"content\":\"w\"},{\"role\":\"assistant\","
          "\"content\":null,"
          "\"tool_calls\":[{\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\","
          "\"arguments\":{}}}]},{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"4\"},"
          "{\"role\":\"assistant\",\"content\":\"4\"}]}\n");
  EXPECT_EQ(report.counts.failed, 1);
  EXPECT_FALSE(report.passed());
  EXPECT_FALSE(first_finding(report.findings, Rule::kRenderFailed).message.empty());
}

TEST_F(TokenizeFile, ControlTokenTextIsAWarning) {
  const TokenizeReport report = run(text_rows({"say <|eos|> now"}));
  EXPECT_TRUE(report.passed());
  EXPECT_EQ(report.findings.count(Rule::kControlTokenText), 1);
}

TEST_F(TokenizeFile, ThreadsDoNotChangeTheResult) {
  std::string rows;
  for (int i = 0; i < 4000; ++i) {
    rows += R"({"messages":[{"role":"user","content":")" + std::string(700, 'q') +
            std::to_string(i) + R"("},{"role":"assistant","content":"answer )" +
            std::to_string(i % 3999) + "\"}]}\n";
  }
  TokenizeOptions options;
  options.threads = 1;
  const TokenizeReport one = run(rows, options);
  options.threads = 4;
  const TokenizeReport four = run(rows, options);
  ASSERT_GT(rows.size(), 2 * kBlockBytes) << "several blocks";
  ASSERT_EQ(one.dataset.samples(), 4000);
  ASSERT_EQ(four.dataset.samples(), 4000);
  EXPECT_EQ(one.identity.digest, four.identity.digest);
  for (std::uint64_t i = 0; i < one.dataset.samples(); ++i) {
    const auto a = one.dataset.ids(i);
    const auto b = four.dataset.ids(i);
    ASSERT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end()));
    for (std::uint32_t k = 0; k < a.size(); ++k) {
      ASSERT_EQ(one.dataset.trained(i, k), four.dataset.trained(i, k));
    }
    ASSERT_EQ(one.dataset.origin(i).row, i);
  }
}

TEST_F(TokenizeFile, IdentityNamesWhatDecidesTheTokens) {
  const std::string rows = text_rows({"the data"});
  const DataIdentity base = run(rows).identity;
  EXPECT_EQ(run(rows).identity.digest, base.digest);
  EXPECT_EQ(base.file.size(), 64);
  EXPECT_EQ(base.tokenizer, tokenizer_.digest());
  EXPECT_EQ(base.chat_template, template_.digest());
  EXPECT_NE(run(rows + "\n").identity.digest, base.digest);
  TokenizeOptions options;
  options.sequence_length = 77;
  const DataIdentity shorter = run(rows, options).identity;
  EXPECT_NE(shorter.digest, base.digest);
  EXPECT_EQ(shorter.file, base.file);
  EXPECT_NE(shorter.settings, base.settings);
  const auto path = write_into(folder_, "data.jsonl", rows);
  EXPECT_NE(tokenize(path, tokenizer_, nullptr).identity.digest, base.digest);
  EXPECT_NE(tokenize(path, nameless_tokenizer(), &template_).identity.digest, base.digest);
}

TEST_F(TokenizeFile, TrainingPairsShareTheirRow) {
  const TokenizeReport report = run(
      R"({"conversation_id":"c","persona":"p","emotional_arc":"e","topic":"t","training_pairs":[)"
      R"({"prompt_context":"x","user_query":"q1","target_response":"r1","scaffolding_metadata":{}},)"
      R"({"prompt_context":"x","user_query":"q2","target_response":"r2","scaffolding_metadata":{}}]})"
      "\n");
  EXPECT_EQ(report.counts.rows, 1);
  ASSERT_EQ(report.counts.samples, 2);
  EXPECT_EQ(report.dataset.origin(1).part, 1);
  EXPECT_EQ(report.dataset.rows_of_samples(), (std::vector<std::uint64_t>{0, 0}));
}

TEST_F(TokenizeFile, ForecastIsWhatTheScheduleDoes) {
  std::vector<std::string> texts;
  for (int i = 0; i < 100; ++i)
    texts.push_back("row " + std::string(static_cast<std::size_t>(i), 'x'));
  const TokenizeReport report = run(text_rows(texts));
  const PackingOptions packing{3, 128, true};
  const auto whole = forecast_data(report.dataset, packing, {4, 2, std::nullopt});
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->samples, 100);
  EXPECT_EQ(whole->tokens, report.dataset.tokens());
  EXPECT_EQ(whole->run_tokens, 2 * whole->tokens);
  EXPECT_GT(whole->fill, 0.8);
  const auto part = forecast_data(report.dataset, packing, {4, std::nullopt, 1});
  ASSERT_TRUE(part);
  EXPECT_EQ(part->steps, 1);
  EXPECT_GT(part->run_tokens, 0);
  EXPECT_LE(part->run_tokens, 4 * 128);
}

TEST(TokenizeShared, PromptOverTheWindow) {
  RATCHET_NEEDS_SHARED_INPUTS();
  const auto inputs = ratchet::testing::shared_inputs();
  const Tokenizer tokenizer = Tokenizer::load(inputs / "models/stories260K-hf").value();
  const ChatTemplate chat_template = small_template();
  const auto path = inputs / "datasets/malformed/61-prompt-over-length.jsonl";
  TokenizeOptions options;
  options.sequence_length = 512;
  const TokenizeReport error = tokenize(path, tokenizer, &chat_template, options);
  EXPECT_EQ(error.findings.count(Rule::kTokenLengthExceeded), 1);
  EXPECT_FALSE(error.passed());
  options.over_long = OverLong::kTruncate;
  const TokenizeReport cut = tokenize(path, tokenizer, &chat_template, options);
  EXPECT_EQ(cut.findings.count(Rule::kNoTrainableToken), 1);
  EXPECT_EQ(cut.counts.samples, 0);
}

TEST(TokenizeShared, RealSetsAreClean) {
  RATCHET_NEEDS_SHARED_INPUTS();
  const auto inputs = ratchet::testing::shared_inputs();
  const Tokenizer tokenizer = Tokenizer::load(inputs / "models/stories260K-hf").value();
  const ChatTemplate chat_template = small_template();
  TokenizeOptions options;
  options.sequence_length = 2048;
  const TokenizeReport chat =
      tokenize(inputs / "datasets/taskmaster4/chat_val.jsonl", tokenizer, &chat_template, options);
  EXPECT_TRUE(chat.passed());
  EXPECT_EQ(chat.counts.samples, 200);
  const TokenizeReport pairs =
      tokenize(inputs / "datasets/gsm8k/test.jsonl", tokenizer, nullptr, options);
  EXPECT_TRUE(pairs.passed());
  EXPECT_EQ(pairs.counts.samples, 1319);
  EXPECT_EQ(pairs.counts.untrainable, 0);
}

}  // namespace
}  // namespace ratchet::trainer
