#include "trainer/data/structural_check.h"

#include <algorithm>
#include <string>
#include <vector>

#include "tests/data/data_testing.h"

namespace ratchet::trainer {
namespace {

using Codes = std::map<std::string, std::uint64_t>;

std::string chat(const std::string& user, const std::string& assistant,
                 const std::string& extra = "") {
  return R"({"messages":[{"role":"user","content":")" + user +
         R"("},{"role":"assistant","content":")" + assistant + "\"}]" + extra + "}\n";
}

Codes codes_without_size(const CheckReport& report) {
  Codes codes = codes_of(report.findings);
  codes.erase("few_rows");
  return codes;
}

TEST(StructuralCheck, SharedSetsAreClean) {
  RATCHET_NEEDS_SHARED_INPUTS();
  struct Expected {
    std::string file;
    DataFormat format;
    std::uint64_t rows;
  };
  const std::vector<Expected> sets = {
      {"openai-toy/toy_chat_fine_tuning.5rows.jsonl", DataFormat::kChat, 5},
      {"openai-toy/toy_chat_fine_tuning.10rows.jsonl", DataFormat::kChat, 10},
      {"gsm8k/train.jsonl", DataFormat::kPromptCompletion, 7473},
      {"gsm8k/test.jsonl", DataFormat::kPromptCompletion, 1319},
      {"gsm8k/chat_small_200.jsonl", DataFormat::kChat, 200},
      {"taskmaster4/chat_train.jsonl", DataFormat::kChat, 3510},
      {"taskmaster4/chat_val.jsonl", DataFormat::kChat, 200},
      {"taskmaster4/chat_small.jsonl", DataFormat::kChat, 200},
  };
  for (const Expected& set : sets) {
    const CheckReport report =
        check_file(ratchet::testing::shared_inputs() / "datasets" / set.file);
    EXPECT_TRUE(report.passed()) << set.file;
    EXPECT_EQ(report.format, set.format) << set.file;
    EXPECT_EQ(report.rows, set.rows) << set.file;
    EXPECT_EQ(report.good_rows, set.rows) << set.file;
    EXPECT_EQ(report.samples, set.rows) << set.file;
  }
}

TEST(StructuralCheck, NamedColumnsAreUsed) {
  CheckOptions options;
  options.columns = {"question", "answer"};
  options.format = DataFormat::kPromptCompletion;
  const std::string rows = "{\"question\":\"q\",\"answer\":\"a\"}\n";
  EXPECT_TRUE(check_text(rows, "d.jsonl", options).passed());
  options.columns = {"q", "a"};
  const CheckReport wrong = check_text(rows, "d.jsonl", options);
  EXPECT_FALSE(wrong.passed());
  EXPECT_EQ(wrong.good_rows, 0);
}

// The report does not depend on the number of threads.
TEST(StructuralCheck, ThreadsDoNotChangeTheReport) {
  std::string text;
  for (int i = 0; i < 30'000; ++i) {
    const std::string id = ",\"id\":\"" + std::to_string(i % 29'000) + "\"";
    text += i % 1000 == 7 ? "{\"messages\": [}\n" : chat("question " + std::to_string(i), "a", id);
  }
  const ratchet::testing::TempFolder folder;
  const auto path = write_into(folder, "data.jsonl", text);
  std::vector<std::vector<std::string>> findings;
  for (const unsigned threads : {0U, 1U, 4U}) {
    CheckOptions options;
    options.threads = threads;
    const CheckReport report = check_file(path, options);
    EXPECT_EQ(report.rows, 30'000);
    EXPECT_EQ(report.findings.count(Rule::kMalformedJson), 30);
    EXPECT_EQ(report.findings.count(Rule::kDuplicateId), 999);
    findings.emplace_back();
    for (const DataFinding& finding : report.findings.sorted()) {
      findings.back().push_back(finding_json(finding));
    }
  }
  EXPECT_EQ(findings[0].size(), 20);
  EXPECT_EQ(findings[0], findings[1]);
  EXPECT_EQ(findings[0], findings[2]);
}

TEST(StructuralCheck, ReportsProgressToTheEnd) {
  const ratchet::testing::TempFolder folder;
  std::string text;
  while (text.size() < 3 * kBlockBytes) text += chat(std::string(1000, 'x'), "y");
  std::vector<std::uint64_t> seen;
  CheckOptions options;
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_EQ(total, text.size());
    seen.push_back(done);
  };
  EXPECT_TRUE(check_file(write_into(folder, "d.jsonl", text), options).passed());
  ASSERT_FALSE(seen.empty());
  EXPECT_EQ(seen.back(), text.size());
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST(StructuralCheck, FileFaults) {
  EXPECT_EQ(codes_of(check_text("").findings), (Codes{{"no_rows", 1}}));
  EXPECT_EQ(codes_of(check_text("[\n" + chat("a", "b") + "]").findings),
            (Codes{{"json_array_file", 1}}));
  const CheckReport array = check_text("[" + chat("a", "b") + "," + chat("c", "d") + "]", "d.json");
  EXPECT_TRUE(array.passed());
  EXPECT_EQ(array.good_rows, 2);
  std::string utf16 = "\xff\xfe";
  for (const char c : chat("a", "b")) utf16 += {c, '\0'};
  EXPECT_EQ(codes_of(check_text(utf16).findings), (Codes{{"utf16_file", 1}}));
  const CheckReport cut = check_text("[\n" + chat("a", "b") + ",{\"messages\": [", "d.json");
  EXPECT_EQ(codes_without_size(cut), (Codes{{"broken_document", 1}}));
  EXPECT_FALSE(check_structure("/nonexistent", {}));
}

TEST(StructuralCheck, LineFaults) {
  const std::string good = chat("a", "b");
  const auto codes = [&](const std::string& line) {
    return codes_without_size(check_text(good + line + good));
  };
  EXPECT_EQ(codes("\xef\xbb\xbf" + good), (Codes{{"unexpected_bom", 1}}));
  EXPECT_EQ(codes("{} {}\n"), (Codes{{"trailing_content", 1}}));
  EXPECT_EQ(codes("{\"messages\":[],}\n"), (Codes{{"malformed_json", 1}}));
  EXPECT_EQ(codes("{\"id\":1,\"id\":2}\n"), (Codes{{"duplicate_key", 1}}));
  EXPECT_EQ(codes("[{}]\n"), (Codes{{"not_an_object", 1}}));
  EXPECT_EQ(codes("{\"other\":1}\n"), (Codes{{"missing_field", 1}}));
  EXPECT_EQ(codes("{\"prompt\":\"p\",\"completion\":\"c\"}\n"), (Codes{{"other_format", 1}}));
  EXPECT_EQ(codes(std::string("{\"a\":1}\0{}\n", 11)), (Codes{{"nul_byte", 1}}));
}

TEST(StructuralCheck, UnknownFormatNamesTheKeys) {
  const CheckReport report = check_text("{\"foo\":1,\"bar\":2}\n");
  const DataFinding finding = first_finding(report.findings, Rule::kUnknownFormat);
  EXPECT_NE(finding.message.find("foo, bar"), std::string::npos);
}

TEST(StructuralCheck, FindsTheFormatBehindALongFirstRow) {
  const CheckReport report = check_text(chat(std::string(2'000'000, 'x'), "y") + chat("a", "b"));
  EXPECT_EQ(report.format, DataFormat::kChat);
  EXPECT_EQ(report.good_rows, 2);
}

TEST(StructuralCheck, DuplicateIdsNameTheFirstRow) {
  const CheckReport report =
      check_text(chat("a", "b", ",\"id\":\"x\"") + chat("c", "d", ",\"id\":\"y\"") +
                 chat("e", "f", ",\"id\":\"x\""));
  const DataFinding finding = first_finding(report.findings, Rule::kDuplicateId);
  EXPECT_EQ(finding.severity, Severity::kWarning);
  EXPECT_EQ(finding.place.row, 2);
  EXPECT_EQ(finding.id, "x");
  EXPECT_NE(finding.message.find("row 0"), std::string::npos);
}

TEST(StructuralCheck, TenRowsAreEnough) {
  std::string text;
  for (int i = 0; i < 9; ++i) text += chat("q" + std::to_string(i), "a");
  EXPECT_EQ(codes_of(check_text(text).findings), (Codes{{"few_rows", 1}}));
  EXPECT_TRUE(codes_of(check_text(text + chat("q", "a")).findings).empty());
}

}  // namespace
}  // namespace ratchet::trainer
