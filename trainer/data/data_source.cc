#include "trainer/data/data_source.h"

#include <algorithm>
#include <cctype>
#include <string>

#include "trainer/data/structural_check.h"
#include "trainer/model/file_io.h"

namespace ratchet::trainer {
namespace {

void report_file(FindingLog& log, Rule rule, std::uint64_t line, std::string message) {
  DataFinding* finding = log.add(rule);
  if (finding == nullptr) return;
  finding->about_file = true;
  finding->place.line = line;
  finding->message = std::move(message);
}

bool ends_in_json(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension == ".json";
}

// For files whose first row is longer than the head: looks at the rows of the first blocks.
Result<DataFormat> detect_in_rows(const std::filesystem::path& path, const DataColumns& columns) {
  constexpr int kRowsLookedAt = 100;
  auto reader = RowReader::open(path);
  if (!reader) return reader.error();
  RowBlock block;
  JsonTree tree;
  int looked_at = 0;
  for (;;) {
    const auto more = reader->next(block);
    if (!more) return more.error();
    if (!*more) return DataFormat::kAuto;
    for (const RawRow& raw : block.rows) {
      if (++looked_at > kRowsLookedAt) return DataFormat::kAuto;
      if (raw.oversized || !tree.parse(block.text(raw))) continue;
      const DataFormat format = recognise_format(tree, columns);
      if (format != DataFormat::kAuto) return format;
    }
  }
}

}  // namespace

Result<DataSource> open_data(const std::filesystem::path& path, DataFormat declared,
                             const DataColumns& columns, FindingLog& log) {
  auto reader = RowReader::open(path);
  if (!reader) return reader.error();
  DataSource source{*std::move(reader), declared, true};
  const LayoutGuess& layout = source.reader.layout();
  if (layout.utf16) {
    source.readable = false;
    report_file(log, Rule::kUtf16File, 1, "The file is UTF-16 text, not UTF-8.");
  } else if (layout.layout == DataLayout::kJsonArray && !ends_in_json(path)) {
    source.readable = false;
    report_file(log, Rule::kJsonArrayFile, 1,
                "The file is one JSON array, but its name does not end in .json.");
  } else if (declared == DataFormat::kAuto) {
    source.format = detect_format(source.reader.head(), layout.layout, columns);
    if (source.format == DataFormat::kAuto) {
      const auto found = detect_in_rows(path, columns);
      if (!found) return found.error();
      source.format = *found;
    }
  }
  return source;
}

bool parse_row(const RowBlock& block, const RawRow& raw, RowPlace place, JsonTree& tree,
               FindingLog& log) {
  if (raw.oversized) {
    if (DataFinding* finding = log.add(Rule::kRowTooLong)) {
      finding->place = place;
      finding->message = cat("The row is longer than ", kRowBytesMax, " bytes.");
    }
    return false;
  }
  const std::string_view text = block.text(raw);
  if (tree.parse(text)) return true;
  const JsonFault& fault = tree.fault();
  if (DataFinding* finding = log.add(fault.rule)) {
    constexpr std::size_t kShownBefore = 40;
    finding->place = place;
    finding->message = fault.message;
    const std::size_t from = fault.offset > kShownBefore ? fault.offset - kShownBefore : 0;
    finding->current = shorten_value(text.substr(std::min(from, text.size())));
  }
  return false;
}

void report_layout_faults(const RowReader& reader, FindingLog& log) {
  for (const LayoutFault& fault : reader.faults()) {
    report_file(log, Rule::kBrokenDocument, fault.line,
                cat(fault.message, " (byte ", fault.file_offset, " of the file)"));
  }
}

void report_row_count(std::uint64_t rows, FindingLog& log) {
  if (rows == 0) {
    report_file(log, Rule::kNoRows, 1, "The file holds no rows.");
  } else if (rows < kFewRows) {
    report_file(log, Rule::kFewRows, 1, cat("The file holds ", rows, " rows."));
  }
}

}  // namespace ratchet::trainer
