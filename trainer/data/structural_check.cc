#include "trainer/data/structural_check.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "trainer/data/data_source.h"
#include "trainer/data/id_table.h"
#include "trainer/data/json_tree.h"
#include "trainer/data/ordered_pipeline.h"
#include "trainer/model/digest.h"
#include "trainer/model/file_io.h"

namespace ratchet::trainer {
namespace {

struct SeenId {
  std::uint64_t hash = 0;
  RowPlace place;
  std::uint64_t begin = 0, end = 0;  // its text in BlockCheck::id_texts
};

// What one worker found in one block.
struct BlockCheck {
  FindingLog log;
  std::uint64_t good_rows = 0;
  std::uint64_t samples = 0;
  std::string id_texts;
  std::vector<SeenId> ids;
};

BlockCheck check_block(const RowBlock& block, const RowDecoder& decoder, std::size_t keep) {
  BlockCheck check{FindingLog(keep), 0, 0, {}, {}};
  JsonTree tree;
  std::uint64_t row = block.first_row;
  for (const RawRow& raw : block.rows) {
    const RowPlace place{row++, raw.line};
    if (!parse_row(block, raw, place, tree, check.log)) continue;
    const RowDecoder::Outcome outcome = decoder.decode(tree, place, check.log, nullptr);
    if (outcome.good) {
      ++check.good_rows;
      check.samples += outcome.samples;
    }
    if (outcome.id.empty()) continue;
    const std::uint64_t begin = check.id_texts.size();
    check.id_texts += outcome.id;
    check.ids.push_back(
        {xxh3_64(std::as_bytes(std::span(outcome.id))), place, begin, check.id_texts.size()});
  }
  return check;
}

// Compares the ids of all rows, in row order.
class IdCheck {
 public:
  explicit IdCheck(DataFormat format)
      : severity_(format == DataFormat::kConversations ? Severity::kCritical : Severity::kWarning) {
  }

  void add(const BlockCheck& check, FindingLog& log) {
    for (const SeenId& seen : check.ids) {
      const auto first = table_.insert(seen.hash, seen.place.row);
      if (!first) continue;
      DataFinding* finding = log.add(Rule::kDuplicateId, severity_);
      if (finding == nullptr) continue;
      finding->place = seen.place;
      finding->id = check.id_texts.substr(seen.begin, seen.end - seen.begin);
      finding->message =
          cat("The id '", shorten_value(finding->id), "' was used before, by row ", *first, ".");
      finding->current = shorten_value(finding->id);
    }
  }

  void finish(FindingLog& log) const {
    if (table_.untracked() == 0) return;
    DataFinding* finding = log.add(Rule::kIdsNotTracked);
    if (finding == nullptr) return;
    finding->about_file = true;
    finding->place.line = 1;
    finding->message = cat(table_.untracked(), " ids were not compared with later ones.");
  }

 private:
  Severity severity_;
  IdTable table_{kTrackedIdsMax};
};

}  // namespace

Result<CheckReport> check_structure(const std::filesystem::path& path,
                                    const CheckOptions& options) {
  CheckReport report;
  report.findings = FindingLog(options.keep_findings);
  auto source = open_data(path, options.format, options.columns, report.findings);
  if (!source) return source.error();
  RowReader& reader = source->reader;
  report.format = source->format;
  report.layout = reader.layout().layout;
  report.file_bytes = reader.file_bytes();
  if (!source->readable) return report;

  const RowDecoder decoder(source->format, options.columns);
  IdCheck ids(source->format);
  std::uint64_t done = 0;
  const Status status = OrderedPipeline<RowBlock, BlockCheck>::run(
      options.threads, [&](RowBlock& block) { return reader.next(block); },
      [&](const RowBlock& block) { return check_block(block, decoder, options.keep_findings); },
      [&](const RowBlock& block, BlockCheck&& check) {
        report.rows += block.rows.size();
        report.good_rows += check.good_rows;
        report.samples += check.samples;
        ids.add(check, report.findings);
        report.findings.merge(std::move(check.log));
        done += block.bytes.size();
        if (options.progress)
          options.progress(std::min(done, report.file_bytes), report.file_bytes);
        return true;
      });
  if (!status) return status.error();
  ids.finish(report.findings);
  report_layout_faults(reader, report.findings);
  report_row_count(report.rows, report.findings);
  return report;
}

Error data_error(const std::filesystem::path& path, const FindingLog& findings) {
  constexpr std::size_t kShown = 3;
  std::string message = cat("The data file '", path.string(), "' has ",
                            findings.count(Severity::kCritical), " critical findings:");
  std::size_t shown = 0;
  for (const DataFinding& finding : findings.sorted()) {
    if (finding.severity != Severity::kCritical || shown++ >= kShown) continue;
    message += cat("\n  line ", finding.place.line, ": ");
    if (!finding.field_path.empty()) message += cat(finding.field_path, ": ");
    message += cat(finding.message, ' ', finding.info().fix);
  }
  message += "\nSee them all with: ratchet-trainer check --data FILE";
  return Error{Code::kInvalidArgument, std::move(message)};
}

}  // namespace ratchet::trainer
