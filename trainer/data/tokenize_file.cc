// The token pass: a data file through the encoder into a TokenizedDataset.

#include <algorithm>
#include <span>
#include <utility>

#include "trainer/data/data_source.h"
#include "trainer/data/id_table.h"
#include "trainer/data/json_tree.h"
#include "trainer/data/ordered_pipeline.h"
#include "trainer/data/structural_check.h"
#include "trainer/data/tokenized_dataset.h"
#include "trainer/model/digest.h"
#include "trainer/model/file_io.h"

namespace ratchet::trainer {
namespace {

struct BlockSample {
  EncodedSample sample;
  SampleOrigin origin;
  std::string id;
  std::uint64_t hash = 0;  // of ids and mask
};

// What one worker made of one block.
struct BlockTokens {
  FindingLog log;
  std::vector<BlockSample> samples;
  TokenizeCounts counts;  // all but samples, tokens, trained_tokens and duplicates
};

class BlockTokenizer {
 public:
  BlockTokenizer(const SampleEncoder& encoder, const RowDecoder& decoder,
                 const TokenizeOptions& options)
      : encoder_(encoder), decoder_(decoder), options_(options) {}

  BlockTokens run(const RowBlock& block) const {
    BlockTokens out;
    out.log = FindingLog(options_.keep_findings);
    JsonTree tree;
    std::vector<Row> rows;
    std::uint64_t number = block.first_row;
    for (const RawRow& raw : block.rows) {
      const RowPlace place{number++, raw.line};
      rows.clear();
      const bool good = parse_row(block, raw, place, tree, out.log) &&
                        decoder_.decode(tree, place, out.log, &rows).good;
      if (!good) ++out.counts.rejected_rows;
      for (const Row& row : rows) take(row, out);
    }
    out.counts.rows = block.rows.size();
    return out;
  }

 private:
  static void report(BlockTokens& out, const Row& row, Rule rule, std::string message,
                     std::string current = {}) {
    DataFinding* finding = out.log.add(rule);
    if (finding == nullptr) return;
    finding->place = row.place;
    finding->id = row.id;
    if (row.part > 0) finding->field_path = cat("training_pairs[", row.part, "]");
    finding->message = std::move(message);
    finding->current = std::move(current);
  }

  void take(const Row& row, BlockTokens& out) const {
    auto encoded = encoder_.encode(row);
    if (!encoded) {
      ++out.counts.failed;
      report(out, row, Rule::kRenderFailed, encoded.error().message);
      return;
    }
    for (RowDoubt& doubt : encoder_.doubts(row)) {
      report(out, row, doubt.rule, std::move(doubt.message), std::move(doubt.current));
    }
    BlockSample sample{*std::move(encoded), {row.place.row, row.place.line, row.part}, row.id, 0};
    sample.sample.text = {};  // not needed any more
    const bool too_long = sample.sample.ids.size() > options_.sequence_length;
    if (fit(row, sample.sample, out) && trainable(row, sample.sample, out)) {
      if (too_long) ++out.counts.truncated;
      sample.hash = content_hash(sample.sample);
      out.samples.push_back(std::move(sample));
    }
  }

  // Applies over_long; false when the sample is out.
  bool fit(const Row& row, EncodedSample& sample, BlockTokens& out) const {
    out.counts.longest = std::max<std::uint64_t>(out.counts.longest, sample.ids.size());
    if (sample.ids.size() <= options_.sequence_length) return true;
    ++out.counts.over_long;
    const std::string length = cat("The row has ", sample.ids.size(), " tokens, more than the ",
                                   options_.sequence_length, " of sequence_length");
    switch (options_.over_long) {
      case OverLong::kError:
        report(out, row, Rule::kTokenLengthExceeded, length + ".");
        return false;
      case OverLong::kDrop:
        ++out.counts.dropped;
        report(out, row, Rule::kDroppedOverLong, length + "; it was left out.");
        return false;
      case OverLong::kTruncate:
        break;
    }
    sample.ids.resize(options_.sequence_length);
    sample.train.resize(options_.sequence_length);
    report(out, row, Rule::kTruncated, length + "; its end was cut off.");
    return true;
  }

  static bool trainable(const Row& row, const EncodedSample& sample, BlockTokens& out) {
    const bool any = std::find(sample.train.begin(), sample.train.end(), 1) != sample.train.end();
    if (any) return true;
    ++out.counts.untrainable;
    report(
        out, row, Rule::kNoTrainableToken,
        cat("None of the ", sample.ids.size(), " tokens of the row is trained; it was left out."));
    return false;
  }

  static std::uint64_t content_hash(const EncodedSample& sample) {
    const std::uint64_t ids = xxh3_64(std::as_bytes(std::span(sample.ids)));
    const std::uint64_t train = xxh3_64(std::as_bytes(std::span(sample.train)));
    const std::uint64_t both[] = {ids, train};
    return xxh3_64(std::as_bytes(std::span(both)));
  }

  const SampleEncoder& encoder_;
  const RowDecoder& decoder_;
  const TokenizeOptions& options_;
};

// Takes the blocks in order: appends samples, finds duplicates, adds up.
class Collector {
 public:
  explicit Collector(TokenizeReport& report) : report_(report) {}

  void take(BlockTokens&& block) {
    TokenizeCounts& counts = report_.counts;
    counts.rows += block.counts.rows;
    counts.rejected_rows += block.counts.rejected_rows;
    counts.failed += block.counts.failed;
    counts.over_long += block.counts.over_long;
    counts.dropped += block.counts.dropped;
    counts.truncated += block.counts.truncated;
    counts.untrainable += block.counts.untrainable;
    counts.longest = std::max(counts.longest, block.counts.longest);
    for (const BlockSample& sample : block.samples) take_sample(sample);
    report_.findings.merge(std::move(block.log));
  }

  void finish() {
    TokenizeCounts& counts = report_.counts;
    counts.samples = report_.dataset.samples();
    counts.tokens = report_.dataset.tokens();
    counts.trained_tokens = report_.dataset.trained_tokens();
  }

 private:
  void take_sample(const BlockSample& sample) {
    const auto first = seen_.insert(sample.hash, sample.origin.row);
    if (first) {
      ++report_.counts.duplicates;
      if (DataFinding* finding = report_.findings.add(Rule::kDuplicateRow)) {
        finding->place = {sample.origin.row, sample.origin.line};
        finding->id = sample.id;
        finding->message = cat("The row has the same tokens as row ", *first, ".");
      }
    }
    report_.dataset.append(sample.sample, sample.origin);
  }

  TokenizeReport& report_;
  IdTable seen_{kTrackedIdsMax};
};

std::string settings_line(const TokenizeOptions& options, DataFormat format) {
  std::string columns;
  append_json_string(options.columns.prompt, columns);
  columns += ',';
  append_json_string(options.columns.completion, columns);
  return cat("format=", to_word(format), " columns=", columns,
             " sequence_length=", options.sequence_length,
             " over_long=", to_word(options.over_long));
}

Result<DataIdentity> identify(const std::filesystem::path& path, const Tokenizer& tokenizer,
                              const ChatTemplate* chat_template, std::string settings) {
  const auto file = digest_file(path);
  if (!file) return file.error();
  DataIdentity identity;
  identity.file = file->sha256;
  identity.tokenizer = tokenizer.digest();
  if (chat_template != nullptr) identity.chat_template = chat_template->digest();
  identity.settings = std::move(settings);
  const Sha256Digest digest =
      sha256(cat("ratchet data 1\n", identity.file, '\n', identity.tokenizer, '\n',
                 identity.chat_template, '\n', identity.settings, '\n'));
  identity.digest = to_hex(digest);
  return identity;
}

}  // namespace

Result<TokenizeReport> tokenize_file(const std::filesystem::path& path, const Tokenizer& tokenizer,
                                     const ChatTemplate* chat_template,
                                     const TokenizeOptions& options) {
  TokenizeReport report;
  report.findings = FindingLog(options.keep_findings);
  auto source = open_data(path, options.format, options.columns, report.findings);
  if (!source) return source.error();
  report.format = source->format;
  auto identity = identify(path, tokenizer, chat_template, settings_line(options, source->format));
  if (!identity) return identity.error();
  report.identity = *std::move(identity);
  if (!source->readable) return report;

  RowReader& reader = source->reader;
  const SampleEncoder encoder(tokenizer, chat_template);
  const RowDecoder decoder(source->format, options.columns);
  const BlockTokenizer tokenize(encoder, decoder, options);
  Collector collector(report);
  std::uint64_t done = 0;
  const Status status = OrderedPipeline<RowBlock, BlockTokens>::run(
      options.threads, [&](RowBlock& block) { return reader.next(block); },
      [&](const RowBlock& block) { return tokenize.run(block); },
      [&](const RowBlock& block, BlockTokens&& tokens) {
        collector.take(std::move(tokens));
        done += block.bytes.size();
        if (options.progress) {
          options.progress(std::min(done, reader.file_bytes()), reader.file_bytes());
        }
        return true;
      });
  if (!status) return status.error();
  collector.finish();
  report_layout_faults(reader, report.findings);
  report_row_count(report.counts.rows, report.findings);
  return report;
}

}  // namespace ratchet::trainer
