#include "trainer/hf/tokenizer.h"

#include <gtest/gtest.h>

#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <sstream>
#include <thread>

#include "tests/hf/shared_inputs.h"

namespace ratchet::trainer {
namespace {

using nlohmann::json;
using testing::have_shared_inputs;
using testing::read_text;
using testing::shared_inputs;

// A byte-level BPE with the letters a, b, c and two merges, and one added token of each kind.
json small_tokenizer() {
  return json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [
      {"id": 7, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": false, "special": true},
      {"id": 8, "content": "<tool>", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": false, "special": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                      "use_regex": true},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}}],
      "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [7], "tokens": ["<s>"]}}},
    "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                "use_regex": true},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
              "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
              "vocab": {"a": 0, "b": 1, "c": 2, "Ġ": 3, "ab": 4, "abc": 5, "Ġabc": 6},
              "merges": ["a b", "ab c", "Ġ abc"]}})");
}

Tokenizer small() { return Tokenizer::from_bytes(small_tokenizer().dump()).value(); }

std::vector<int32_t> encode(const Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.encode(text, AddSpecial::kNo).value();
}

void check_vectors(const std::string& tokenizer_name, const std::string& vector_name) {
  const auto tokenizer = Tokenizer::load(shared_inputs() / "tokenizers" / tokenizer_name);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const auto vectors = shared_inputs() / "tokenizers/vectors";
  const std::string texts = read_text(vectors / (vector_name + ".inp"));
  std::istringstream lines(read_text(vectors / (vector_name + ".out")));
  const std::string separator = "\n__ggml_vocab_test__\n";
  size_t count = 0;
  size_t begin = 0;
  for (bool more = true; more; ++count) {
    const size_t end = texts.find(separator, begin);
    more = end != std::string::npos;
    const std::string text = texts.substr(begin, more ? end - begin : end);
    begin = end + separator.size();
    std::string line;  // the last text is empty, and has no line
    std::getline(lines, line);
    std::istringstream numbers(line);
    const std::vector<int32_t> ids{std::istream_iterator<int32_t>(numbers), {}};
    EXPECT_EQ(encode(*tokenizer, text), ids) << '"' << text << '"';
    EXPECT_EQ(tokenizer->decode(ids, SkipSpecial::kNo).value(), text);
  }
  EXPECT_EQ(count, 47U);
}

TEST(Tokenizer, EveryGpt2VectorIsExact) {
  if (!have_shared_inputs()) GTEST_SKIP() << "shared inputs absent";
  check_vectors("gpt2", "gpt-2");
}

TEST(Tokenizer, EveryQwen2VectorIsExact) {
  if (!have_shared_inputs()) GTEST_SKIP() << "shared inputs absent";
  check_vectors("qwen2", "qwen2");
}

TEST(Tokenizer, EveryRenderWithIdsIsExact) {
  if (!have_shared_inputs()) GTEST_SKIP() << "shared inputs absent";
  const auto tokenizer = Tokenizer::load(shared_inputs() / "tokenizers/qwen2").value();
  size_t count = 0;
  for (const auto& expected : testing::expected_renders()) {
    if (expected.ids_qwen2_5.empty()) continue;
    // Qwen2.5 has tokens for tool calls that the Qwen2 tokenizer of the inputs lacks.
    if (expected.rendered->find("tool_call>") != std::string::npos) continue;
    ++count;
    EXPECT_EQ(encode(tokenizer, *expected.rendered), expected.ids_qwen2_5) << expected.test_case;
  }
  EXPECT_GE(count, 36U);
}

TEST(Tokenizer, Stories260kEncodesItsOwnText) {
  if (!have_shared_inputs()) GTEST_SKIP() << "shared inputs absent";
  const auto folder = shared_inputs() / "models/stories260K-hf";
  const auto tokenizer = Tokenizer::load(folder).value();
  const auto greedy = json::parse(read_text(folder / "expected_greedy.json"));
  const auto text = greedy.at("expected_text").get<std::string>();
  std::vector<int32_t> ids;
  for (const auto& [key, value] : greedy.items()) {
    if (value.is_array() && value.size() >= 200 && value[0].is_number_integer()) {
      ids = value.get<std::vector<int32_t>>();
    }
  }
  ASSERT_GE(ids.size(), 200U);
  const auto with_bos = tokenizer.encode(text, AddSpecial::kYes).value();
  ASSERT_EQ(tokenizer.bos_id(), 1);
  if (ids.front() != 1) ids.insert(ids.begin(), 1);
  EXPECT_EQ(with_bos, ids);
  EXPECT_EQ(tokenizer.decode(with_bos, SkipSpecial::kYes).value(), text);
  EXPECT_EQ(tokenizer.vocab_size(), 512);
  EXPECT_EQ(tokenizer.eos_id(), 2);
}

TEST(Tokenizer, TextIsNormalisedAsTheFileSays) {
  if (!have_shared_inputs()) GTEST_SKIP() << "shared inputs absent";
  const auto qwen = Tokenizer::load(shared_inputs() / "tokenizers/qwen2").value();
  const std::string decomposed = "cafe\xcc\x81";
  EXPECT_EQ(encode(qwen, decomposed), encode(qwen, "caf\xc3\xa9"));
  const auto gpt2 = Tokenizer::load(shared_inputs() / "tokenizers/gpt2").value();
  EXPECT_NE(encode(gpt2, decomposed), encode(gpt2, "caf\xc3\xa9"));
  // Offsets stay in bytes of the text given, not of the normalised one.
  const auto encoding = qwen.encode_with_offsets(decomposed + " x", AddSpecial::kNo).value();
  EXPECT_EQ(encoding.offsets.back().end, decomposed.size() + 2);
}

TEST(Tokenizer, AddedTokenProbeIsRefusedWithItsReason) {
  if (!have_shared_inputs()) GTEST_SKIP() << "shared inputs absent";
  // Its ids begin at 32003 and its merges are an object: no library numbers its tokens like this.
  json probe = json::parse(
      read_text(shared_inputs() / "tokenizers/added-tokens/added-tokens.tokenizer.json"));
  const auto refused = Tokenizer::from_bytes(probe.dump());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kCorrupt);
  probe["model"]["merges"] = json::array();
  const auto misnumbered = Tokenizer::from_bytes(probe.dump());
  ASSERT_FALSE(misnumbered);
  EXPECT_NE(misnumbered.error().message.find("<|placeholder2|>"), std::string::npos)
      << misnumbered.error().message;
  // With the missing tokens in place it loads, and keeps every id of the file.
  json vocab = probe["model"]["vocab"];
  for (int id = 3; id < 32003; ++id) {
    if (id != 13) vocab["filler" + std::to_string(id)] = id;
  }
  probe["model"]["vocab"] = vocab;
  const auto loaded = Tokenizer::from_bytes(probe.dump());
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->vocab_size(), 32011);
  EXPECT_EQ(encode(*loaded, "<|user|><|end|><s>"), (std::vector<int32_t>{32010, 32007, 1}));
}

TEST(Tokenizer, SpecialTokensAreAddedOnlyOnRequest) {
  const auto tokenizer = small();
  EXPECT_EQ(encode(tokenizer, "abc abc"), (std::vector<int32_t>{5, 6}));
  EXPECT_EQ(tokenizer.encode("abc", AddSpecial::kYes).value(), (std::vector<int32_t>{7, 5}));
  EXPECT_EQ(encode(tokenizer, "<s>ab<tool>c"), (std::vector<int32_t>{7, 4, 8, 2}));
  EXPECT_EQ(encode(tokenizer, ""), std::vector<int32_t>{});
  const std::vector<int32_t> ids = {7, 4, 8, 2};
  EXPECT_EQ(tokenizer.decode(ids, SkipSpecial::kNo).value(), "<s>ab<tool>c");
  EXPECT_EQ(tokenizer.decode(ids, SkipSpecial::kYes).value(), "ab<tool>c");
}

TEST(Tokenizer, OffsetsAreBytesOfTheText) {
  const auto encoding = small().encode_with_offsets("<s>ab abc", AddSpecial::kYes).value();
  EXPECT_EQ(encoding.ids, (std::vector<int32_t>{7, 7, 4, 6}));
  EXPECT_EQ(encoding.offsets, (std::vector<ByteSpan>{{0, 0}, {0, 3}, {3, 5}, {5, 9}}));
}

TEST(Tokenizer, MergesMayBePairs) {
  json document = small_tokenizer();
  document["model"]["merges"] =
      json::array({json::array({"a", "b"}), json::array({"ab", "c"}), json::array({"Ġ", "abc"})});
  EXPECT_EQ(encode(Tokenizer::from_bytes(document.dump()).value(), "abc abc"),
            (std::vector<int32_t>{5, 6}));
}

TEST(Tokenizer, TruncationPaddingAndDropoutOfTheFileAreOff) {
  json document = small_tokenizer();
  document["truncation"] = {
      {"direction", "Right"}, {"max_length", 2}, {"strategy", "LongestFirst"}, {"stride", 0}};
  document["padding"] = {{"strategy", {{"Fixed", 9}}},
                         {"direction", "Right"},
                         {"pad_to_multiple_of", nullptr},
                         {"pad_id", 0},
                         {"pad_type_id", 0},
                         {"pad_token", "a"}};
  document["model"]["dropout"] = 0.9;
  const auto tokenizer = Tokenizer::from_bytes(document.dump()).value();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(encode(tokenizer, "abc abc abc abc"), (std::vector<int32_t>{5, 6, 6, 6}));
  }
}

TEST(Tokenizer, ConfigNamesTokensAsTextOrObject) {
  const auto tokenizer = Tokenizer::from_bytes(small_tokenizer().dump(),
                                               R"({"bos_token": {"content": "<s>", "lstrip": false},
                                "eos_token": "<tool>", "pad_token": null, "add_bos_token": true,
                                "unk_token": "absent"})")
                             .value();
  EXPECT_EQ(tokenizer.bos_id(), 7);
  EXPECT_EQ(tokenizer.eos_id(), 8);
  EXPECT_EQ(tokenizer.pad_id(), std::nullopt);
  EXPECT_EQ(
      tokenizer.special_tokens(),
      (SpecialTokens{{"bos_token", "<s>"}, {"eos_token", "<tool>"}, {"unk_token", "absent"}}));
  EXPECT_FALSE(Tokenizer::from_bytes(small_tokenizer().dump(), R"({"eos_token": 3})"));
  EXPECT_FALSE(Tokenizer::from_bytes(small_tokenizer().dump(), "[]"));
}

TEST(Tokenizer, VocabularyCountsAddedTokens) {
  const auto tokenizer = small();
  EXPECT_EQ(tokenizer.vocab_size(), 9);
  EXPECT_EQ(tokenizer.token_to_id("Ġabc"), 6);
  EXPECT_EQ(tokenizer.token_to_id("zzz"), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(6).value(), "Ġabc");
  EXPECT_FALSE(tokenizer.id_to_token(9));
  ASSERT_EQ(tokenizer.added_tokens().size(), 2U);
  EXPECT_TRUE(tokenizer.added_tokens()[0].special);
  EXPECT_FALSE(tokenizer.added_tokens()[1].special);
}

TEST(Tokenizer, IdsOutsideOfTheVocabularyAreAnError) {
  for (const int32_t id : {9, 1000000, -1}) {
    const auto text = small().decode(std::vector<int32_t>{0, id}, SkipSpecial::kNo);
    ASSERT_FALSE(text) << id;
    EXPECT_EQ(text.error().code, Code::kInvalidArgument);
  }
}

TEST(Tokenizer, DigestFollowsWhatDecidesIds) {
  const auto first = small();
  EXPECT_EQ(first.digest().size(), 64U);
  EXPECT_EQ(first.digest(), small().digest());
  json changed = small_tokenizer();
  changed["model"]["merges"].erase(2);
  EXPECT_NE(first.digest(), Tokenizer::from_bytes(changed.dump())->digest());
  EXPECT_NE(first.digest(),
            Tokenizer::from_bytes(small_tokenizer().dump(), R"({"eos_token": "<s>"})")->digest());
}

TEST(Tokenizer, BytesThatAreNoTextAreRefused) {
  for (const std::string& text : std::vector<std::string>{"\xff", "a\xc3", "\xed\xa0\x80"}) {
    const auto ids = small().encode(text, AddSpecial::kNo);
    ASSERT_FALSE(ids);
    EXPECT_EQ(ids.error().code, Code::kInvalidArgument);
  }
  EXPECT_TRUE(small().encode(std::string("a\0b", 3), AddSpecial::kNo));
}

TEST(Tokenizer, HostileFilesGiveAVerdict) {
  const std::string good = small_tokenizer().dump();
  std::vector<std::string> files = {
      "", "{", "[]", "null", "{\"version\":\"1.0\"}", "\xff\xfe", std::string(100000, '[')};
  std::mt19937 random(7);
  for (int i = 0; i < 300; ++i) {
    std::string file = good;
    if (i % 3 == 0) file.resize(random() % file.size());
    for (int k = 0; k < 3 && !file.empty(); ++k)
      file[random() % file.size()] = static_cast<char>(random() % 128);
    files.push_back(file);
  }
  size_t refused = 0;
  for (const std::string& file : files) {
    const auto tokenizer = Tokenizer::from_bytes(file);
    if (tokenizer) {
      EXPECT_TRUE(tokenizer->vocab_size() >= 0);
      (void)tokenizer->encode("abc <s>\n", AddSpecial::kYes);
    } else {
      ++refused;
      EXPECT_EQ(tokenizer.error().code, Code::kCorrupt);
    }
  }
  EXPECT_GT(refused, 100U);
}

TEST(Tokenizer, FolderWithoutTokenizerIsToldSo) {
  const auto missing = Tokenizer::load("/nonexistent/model");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_NE(missing.error().message.find("save_pretrained"), std::string::npos);
}

TEST(Tokenizer, BatchesAndThreadsAgreeWithOneCall) {
  const auto tokenizer = small();
  std::vector<std::string> texts;
  std::vector<std::vector<int32_t>> expected;
  for (int i = 0; i < 500; ++i) {
    texts.push_back(std::string(static_cast<size_t>(i % 7), 'a') + "bc abc" +
                    std::string(static_cast<size_t>(i % 5), 'c'));
    expected.push_back(encode(tokenizer, texts.back()));
  }
  EXPECT_EQ(tokenizer.encode_batch(texts, AddSpecial::kNo, 4).value(), expected);
  EXPECT_EQ(tokenizer.encode_batch(texts, AddSpecial::kNo, 1).value(), expected);
  EXPECT_TRUE(tokenizer.encode_batch({}, AddSpecial::kNo, 4).value().empty());
  texts[400] = "\xff";
  texts[17] = "\xff";
  const auto failed = tokenizer.encode_batch(texts, AddSpecial::kNo, 4);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message.rfind("Text 17:", 0), 0U) << failed.error().message;
}

TEST(Tokenizer, CopiesOutliveTheOriginal) {
  std::optional<Tokenizer> original = small();
  const Tokenizer copy = *original;
  original.reset();
  EXPECT_EQ(encode(copy, "abc"), std::vector<int32_t>{5});
}

}  // namespace
}  // namespace ratchet::trainer
