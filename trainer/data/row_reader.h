#pragma once

// Streams the rows of a data file in blocks: JSON Lines, a JSON array of rows (.json), or one JSON
// document {"conversations": [...]}. Any file size, bounded memory.
//
// Rules: one UTF-8 byte-order mark at the start of the file is skipped; blank lines are skipped and
// keep their physical number; CRLF ends a line as LF does; the last line may lack its newline. A
// row longer than kRowBytesMax is reported (oversized) and its bytes are not kept, so a block never
// holds more than kRowBytesMax + kBlockBytes.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"

namespace ratchet::trainer {

inline constexpr std::uint64_t kRowBytesMax = 64ULL << 20;
inline constexpr std::uint64_t kBlockBytes = 1ULL << 20;

enum class DataLayout {
  kJsonLines,            // one row a line
  kJsonArray,            // [row, row, ...]: rows are the elements
  kConversationDocument  // {"conversations": [row, row, ...]}: rows are the elements
};

// What the first bytes of a file say.
struct LayoutGuess {
  DataLayout layout = DataLayout::kJsonLines;
  bool utf16 = false;  // a UTF-16 byte-order mark, or NUL in every second byte
};

struct RawRow {
  std::uint64_t offset = 0;  // in RowBlock::bytes
  std::uint64_t length = 0;
  std::uint64_t line = 0;         // physical line of its first byte, from 1
  std::uint64_t file_offset = 0;  // of its first byte
  bool oversized = false;         // longer than kRowBytesMax: bytes not kept, length is 0
};

struct RowBlock {
  std::string bytes;
  std::vector<RawRow> rows;
  std::uint64_t first_row = 0;  // number of rows before this block
  [[nodiscard]] std::string_view text(const RawRow& row) const {
    return std::string_view(bytes).substr(row.offset, row.length);
  }
};

// A fault of the document around the rows (array and document layouts only).
struct LayoutFault {
  std::uint64_t line = 0;
  std::uint64_t file_offset = 0;
  std::string message;
};

// Not thread-safe; the blocks it hands out are independent of it.
class RowReader {
 public:
  // Opens `path` and looks at its head. Errors: the file is absent, a folder, or unreadable.
  static Result<RowReader> open(const std::filesystem::path& path);

  RowReader(RowReader&&) noexcept;
  RowReader& operator=(RowReader&&) noexcept;
  ~RowReader();

  [[nodiscard]] const LayoutGuess& layout() const;
  // The head bytes (after the mark), at most 1 MiB, for format detection.
  [[nodiscard]] std::string_view head() const;
  [[nodiscard]] std::uint64_t file_bytes() const;
  [[nodiscard]] std::uint64_t bytes_read() const;

  // Fills `block` with the next rows; false at the end of the file. Errors: reading failed, or the
  // file became shorter or longer than at open() while it was read.
  Result<bool> next(RowBlock& block);

  // After next() returned false: what was wrong with the document around the rows.
  [[nodiscard]] const std::vector<LayoutFault>& faults() const;

 private:
  struct Impl;
  explicit RowReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ratchet::trainer
