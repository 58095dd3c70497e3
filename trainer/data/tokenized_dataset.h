#pragma once

// A data file as token ids in memory: flat ids, one mask bit a token, sample boundaries. Built with
// several threads; the result does not depend on their number.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "proto/job_spec.h"
#include "proto/result.h"
#include "trainer/data/finding.h"
#include "trainer/data/sample_encoder.h"

namespace ratchet::trainer {

// What makes two data sets the same; `digest` covers the rest. All hex SHA-256.
struct DataIdentity {
  std::string file;           // bytes of the data file
  std::string tokenizer;      // Tokenizer::digest()
  std::string chat_template;  // of the template's text; "" when none is used
  std::string settings;  // format, columns, sequence_length, over_long as one line (not hashed)
  std::string digest;    // over the four above
};

struct SampleOrigin {
  std::uint64_t row = 0;   // 0-based row of the file
  std::uint64_t line = 0;  // physical line
  std::uint32_t part = 0;  // training pair inside the row
};

// Immutable once built; const methods are thread-safe.
class TokenizedDataset {
 public:
  [[nodiscard]] std::uint64_t samples() const { return lengths_.size(); }
  [[nodiscard]] std::uint64_t tokens() const { return ids_.size(); }
  [[nodiscard]] std::uint64_t trained_tokens() const { return trained_; }
  [[nodiscard]] std::span<const std::uint32_t> lengths() const { return lengths_; }
  [[nodiscard]] std::span<const std::int32_t> ids(std::uint64_t sample) const;
  // Whether token `index` of the sample is trained, that is: is a target. False for index 0.
  [[nodiscard]] bool trained(std::uint64_t sample, std::uint32_t index) const;
  [[nodiscard]] std::uint64_t trained_in(std::uint64_t sample) const;
  [[nodiscard]] const SampleOrigin& origin(std::uint64_t sample) const { return origins_[sample]; }
  [[nodiscard]] std::vector<std::uint64_t> rows_of_samples() const;  // for split_samples()
  // Copies the named samples, ascending or not.
  [[nodiscard]] TokenizedDataset subset(std::span<const std::uint64_t> samples) const;

  // At most 2^32 - 1 tokens a sample.
  void append(const EncodedSample& sample, const SampleOrigin& origin);

 private:
  std::vector<std::int32_t> ids_;
  std::vector<std::uint64_t> mask_;     // bit i: token i is trained
  std::vector<std::uint64_t> offsets_;  // of each sample in ids_
  std::vector<std::uint32_t> lengths_;
  std::vector<SampleOrigin> origins_;
  std::uint64_t trained_ = 0;
};

struct TokenizeOptions {
  DataFormat format = DataFormat::kAuto;
  DataColumns columns;
  std::uint32_t sequence_length = 2048;
  OverLong over_long = OverLong::kError;
  std::size_t keep_findings = 10;
  unsigned threads = 2;  // workers beside the calling thread; 0: none
  // From the calling thread, at most once a block: bytes of the file done and in all.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;
};

// Counts of the token pass, for the forecast and the log.
struct TokenizeCounts {
  std::uint64_t rows = 0;           // non-blank rows of the file
  std::uint64_t rejected_rows = 0;  // with a structural fault
  std::uint64_t samples = 0;        // kept
  std::uint64_t tokens = 0;         // of the kept samples
  std::uint64_t trained_tokens = 0;
  std::uint64_t longest = 0;      // tokens of the longest sample, before over_long is applied
  std::uint64_t over_long = 0;    // samples longer than sequence_length
  std::uint64_t dropped = 0;      // of these, dropped
  std::uint64_t truncated = 0;    // of these, cut and kept
  std::uint64_t untrainable = 0;  // dropped: no trained token (left)
  std::uint64_t duplicates = 0;   // samples whose ids and mask were seen before; they are kept
  std::uint64_t failed = 0;       // samples that the template or the tokenizer refused
};

struct TokenizeReport {
  TokenizedDataset dataset;
  DataFormat format = DataFormat::kAuto;
  DataIdentity identity;
  TokenizeCounts counts;
  FindingLog findings;  // structural ones too
  // No critical finding: the set may be trained on.
  [[nodiscard]] bool passed() const { return findings.count(Severity::kCritical) == 0; }
};

// Errors: the file cannot be read. All else is in the findings.
Result<TokenizeReport> tokenize_file(const std::filesystem::path& path, const Tokenizer& tokenizer,
                                     const ChatTemplate* chat_template,
                                     const TokenizeOptions& options);

}  // namespace ratchet::trainer
