#include "trainer/data/render_rows.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/data/data_testing.h"
#include "tests/data/encoder_fixture.h"

namespace ratchet::trainer {
namespace {

using Json = nlohmann::ordered_json;

std::vector<RenderedRow> render(const std::string& content, const SampleEncoder& encoder,
                                const RenderRowsOptions& options = {}) {
  const ratchet::testing::TempFolder folder;
  std::vector<RenderedRow> rows;
  const Status status = render_rows(write_into(folder, "data.jsonl", content), encoder, options,
                                    [&](const RenderedRow& row) {
                                      rows.push_back(row);
                                      return true;
                                    });
  EXPECT_TRUE(status) << status.error().message;
  return rows;
}

constexpr const char* kGood =
    R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"r"}]})"
    "\n";

class RenderRows : public ::testing::Test {
 protected:
  Tokenizer tokenizer_ = small_tokenizer();
  ChatTemplate template_ = small_template();
  SampleEncoder encoder_{tokenizer_, &template_};
};

TEST_F(RenderRows, ShowsEachRow) {
  const auto rows = render(std::string("\n") + kGood + "{broken\n" + kGood, encoder_);
  ASSERT_EQ(rows.size(), 3);
  EXPECT_EQ(rows[0].row, 0);
  EXPECT_EQ(rows[0].line, 2);
  EXPECT_EQ(rows[0].sample.text, "<|bos|><|user|>q<|assistant|>r<|eos|>");
  EXPECT_EQ(rows[1].row, 1);
  EXPECT_NE(rows[1].error.find("JSON"), std::string::npos);
  EXPECT_EQ(rows[2].row, 2);
  EXPECT_TRUE(rows[2].error.empty());
}

TEST_F(RenderRows, JsonHasIdsAndMaskOrAnError) {
  const auto rows = render(std::string(kGood) + "[]\n", encoder_);
  const Json good = Json::parse(rendered_json(rows.at(0)));
  EXPECT_EQ(good["row"], 0);
  EXPECT_EQ(good["text"], rows[0].sample.text);
  EXPECT_EQ(good["ids"].size(), good["train"].size());
  EXPECT_EQ(good["train"][0], 0);
  EXPECT_EQ(good["train"].back(), 1);
  EXPECT_FALSE(good.contains("error"));
  const Json bad = Json::parse(rendered_json(rows.at(1)));
  EXPECT_FALSE(bad.contains("text"));
  EXPECT_TRUE(bad.contains("error"));
}

TEST_F(RenderRows, OneRowOnly) {
  RenderRowsOptions options;
  options.only_row = 1;
  const auto rows = render(std::string("{broken\n") + kGood + kGood, encoder_, options);
  ASSERT_EQ(rows.size(), 1);
  EXPECT_EQ(rows[0].row, 1);
  options.only_row = 9;
  const ratchet::testing::TempFolder folder;
  const Status status = render_rows(write_into(folder, "d.jsonl", kGood), encoder_, options,
                                    [](const RenderedRow&) { return true; });
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("no row 9"), std::string::npos);
}

TEST_F(RenderRows, StopsWhenTold) {
  const ratchet::testing::TempFolder folder;
  int shown = 0;
  EXPECT_TRUE(render_rows(write_into(folder, "d.jsonl", std::string(kGood) + kGood), encoder_, {},
                          [&](const RenderedRow&) { return ++shown < 1; }));
  EXPECT_EQ(shown, 1);
}

TEST_F(RenderRows, EveryTrainingPairIsShown) {
  const auto rows = render(
      R"({"conversation_id":"c","persona":"p","emotional_arc":"e","topic":"t","training_pairs":[)"
      R"({"prompt_context":"x","user_query":"q1","target_response":"r1","scaffolding_metadata":{}},)"
      R"({"prompt_context":"x","user_query":"q2","target_response":"r2","scaffolding_metadata":{}}]})"
      "\n",
      encoder_);
  ASSERT_EQ(rows.size(), 2);
  EXPECT_EQ(rows[1].row, 0);
  EXPECT_EQ(rows[1].part, 1);
}

// The path of `ratchet-trainer render --template`: every published render, through the row reader
// and the decoder, is the text that Jinja2 gave, or an error where it gave one.
TEST(RenderShared, EveryPublishedRenderIsExact) {
  RATCHET_NEEDS_SHARED_INPUTS();
  const auto inputs = ratchet::testing::shared_inputs();
  const Tokenizer tokenizer = Tokenizer::load(inputs / "tokenizers/qwen2").value();
  std::ifstream file(inputs / "templates/expectations/jinja2_renders.jsonl");
  std::size_t texts = 0;
  std::size_t errors = 0;
  for (std::string line; std::getline(file, line);) {
    const auto expected = Json::parse(line);
    SCOPED_TRACE(expected["template"].get<std::string>() + " " +
                 expected["case"].get<std::string>());
    const auto chat_template = ChatTemplate::from_source(
        read_all(inputs / "templates" / expected["template"].get<std::string>()),
        {{"bos_token", expected["bos_token"].get<std::string>()},
         {"eos_token", expected["eos_token"].get<std::string>()}});
    ASSERT_TRUE(chat_template);
    Json row;
    row["messages"] = expected["messages"];
    if (!expected["tools"].is_null()) row["tools"] = expected["tools"];
    RenderRowsOptions options;
    options.add_generation_prompt = expected["add_generation_prompt"].get<bool>();
    const SampleEncoder encoder(tokenizer, &*chat_template);
    const auto rows = render(row.dump() + "\n", encoder, options);
    ASSERT_EQ(rows.size(), 1);
    if (expected.contains("error")) {
      ++errors;
      EXPECT_FALSE(rows[0].error.empty());
      EXPECT_TRUE(rows[0].sample.ids.empty());
    } else {
      ++texts;
      EXPECT_EQ(rows[0].sample.text, expected["rendered"].get<std::string>()) << rows[0].error;
    }
  }
  EXPECT_EQ(texts, 190);
  EXPECT_EQ(errors, 35);
}

}  // namespace
}  // namespace ratchet::trainer
