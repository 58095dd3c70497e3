// Data files of any bytes: the row reader, the strict parser, every format's decoder and the
// structural pass. Nothing may crash, hang or disagree with itself.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/data/finding.h"
#include "trainer/data/formats.h"
#include "trainer/data/json_tree.h"
#include "trainer/data/layout_guess.h"
#include "trainer/data/structural_check.h"
#include "trainer/data/utf8.h"

namespace {

using ratchet::DataFormat;
using namespace ratchet::trainer;

void require(bool holds, const char* what) {
  if (holds) return;
  std::cerr << "broken promise: " << what << '\n';
  std::abort();
}

// What the strict parser takes, nlohmann's own parser takes with the same value, and it can be
// written and read again.
void parse_twice(std::string_view text) {
  JsonTree tree;
  if (!tree.parse(text)) {
    require(!tree.fault().message.empty(), "a fault has a message");
    return;
  }
  std::string written;
  tree.write(tree.root(), written);
  const auto first = nlohmann::json::parse(text.begin(), text.end(), nullptr, false);
  const auto second = nlohmann::json::parse(written, nullptr, false);
  require(!first.is_discarded() && first == second, "a parsed row is written as it was read");
}

void decode_all(std::string_view text) {
  JsonTree tree;
  if (!tree.parse(text)) return;
  for (const DataFormat format :
       {DataFormat::kChat, DataFormat::kShareGpt, DataFormat::kPromptCompletion, DataFormat::kText,
        DataFormat::kConversations}) {
    const RowDecoder decoder(format, {});
    FindingLog log;
    FindingLog log_again;
    std::vector<Row> rows;
    const auto outcome = decoder.decode(tree, {}, log, &rows);
    const auto checked = decoder.decode(tree, {}, log_again, nullptr);
    require(outcome.good == checked.good && outcome.samples == checked.samples,
            "checking and decoding judge alike");
    require(rows.size() == outcome.samples, "a good row yields its samples, a bad one none");
    require(outcome.good == (log.count(Severity::kCritical) == 0), "critical findings decide");
    for (const Row& row : rows) {
      if (row.kind != RowKind::kChat) continue;
      require(nlohmann::json::accept(row.messages_json), "messages are JSON");
      require(row.tools_json.empty() || nlohmann::json::accept(row.tools_json), "tools are JSON");
    }
    rows.clear();
    (void)decoder.decode(tree, {}, log, &rows, RowDecoder::Take::kWholeLists);
    for (const DataFinding& finding : log.sorted()) (void)finding_json(finding);
  }
}

void check_file(std::string_view text, const std::filesystem::path& path) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(text.data(), static_cast<std::streamsize>(text.size()));
  CheckOptions options;
  options.threads = 0;
  const auto report = check_structure(path, options);
  require(report.has_value(), "a file that can be read has a report");
  require(report->good_rows <= report->rows, "no more good rows than rows");
  const bool clean = report->findings.count(Severity::kCritical) == 0;
  require(!clean || report->good_rows == report->rows, "a clean file has good rows only");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static const std::filesystem::path folder = [] {
    std::string pattern = (std::filesystem::temp_directory_path() / "jsonl-fuzz-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) std::abort();
    return std::filesystem::path(pattern);
  }();
  parse_twice(text);
  decode_all(text);
  require(find_invalid_utf8(shorten_value(text)) == std::string_view::npos, "shown text is UTF-8");
  check_file(text, folder / "data.jsonl");
  check_file(text, folder / "data.json");
  return 0;
}
