#pragma once

// Helpers of the data tests: files, short ways to run a check and to read its result.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/files.h"
#include "tests/support/shared_inputs.h"
#include "trainer/data/structural_check.h"

namespace ratchet::trainer {

// Writes `text` into a file of `folder`.
inline std::filesystem::path write_into(const ratchet::testing::TempFolder& folder,
                                        const std::string& name, std::string_view text) {
  const std::filesystem::path file = folder.path() / name;
  std::ofstream(file, std::ios::binary)
      .write(text.data(), static_cast<std::streamsize>(text.size()));
  return file;
}

inline std::string read_all(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

// Counts of each code in a report.
inline std::map<std::string, std::uint64_t> codes_of(const FindingLog& log) {
  std::map<std::string, std::uint64_t> codes;
  for (std::size_t i = 0; i < kRuleCount; ++i) {
    const auto rule = static_cast<Rule>(i);
    if (log.count(rule) > 0) codes[std::string(rule_info(rule).code)] = log.count(rule);
  }
  return codes;
}

inline CheckReport check_file(const std::filesystem::path& path, const CheckOptions& options = {}) {
  auto report = check_structure(path, options);
  EXPECT_TRUE(report) << report.error().message;
  return report ? *std::move(report) : CheckReport{};
}

inline CheckReport check_text(std::string_view text, const std::string& name = "data.jsonl",
                              const CheckOptions& options = {}) {
  const ratchet::testing::TempFolder folder;
  return check_file(write_into(folder, name, text), options);
}

// The first finding of a rule, failing when there is none.
inline DataFinding first_finding(const FindingLog& log, Rule rule) {
  for (DataFinding& finding : log.sorted()) {
    if (finding.rule == rule) return finding;
  }
  ADD_FAILURE() << "no finding " << rule_info(rule).code;
  return {};
}

}  // namespace ratchet::trainer
