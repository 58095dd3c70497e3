#include "trainer/data/finding.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "tests/data/data_testing.h"
#include "trainer/data/utf8.h"

namespace ratchet::trainer {
namespace {

TEST(Rules, HaveDistinctCodesAndFullTexts) {
  std::set<std::string_view> codes;
  for (std::size_t i = 0; i < kRuleCount; ++i) {
    const RuleInfo& info = rule_info(static_cast<Rule>(i));
    EXPECT_TRUE(codes.insert(info.code).second) << info.code;
    EXPECT_FALSE(info.expected.empty()) << info.code;
    EXPECT_TRUE(info.fix.ends_with('.')) << info.code;
  }
}

TEST(Rules, AreAllInTheReadme) {
  const std::string readme =
      read_all(std::filesystem::path(RATCHET_SOURCE_DIR) / "trainer/data/README.md");
  for (std::size_t i = 0; i < kRuleCount; ++i) {
    const RuleInfo& info = rule_info(static_cast<Rule>(i));
    const std::string row = "| `" + std::string(info.code) + "` | " +
                            std::string(error_type_word(info.type)) + " | " +
                            std::string(severity_word(info.severity)) + " |";
    EXPECT_NE(readme.find(row), std::string::npos) << row;
  }
}

TEST(FindingLog, CountsAllAndKeepsTheFirstOfEachRule) {
  FindingLog log(2);
  for (std::uint64_t row = 0; row < 5; ++row) {
    if (DataFinding* finding = log.add(Rule::kMissingField)) finding->place.row = row;
  }
  if (DataFinding* finding = log.add(Rule::kEmptyContent)) finding->place.row = 1;
  EXPECT_EQ(log.count(Rule::kMissingField), 5);
  EXPECT_EQ(log.count(Severity::kCritical), 5);
  EXPECT_EQ(log.count(Severity::kWarning), 1);
  const auto kept = log.sorted();
  ASSERT_EQ(kept.size(), 3);
  EXPECT_EQ(kept[0].place.row, 0);
  EXPECT_EQ(kept[1].place.row, 1);
}

TEST(FindingLog, MergedLogsReadAsOne) {
  FindingLog first(2);
  FindingLog second(2);
  if (DataFinding* finding = first.add(Rule::kTooDeep)) finding->place.row = 3;
  for (std::uint64_t row = 10; row < 13; ++row) {
    if (DataFinding* finding = second.add(Rule::kTooDeep)) finding->place.row = row;
  }
  first.merge(std::move(second));
  EXPECT_EQ(first.count(Rule::kTooDeep), 4);
  const auto kept = first.sorted();
  ASSERT_EQ(kept.size(), 2);
  EXPECT_EQ(kept[0].place.row, 3);
  EXPECT_EQ(kept[1].place.row, 10);
}

TEST(FindingJson, HasTheFieldsOfTheRequirements) {
  DataFinding finding;
  finding.rule = Rule::kEmptyField;
  finding.place = {41, 90};
  finding.id = "conv-7";
  finding.field_path = "training_pairs[1].target_response";
  finding.message = "The field 'target_response' is empty.";
  finding.current = "\"\"";
  const auto json = nlohmann::json::parse(finding_json(finding));
  EXPECT_EQ(json["error_type"], "missing_required_field");
  EXPECT_EQ(json["code"], "empty_field");
  EXPECT_EQ(json["severity"], "critical");
  EXPECT_EQ(json["conversation_index"], 41);
  EXPECT_EQ(json["conversation_id"], "conv-7");
  EXPECT_EQ(json["line"], 90);
  EXPECT_EQ(json["field_path"], "training_pairs[1].target_response");
  EXPECT_EQ(json["error_message"], "The field 'target_response' is empty.");
  EXPECT_EQ(json["current_value"], "\"\"");
  EXPECT_FALSE(json["expected"].get<std::string>().empty());
  EXPECT_FALSE(json["suggested_fix"].get<std::string>().empty());
}

TEST(ShortenValue, IsAlwaysPrintable) {
  EXPECT_EQ(shorten_value("plain"), "plain");
  EXPECT_EQ(shorten_value("a\nb"), "a\\x0ab");
  EXPECT_EQ(shorten_value("caf\xc3\xa9"), "caf\xc3\xa9");
  EXPECT_EQ(shorten_value("caf\xe9"), "caf\\xe9");
  EXPECT_EQ(shorten_value(std::string_view("\0x", 2)), "\\x00x");
  const std::string cut = shorten_value(std::string(500, 'x'));
  EXPECT_EQ(cut, std::string(kShownValueBytes, 'x') + "...");
}

TEST(Utf8, FindsTheFirstBadByte) {
  EXPECT_EQ(find_invalid_utf8(""), std::string_view::npos);
  EXPECT_EQ(find_invalid_utf8("0123456789abcdef"), std::string_view::npos);
  EXPECT_EQ(find_invalid_utf8("01234567\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82"),
            std::string_view::npos);
  EXPECT_EQ(find_invalid_utf8("0123456789\x80"), 10);
  EXPECT_EQ(find_invalid_utf8("\xc0\xaf"), 0);           // overlong '/'
  EXPECT_EQ(find_invalid_utf8("a\xe0\x80\xaf"), 1);      // overlong
  EXPECT_EQ(find_invalid_utf8("a\xed\xa0\x80"), 1);      // surrogate
  EXPECT_EQ(find_invalid_utf8("a\xf4\x90\x80\x80"), 1);  // above U+10FFFF
  EXPECT_EQ(find_invalid_utf8("abc\xe2\x82"), 3);        // cut
}

}  // namespace
}  // namespace ratchet::trainer
