// The verdict of the structural pass on every malformed file of the shared inputs. The same table
// is in trainer/data/README.md; a test compares the two.

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "tests/data/data_testing.h"

namespace ratchet::trainer {
namespace {

using Codes = std::map<std::string, std::uint64_t>;

struct Verdict {
  std::string file;
  std::string format;
  std::uint64_t rows;
  std::vector<std::uint64_t> rejected;  // 0-based rows with a critical finding
  Codes codes;                          // beside few_rows, which every one of these files has
};

void PrintTo(const Verdict& verdict, std::ostream* out) { *out << verdict.file; }

const std::vector<Verdict>& verdicts() {
  static const std::vector<Verdict> kVerdicts = {
      {"01-utf8-bom.jsonl", "chat", 2, {}, {}},
      {"03-cp1252-byte.jsonl", "chat", 2, {1}, {{"invalid_utf8", 1}}},
      {"05-json-array-file.jsonl", "auto", 0, {}, {{"json_array_file", 1}}},
      {"07-bare-turn-list.jsonl", "auto", 1, {0}, {{"not_an_object", 1}}},
      {"09-python-dict.jsonl", "auto", 1, {0}, {{"malformed_json", 1}}},
      {"11-pretty-printed.jsonl",
       "auto",
       24,
       {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23},
       {{"malformed_json", 7}, {"trailing_content", 11}, {"unclosed_json", 6}}},
      {"13-blank-lines.jsonl", "chat", 2, {}, {}},
      {"15-no-final-newline.jsonl", "chat", 2, {}, {}},
      {"17-truncated-last-line.jsonl", "chat", 2, {1}, {{"unclosed_json", 1}}},
      {"19-whitespace-only.jsonl", "auto", 0, {}, {{"no_rows", 1}}},
      {"21-alpaca-missing-instruction.jsonl", "prompt_completion", 1, {0}, {{"missing_field", 1}}},
      {"23-empty-messages.jsonl",
       "chat",
       4,
       {0, 1, 2, 3},
       {{"empty_array", 1}, {"missing_field", 1}, {"wrong_type", 2}}},
      {"25-missing-role.jsonl", "chat", 1, {0}, {{"missing_field", 1}, {"assistant_first", 1}}},
      {"27-sharegpt-assistant-tag.jsonl", "sharegpt", 2, {}, {}},
      {"29-two-assistants.jsonl", "chat", 1, {}, {{"consecutive_assistants", 1}}},
      {"31-ends-with-user.jsonl", "chat", 1, {}, {{"ends_without_reply", 1}}},
      {"33-no-assistant.jsonl", "chat", 1, {0}, {{"no_assistant_turn", 1}}},
      {"35-null-content.jsonl", "chat", 2, {0, 1}, {{"missing_field", 2}}},
      {"37-non-string-content.jsonl", "chat", 1, {0}, {{"wrong_type", 2}}},
      {"39-image-part.jsonl", "chat", 1, {0}, {{"unsupported_part", 1}}},
      {"41-weights.jsonl", "chat", 5, {2, 3, 4}, {{"bad_weight", 3}, {"all_weights_zero", 1}}},
      {"43-tool-args-bad-json.jsonl",
       "chat",
       2,
       {0, 1},
       {{"bad_tool_call", 2}, {"tool_call_without_result", 1}}},
      {"45-tool-call-no-result.jsonl",
       "chat",
       2,
       {},
       {{"tool_call_without_result", 1}, {"tool_result_without_call", 1}}},
      {"47-mixed-formats.jsonl", "chat", 4, {1, 2, 3}, {{"other_format", 3}}},
      {"49-template-syntax-in-content.jsonl", "chat", 1, {}, {}},
      {"51-date-like-string.jsonl", "chat", 1, {}, {}},
      {"53-nan-infinity.jsonl", "auto", 1, {0}, {{"non_standard_number", 1}}},
      {"55-lone-surrogate.jsonl", "auto", 1, {0}, {{"lone_surrogate", 1}}},
      {"57-nul-and-controls.jsonl", "chat", 2, {1}, {{"control_character", 1}}},
      {"59-deep-nesting.jsonl", "auto", 1, {0}, {{"too_deep", 1}}},
      {"61-prompt-over-length.jsonl", "chat", 1, {}, {}},
      {"63-fewer-than-ten.jsonl", "chat", 1, {}, {}},
  };
  return kVerdicts;
}

std::vector<std::uint64_t> rejected_rows(const FindingLog& log) {
  std::vector<std::uint64_t> rows;
  for (const DataFinding& finding : log.sorted()) {
    if (finding.severity != Severity::kCritical || finding.about_file) continue;
    if (rows.empty() || rows.back() != finding.place.row) rows.push_back(finding.place.row);
  }
  return rows;
}

class Malformed : public ::testing::TestWithParam<Verdict> {};

TEST_P(Malformed, HasTheDocumentedVerdict) {
  RATCHET_NEEDS_SHARED_INPUTS();
  const Verdict& verdict = GetParam();
  CheckOptions options;
  options.keep_findings = 100;
  const CheckReport report =
      check_file(ratchet::testing::shared_inputs() / "datasets/malformed" / verdict.file, options);
  Codes codes = codes_of(report.findings);
  EXPECT_EQ(codes["few_rows"], verdict.rows > 0 && verdict.rows < kFewRows ? 1 : 0);
  codes.erase("few_rows");
  EXPECT_EQ(codes, verdict.codes);
  EXPECT_EQ(report.rows, verdict.rows);
  EXPECT_EQ(to_word(report.format), verdict.format);
  EXPECT_EQ(rejected_rows(report.findings), verdict.rejected);
  EXPECT_EQ(report.good_rows, verdict.rows - verdict.rejected.size());
  for (const DataFinding& finding : report.findings.sorted()) {
    EXPECT_FALSE(finding.message.empty());
    EXPECT_GE(finding.place.line, 1);
  }
}

std::string test_name(const ::testing::TestParamInfo<Verdict>& info) {
  std::string name = info.param.file.substr(0, info.param.file.find('.'));
  std::erase(name, '-');
  return "File" + name;
}

INSTANTIATE_TEST_SUITE_P(Shared, Malformed, ::testing::ValuesIn(verdicts()), test_name);

TEST(MalformedTable, NamesEveryFile) {
  RATCHET_NEEDS_SHARED_INPUTS();
  std::vector<std::string> there;
  for (const auto& entry : std::filesystem::directory_iterator(ratchet::testing::shared_inputs() /
                                                               "datasets/malformed")) {
    if (entry.path().extension() == ".jsonl") there.push_back(entry.path().filename().string());
  }
  std::vector<std::string> listed;
  for (const Verdict& verdict : verdicts()) listed.push_back(verdict.file);
  std::sort(there.begin(), there.end());
  std::sort(listed.begin(), listed.end());
  EXPECT_EQ(there, listed);
}

// The README gives each file a row that names it and every code of its verdict.
TEST(MalformedTable, IsInTheReadme) {
  const std::string readme =
      read_all(std::filesystem::path(RATCHET_SOURCE_DIR) / "trainer/data/README.md");
  for (const Verdict& verdict : verdicts()) {
    const std::string stem = verdict.file.substr(0, verdict.file.find(".jsonl"));
    const std::size_t row = readme.find("| " + stem + " |");
    ASSERT_NE(row, std::string::npos) << stem;
    const std::string line = readme.substr(row, readme.find('\n', row) - row);
    for (const auto& [code, count] : verdict.codes) {
      EXPECT_NE(line.find("`" + code + "`"), std::string::npos) << stem << ": " << code;
    }
    EXPECT_EQ(line.find("reject") != std::string::npos,
              !verdict.rejected.empty() || verdict.rows == 0)
        << stem;
  }
}

TEST(MalformedTable, LocationsAreExact) {
  RATCHET_NEEDS_SHARED_INPUTS();
  const auto folder = ratchet::testing::shared_inputs() / "datasets/malformed";
  const CheckReport cp1252 = check_file(folder / "03-cp1252-byte.jsonl");
  const DataFinding byte = first_finding(cp1252.findings, Rule::kInvalidUtf8);
  EXPECT_EQ(byte.place.row, 1);
  EXPECT_EQ(byte.place.line, 2);
  EXPECT_NE(byte.message.find("byte 42 of the row"), std::string::npos) << byte.message;
  EXPECT_NE(byte.message.find("\\x9d"), std::string::npos) << byte.message;

  const CheckReport roles = check_file(folder / "25-missing-role.jsonl");
  EXPECT_EQ(first_finding(roles.findings, Rule::kMissingField).field_path, "messages[0].role");

  const CheckReport alpaca = check_file(folder / "21-alpaca-missing-instruction.jsonl");
  EXPECT_EQ(first_finding(alpaca.findings, Rule::kMissingField).field_path, "instruction");

  const CheckReport tools = check_file(folder / "45-tool-call-no-result.jsonl");
  EXPECT_NE(first_finding(tools.findings, Rule::kToolCallWithoutResult).message.find("'c1'"),
            std::string::npos);
  EXPECT_NE(first_finding(tools.findings, Rule::kToolResultWithoutCall).message.find("'nope'"),
            std::string::npos);

  const CheckReport python = check_file(folder / "09-python-dict.jsonl");
  EXPECT_NE(first_finding(python.findings, Rule::kMalformedJson).message.find("column 2"),
            std::string::npos);
}

}  // namespace
}  // namespace ratchet::trainer
