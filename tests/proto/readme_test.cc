// proto/README.md says what the code does: every key, default and range of a JobSpec is compared.

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "proto/api_error.h"
#include "proto/cluster.h"
#include "proto/job_spec.h"
#include "proto/job_spec_ranges.h"
#include "proto/presets.h"
#include "proto/sync_message.h"
#include "tests/support/files.h"

namespace ratchet {
namespace {

using nlohmann::json;

struct Row {
  std::string type;
  std::string fallback;
  std::string range;
};

std::string strip(std::string text) {
  while (!text.empty() && text.front() == ' ') text.erase(0, 1);
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

std::vector<std::string> cells(const std::string& line) {
  std::vector<std::string> out;
  std::stringstream in(line);
  for (std::string cell; std::getline(in, cell, '|');) out.push_back(strip(cell));
  return out;
}

std::string readme() { return testing::read_file(RATCHET_SOURCE_DIR "/proto/README.md"); }

// Key without its backquotes -> row of the JobSpec table.
std::map<std::string, Row> table() {
  std::map<std::string, Row> rows;
  std::stringstream in(readme());
  bool inside = false;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("| key | type |")) inside = true;
    if (line.empty()) inside = false;
    const auto parts = cells(line);
    if (!inside || parts.size() < 5 || !parts[1].starts_with("`")) continue;
    rows[parts[1].substr(1, parts[1].size() - 2)] = {parts[2], parts[3], parts[4]};
  }
  return rows;
}

std::string number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.10g", value);
  return text.data();
}

void collect_keys(const json& value, const std::string& path, std::set<std::string>& out) {
  if (!value.is_object()) {
    out.insert(path);
    return;
  }
  for (const auto& [key, child] : value.items()) {
    collect_keys(child, path.empty() ? key : path + "." + key, out);
  }
}

TEST(Readme, ListsEveryKeyAndNoOther) {
  std::set<std::string> keys;
  collect_keys(json::parse(testing::read_file(RATCHET_SOURCE_DIR "/proto/examples/full.json")), "",
               keys);
  collect_keys(json::parse(testing::read_file(RATCHET_SOURCE_DIR
                                              "/tests/golden/proto/job_spec_minimal.json")),
               "", keys);
  keys.insert("data.validation");  // excluded by validation_share in the full example
  std::set<std::string> documented;
  for (const auto& [key, row] : table()) documented.insert(key);
  EXPECT_EQ(documented, keys);
}

TEST(Readme, RangesAreThoseOfTheCode) {
  const auto rows = table();
  for (const IntegerField& field : kIntegerFields) {
    const auto row = rows.find(std::string(field.path.substr(2)));
    ASSERT_NE(row, rows.end()) << field.path;
    EXPECT_EQ(row->second.range,
              std::to_string(field.range.min) + " to " + std::to_string(field.range.max))
        << field.path;
  }
  for (const NumberField& field : kNumberFields) {
    const auto row = rows.find(std::string(field.path.substr(2)));
    ASSERT_NE(row, rows.end()) << field.path;
    std::string expected = field.range.lower == Bound::kExclusive ? "above " : "";
    expected += number(field.range.min) + " to ";
    expected += field.range.upper == Bound::kExclusive ? "below " : "";
    EXPECT_EQ(row->second.range, expected + number(field.range.max)) << field.path;
  }
}

TEST(Readme, DefaultsAreThoseOfTheCode) {
  const json encoded = json::parse(
      testing::read_file(RATCHET_SOURCE_DIR "/tests/golden/proto/job_spec_minimal.json"));
  for (const auto& [key, row] : table()) {
    std::string pointer = "/" + key;
    for (char& c : pointer) c = c == '.' ? '/' : c;
    if (!encoded.contains(json::json_pointer(pointer))) continue;
    const json& value = encoded[json::json_pointer(pointer)];
    if (row.fallback == "required" || row.fallback == "empty" || row.fallback == "none") continue;
    if (row.fallback == "preset" || key == "lora.alpha" || key == "lora.target_modules") continue;
    if (value.is_string()) {
      const std::string text = value.get<std::string>();
      EXPECT_EQ(row.fallback, "`" + text.substr(0, text.find('@')) + "`") << key;
    } else {
      // "preset (0.05)" names the value in brackets.
      std::string text = row.fallback;
      if (text.starts_with("preset (")) text = text.substr(8, text.size() - 9);
      EXPECT_EQ(json::parse(text), value) << key;
    }
  }
}

TEST(Readme, PresetTableIsThatOfTheCode) {
  const std::string text = readme();
  for (const Preset& preset : presets()) {
    const std::string row =
        "| `" + std::string(preset.name) + "@" + std::to_string(preset.version) + "` | " +
        std::to_string(preset.rank) + " | " + std::to_string(preset.alpha) + " | " +
        number(preset.dropout) + " | " + number(preset.learning_rate) + " | " +
        std::to_string(preset.data_epochs) + " | " + std::to_string(preset.micro_batch) + " | " +
        std::to_string(preset.global_batch) + " | " +
        (preset.gradient_checkpointing ? "true" : "false") + " |";
    EXPECT_NE(text.find(row), std::string::npos) << row;
  }
}

// "| `Want` | `run`, `drain`, `stop` |"
template <class E>
void expect_axis(const std::string& text, const std::string& name) {
  std::string row = "\n| `" + name + "` | ";
  const auto words = word_table(E{});
  for (const auto& entry : words) {
    if (&entry != &words.front()) row += ", ";
    row += "`" + std::string(entry.word) + "`";
  }
  EXPECT_NE(text.find(row + " | "), std::string::npos) << row;
}

TEST(Readme, AxesAreThoseOfTheCode) {
  const std::string text = readme();
  expect_axis<JobPhase>(text, "JobPhase");
  expect_axis<JobState>(text, "JobState");
  expect_axis<AttemptState>(text, "AttemptState");
  expect_axis<EndCause>(text, "EndCause");
  expect_axis<Liveness>(text, "Liveness");
  expect_axis<Schedulable>(text, "Schedulable");
  expect_axis<ProviderState>(text, "ProviderState");
  expect_axis<IntentState>(text, "IntentState");
  expect_axis<CheckpointState>(text, "CheckpointState");
  expect_axis<PublishVerdict>(text, "PublishVerdict");
  expect_axis<DeliveryState>(text, "DeliveryState");
  expect_axis<NodePrice>(text, "NodePrice");
  expect_axis<Want>(text, "Want");
  expect_axis<NodeWant>(text, "NodeWant");
  expect_axis<NoticeKind>(text, "NoticeKind");
}

TEST(Readme, ErrorCodesAreThoseOfTheCode) {
  const std::string text = readme();
  for (const ApiErrorRow& error : api_error_table()) {
    const std::string row =
        "\n| `" + std::string(to_word(error.code)) + "` | " + std::to_string(error.http_status) +
        " | " + std::string(to_word(error.error_class)) + " | " + std::string(error.message) +
        " | " + std::string(error.next_step) + " |\n";
    EXPECT_NE(text.find(row), std::string::npos) << row;
  }
}

TEST(Readme, GlossaryHasEachWordOnce) {
  const std::string text = readme();
  const std::string glossary =
      text.substr(text.find("## Glossary"), text.find("## Messages") - text.find("## Glossary"));
  for (const char* word :
       {"job",         "attempt",    "run",         "node",        "agent",        "lease",
        "epoch",       "data_epoch", "step",        "micro-batch", "global batch", "checkpoint",
        "adapter",     "base model", "rank, alpha", "scaling",     "resume",       "continue",
        "incarnation", "phase",      "cause",       "head",        "artifact",     "intent",
        "notice",      "drain"}) {
    const std::string row = "\n| " + std::string(word) + " | ";
    const std::size_t first = glossary.find(row);
    EXPECT_NE(first, std::string::npos) << word;
    EXPECT_EQ(glossary.find(row, first + 1), std::string::npos) << word << " stands twice";
  }
}

}  // namespace
}  // namespace ratchet
