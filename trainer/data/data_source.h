#pragma once

// A data file opened, its layout judged and its format known: the common start of the structural
// pass, the token pass and `render`.

#include <filesystem>

#include "proto/job_spec.h"
#include "proto/result.h"
#include "trainer/data/finding.h"
#include "trainer/data/formats.h"
#include "trainer/data/json_tree.h"
#include "trainer/data/row_reader.h"

namespace ratchet::trainer {

struct DataSource {
  RowReader reader;
  DataFormat format = DataFormat::kAuto;  // kAuto: none was declared and none recognised
  bool readable = true;  // false: the file as a whole is refused, the reason is in the log
};

// Errors: the file cannot be opened or read. A file that is UTF-16, or a JSON array that does not
// call itself .json, is a finding.
Result<DataSource> open_data(const std::filesystem::path& path, DataFormat declared,
                             const DataColumns& columns, FindingLog& log);

// Parses one raw row. False after reporting why not.
bool parse_row(const RowBlock& block, const RawRow& raw, RowPlace place, JsonTree& tree,
               FindingLog& log);

// Findings about the file as a whole, to be called after the last row.
void report_layout_faults(const RowReader& reader, FindingLog& log);
void report_row_count(std::uint64_t rows, FindingLog& log);

}  // namespace ratchet::trainer
