#pragma once

// The structural pass: encoding, JSON and schema faults of a data file, before any model is loaded.
// Streams in bounded memory with a few threads; the result does not depend on their number.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "proto/result.h"
#include "trainer/data/finding.h"
#include "trainer/data/formats.h"
#include "trainer/data/row_reader.h"

namespace ratchet::trainer {

// Ids are compared by 64-bit hash among the first kTrackedIdsMax of them (256 MiB at most).
inline constexpr std::uint64_t kTrackedIdsMax = 12'000'000;
inline constexpr std::uint64_t kFewRows = 10;

struct CheckOptions {
  DataFormat format = DataFormat::kAuto;  // kAuto: detect
  DataColumns columns;
  std::size_t keep_findings = 10;  // of each rule
  unsigned threads = 2;            // workers beside the calling thread; 0: none
  // Called from the calling thread, at most once a block, with bytes done and bytes in all.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;
};

struct CheckReport {
  DataFormat format = DataFormat::kAuto;  // declared or detected; kAuto: none recognised
  DataLayout layout = DataLayout::kJsonLines;
  std::uint64_t file_bytes = 0;
  std::uint64_t rows = 0;       // non-blank rows (conversations)
  std::uint64_t good_rows = 0;  // without a critical finding
  std::uint64_t samples = 0;    // training rows that the good rows yield (training pairs)
  FindingLog findings;
  [[nodiscard]] bool passed() const { return findings.count(Severity::kCritical) == 0; }
};

// Errors: the file cannot be opened or read. Faults of its content are findings.
Result<CheckReport> check_structure(const std::filesystem::path& path, const CheckOptions& options);

// The first critical findings and the counts as one Error, for callers that stop on any.
Error data_error(const std::filesystem::path& path, const FindingLog& findings);

}  // namespace ratchet::trainer
