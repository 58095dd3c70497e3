#include "proto/document.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

namespace ratchet {
namespace {

std::vector<Finding> parse_findings(std::string_view text, DocumentLimits limits = {}) {
  FindingList findings;
  const auto document = Document::parse(text, limits, findings);
  EXPECT_EQ(document == nullptr, !findings.empty());
  return findings.take();
}

TEST(Document, BrokenJsonIsOneFindingWithItsPlace) {
  const auto findings = parse_findings("{\n  \"a\": 1,\n  \"b\": tru\n}");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].path, "$");
  EXPECT_NE(findings[0].message.find("line 3, column"), std::string::npos) << findings[0].message;
  for (const char* text : {"", "{", "[1,]", "{\"a\":1} x", "nan", "{\"a\":1e999}", "'a'",
                           "\"\xff\"", "{\"a\":\"\\ud800\"}", "{\"a\" 1}"}) {
    EXPECT_EQ(parse_findings(text).size(), 1U) << text;
  }
}

TEST(Document, EveryDuplicateKeyIsFound) {
  const auto findings = parse_findings(R"({"a":1,"b":{"c":1,"c":2},"a":[{"x y":1,"x y":2}]})");
  ASSERT_EQ(findings.size(), 3U);
  EXPECT_EQ(findings[0].path, "$.b.c");
  EXPECT_EQ(findings[1].path, "$.a");
  EXPECT_EQ(findings[2].path, "$.a[0][\"x y\"]");
}

TEST(Document, SizeAndDepthAreBounded) {
  EXPECT_TRUE(parse_findings("[[1]]", {.max_bytes = 5, .max_depth = 2}).empty());
  EXPECT_EQ(parse_findings("[[1]]", {.max_bytes = 4, .max_depth = 2}).size(), 1U);
  const auto deep = parse_findings("[[1]]", {.max_bytes = 5, .max_depth = 1});
  ASSERT_EQ(deep.size(), 1U);
  EXPECT_EQ(deep[0].path, "$[0]");
  EXPECT_EQ(parse_findings(std::string(1'000'000, '[')).size(), 1U);
}

TEST(Document, FindingsAreCountedAfterTheFirstHundred) {
  std::string text = "{";
  for (int i = 0; i < 300; ++i) text += "\"k" + std::to_string(i) + "\":1,";
  text.back() = '}';
  FindingList findings;
  const auto document = Document::parse(text, {}, findings);
  ASSERT_NE(document, nullptr);
  {
    const ObjectReader root = document->root(findings, UnknownKeys::kReject);
  }
  const auto list = findings.take();
  ASSERT_EQ(list.size(), FindingList::kMax + 1);
  EXPECT_EQ(list.back().message, "has 200 more findings.");
}

TEST(Document, ValuesAreShortenedBetweenCharacters) {
  EXPECT_EQ(shorten(nlohmann::json::parse("[1,\"a\"]")), "[1,\"a\"]");
  EXPECT_EQ(shorten(nlohmann::json::parse("[[1]]")), "an array of 1");
  EXPECT_EQ(shorten(nlohmann::json::parse("{\"a\":1}")), "an object of 1 keys");
  const std::string umlauts = "\xC3\xA4";
  std::string text = "x";
  for (int i = 0; i < 100; ++i) text += umlauts;
  const std::string cut = shorten(nlohmann::json(text));
  EXPECT_TRUE(cut.ends_with("\xC3\xA4...\"")) << cut;
  EXPECT_LT(cut.size(), 70U);
}

TEST(Document, ClippingTwiceIsClippingOnce) {
  std::string text = "x";
  for (int i = 0; i < 20; ++i) text += "\xE2\x82\xAC";
  for (std::size_t limit = 0; limit <= text.size(); ++limit) {
    const std::string once = clip_text(text, limit);
    EXPECT_LE(once.size(), limit);
    EXPECT_EQ(clip_text(once, limit), once) << limit;
    EXPECT_EQ(once.ends_with("..."), limit >= 3 && limit < text.size()) << limit;
  }
  EXPECT_EQ(clip_text("abcdef", 5), "ab...");
}

TEST(Document, PathsQuoteKeysThatAreNoWords) {
  EXPECT_EQ(json_path("$", "abc_1"), "$.abc_1");
  EXPECT_EQ(json_path("$.a", "b.c"), "$.a[\"b.c\"]");
  EXPECT_EQ(json_path("$", ""), "$[\"\"]");
  EXPECT_EQ(json_path("$.a", 3), "$.a[3]");
  EXPECT_EQ(json_path("$", "a\n"), "$[\"a\\n\"]");
}

TEST(Document, GuessesOnlyWhatIsClose) {
  constexpr std::array<std::string_view, 4> kKnown{"learning_rate", "seed", "train", "q_proj"};
  EXPECT_EQ(did_you_mean("learnin_rate", kKnown), "learning_rate");
  EXPECT_EQ(did_you_mean("sede", kKnown), "seed");
  EXPECT_EQ(did_you_mean("trian", kKnown), "train");
  EXPECT_EQ(did_you_mean("q", kKnown), "q_proj");
  EXPECT_EQ(did_you_mean("colour", kKnown), "");
  EXPECT_EQ(did_you_mean("", kKnown), "");
  EXPECT_EQ(did_you_mean(std::string(10'000, 'a'), kKnown), "");
}

class Reader : public ::testing::Test {
 protected:
  // Reads `text` with `read` and returns the messages that came of it.
  template <class Read>
  std::vector<Finding> read(std::string_view text, Read read) {
    FindingList findings;
    const auto document = Document::parse(text, {}, findings);
    EXPECT_NE(document, nullptr) << text;
    {
      ObjectReader root = document->root(findings, UnknownKeys::kTolerate);
      read(root);
    }
    return findings.take();
  }
};

TEST_F(Reader, IntegersMustBeIntegersInRange) {
  for (const char* text : {"{\"n\":1.0}", "{\"n\":\"1\"}", "{\"n\":true}", "{\"n\":null}",
                           "{\"n\":0}", "{\"n\":11}", "{\"n\":18446744073709551615}",
                           "{\"n\":1e30}", "{\"n\":-9223372036854775808}", "{\"n\":[1]}"}) {
    std::int64_t n = 7;
    const auto findings =
        read(text, [&](ObjectReader& root) { EXPECT_FALSE(root.integer("n", n, {1, 10})); });
    ASSERT_EQ(findings.size(), 1U) << text;
    EXPECT_EQ(findings[0].path, "$.n");
    EXPECT_EQ(findings[0].message, "must be an integer from 1 to 10.");
    EXPECT_EQ(n, 7);
  }
  std::int64_t n = 0;
  EXPECT_TRUE(
      read("{\"n\":10}", [&](ObjectReader& root) { root.integer("n", n, {1, 10}); }).empty());
  EXPECT_EQ(n, 10);
}

TEST_F(Reader, NumbersHonourOpenAndClosedBounds) {
  const NumberRange range{0, 1, Bound::kExclusive, Bound::kInclusive};
  const auto ok = [&](const char* text) {
    double n = 0;
    return read(text, [&](ObjectReader& root) { root.number("n", n, range); }).empty();
  };
  EXPECT_TRUE(ok("{\"n\":1}"));
  EXPECT_TRUE(ok("{\"n\":1e-300}"));
  EXPECT_FALSE(ok("{\"n\":0}"));
  EXPECT_FALSE(ok("{\"n\":1.0000001}"));
  EXPECT_FALSE(ok("{\"n\":\"0.5\"}"));
  EXPECT_FALSE(ok("{\"n\":null}"));
}

TEST_F(Reader, RangesAreSpelledOut) {
  const auto message = [&](NumberRange range) {
    double n = 0;
    return read("{\"n\":\"x\"}", [&](ObjectReader& root) { root.number("n", n, range); })
        .at(0)
        .message;
  };
  EXPECT_EQ(message({}), "must be a number.");
  EXPECT_EQ(message({0, 1}), "must be a number from 0 to 1.");
  EXPECT_EQ(message({0, 0.5, Bound::kExclusive}), "must be a number above 0 and at most 0.5.");
  EXPECT_EQ(message({0, 1, Bound::kInclusive, Bound::kExclusive}),
            "must be a number from 0 and below 1.");
  EXPECT_EQ(message({.min = 2}), "must be a number from 2.");
}

TEST_F(Reader, TextsAreBoundedAndClean) {
  std::string out;
  const auto fault = [&](const char* text, TextRule rule) {
    const auto findings = read(text, [&](ObjectReader& root) { root.text("t", out, rule); });
    return findings.empty() ? std::string() : findings[0].message;
  };
  EXPECT_EQ(fault("{\"t\":\"ab\"}", {.max_length = 2}), "");
  EXPECT_NE(fault("{\"t\":\"abc\"}", {.max_length = 2}), "");
  EXPECT_NE(fault("{\"t\":\"\"}", {.min_length = 1}), "");
  EXPECT_NE(fault("{\"t\":3}", {}), "");
  EXPECT_NE(fault("{\"t\":\"a\\nb\"}", {}), "");
  EXPECT_NE(fault("{\"t\":\"a\\u0000b\"}", {.kind = TextKind::kParagraphs}), "");
  EXPECT_NE(fault("{\"t\":\"\\u007f\"}", {}), "");
  EXPECT_EQ(fault("{\"t\":\"a\\n\\tb\"}", {.kind = TextKind::kParagraphs}), "");
  EXPECT_EQ(fault("{\"t\":\"\\u001b[0m\"}", {.kind = TextKind::kAny}), "");
}

TEST_F(Reader, IdsMustBeFolderNames) {
  std::string id;
  const auto ok = [&](const std::string& text) {
    return read(text, [&](ObjectReader& root) { root.id("id", id); }).empty();
  };
  EXPECT_TRUE(ok(R"({"id":"job-1.a_B"})"));
  EXPECT_FALSE(ok(R"({"id":"../x"})"));
  EXPECT_FALSE(ok(R"({"id":".x"})"));
  EXPECT_FALSE(ok(R"({"id":""})"));
  EXPECT_FALSE(ok(R"({"id":"a/b"})"));
  EXPECT_FALSE(ok("{\"id\":\"" + std::string(129, 'a') + "\"}"));
}

TEST_F(Reader, ArraysNameTheElement) {
  std::vector<std::string> out{"before"};
  auto findings = read(R"({"a":["x",1,"",{}]})", [&](ObjectReader& root) {
    EXPECT_FALSE(root.texts("a", out, 10, {.min_length = 1}));
  });
  ASSERT_EQ(findings.size(), 3U);
  EXPECT_EQ(findings[0].path, "$.a[1]");
  EXPECT_EQ(findings[1].path, "$.a[2]");
  EXPECT_EQ(findings[2].path, "$.a[3]");
  EXPECT_EQ(out, std::vector<std::string>{"before"});
  findings = read(R"({"a":["x","y"]})", [&](ObjectReader& root) { root.texts("a", out, 1); });
  EXPECT_EQ(findings.size(), 1U);
  findings = read(R"({"a":[{"n":1},2]})",
                  [&](ObjectReader& root) { EXPECT_EQ(root.objects("a", 10).size(), 2U); });
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].path, "$.a[1]");
}

TEST_F(Reader, NullReadsAsNaNOnlyWhereItMay) {
  double n = 0;
  EXPECT_TRUE(
      read("{\"n\":null}", [&](ObjectReader& root) { root.number_or_nan("n", n); }).empty());
  EXPECT_TRUE(std::isnan(n));
  EXPECT_EQ(read("{\"n\":\"x\"}", [&](ObjectReader& root) { root.number_or_nan("n", n); }).size(),
            1U);
}

TEST(Findings, AreFormattedOneALine) {
  const std::vector<Finding> findings{{"$.a", "1", "must be 2."}, {"$.b", "", "is missing."}};
  EXPECT_EQ(format_findings(findings), "  $.a = 1: must be 2.\n  $.b: is missing.");
  EXPECT_EQ(findings_error("spec.json", findings).message,
            "spec.json has 2 faults:\n  $.a = 1: must be 2.\n  $.b: is missing.");
}

}  // namespace
}  // namespace ratchet
