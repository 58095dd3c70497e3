#include "trainer/data/render_rows.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "trainer/data/data_source.h"
#include "trainer/data/structural_check.h"
#include "trainer/model/file_io.h"

namespace ratchet::trainer {
namespace {

// The critical findings of one row as sentences.
std::string critical_messages(const FindingLog& log) {
  std::string text;
  for (const DataFinding& finding : log.sorted()) {
    if (finding.severity != Severity::kCritical) continue;
    if (!text.empty()) text += ' ';
    if (!finding.field_path.empty()) text += cat(finding.field_path, ": ");
    text += finding.message;
  }
  return text;
}

class RowRenderer {
 public:
  RowRenderer(const SampleEncoder& encoder, const RowDecoder& decoder,
              const RenderRowsOptions& options, const std::function<bool(const RenderedRow&)>& show)
      : encoder_(encoder), decoder_(decoder), options_(options), show_(show) {}

  // False when `show` wants no more.
  bool render(const RowBlock& block, const RawRow& raw, RowPlace place) {
    FindingLog log;
    rows_.clear();
    if (parse_row(block, raw, place, tree_, log)) {
      (void)decoder_.decode(tree_, place, log, &rows_, RowDecoder::Take::kWholeLists);
    }
    if (rows_.empty()) {
      RenderedRow rendered;
      rendered.row = place.row;
      rendered.line = place.line;
      rendered.error = critical_messages(log);
      if (rendered.error.empty()) rendered.error = "The row yields nothing to train on.";
      return show_(rendered);
    }
    return std::all_of(rows_.begin(), rows_.end(), [&](const Row& row) { return show_one(row); });
  }

 private:
  bool show_one(const Row& row) const {
    RenderedRow rendered;
    rendered.row = row.place.row;
    rendered.line = row.place.line;
    rendered.part = row.part;
    auto view = encoder_.view(row, options_.add_generation_prompt);
    if (view) {
      rendered.sample = std::move(view->sample);
      rendered.error = std::move(view->fault);
    } else {
      rendered.error = view.error().message;
    }
    return show_(rendered);
  }

  const SampleEncoder& encoder_;
  const RowDecoder& decoder_;
  const RenderRowsOptions& options_;
  const std::function<bool(const RenderedRow&)>& show_;
  JsonTree tree_;
  std::vector<Row> rows_;
};

}  // namespace

Status render_rows(const std::filesystem::path& path, const SampleEncoder& encoder,
                   const RenderRowsOptions& options,
                   const std::function<bool(const RenderedRow&)>& show) {
  FindingLog file_log;
  auto source = open_data(path, options.format, options.columns, file_log);
  if (!source) return source.error();
  if (!source->readable) return data_error(path, file_log);
  const RowDecoder decoder(source->format, options.columns);
  RowRenderer renderer(encoder, decoder, options, show);
  RowBlock block;
  std::uint64_t rows = 0;
  for (;;) {
    const auto more = source->reader.next(block);
    if (!more) return more.error();
    if (!*more) break;
    for (const RawRow& raw : block.rows) {
      const RowPlace place{rows++, raw.line};
      if (options.only_row && place.row != *options.only_row) continue;
      if (!renderer.render(block, raw, place) || options.only_row) return ok();
    }
  }
  if (!options.only_row) return ok();
  return Error{Code::kInvalidArgument,
               cat("'", path.string(), "' has ", rows, " rows, counted from 0; there is no row ",
                   *options.only_row, ".")};
}

std::string rendered_json(const RenderedRow& row) {
  nlohmann::ordered_json json;
  json["row"] = row.row;
  json["line"] = row.line;
  json["part"] = row.part;
  if (!row.sample.ids.empty() || row.error.empty()) {
    json["text"] = row.sample.text;
    json["ids"] = row.sample.ids;
  }
  if (row.error.empty()) {
    json["train"] = row.sample.train;
  } else {
    json["error"] = row.error;
  }
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace ratchet::trainer
