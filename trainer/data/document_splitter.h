#pragma once

// Cuts a JSON document that holds rows ([row, ...] or {"conversations": [row, ...], ...}) into its
// rows, byte by byte, without holding more than one row. It only finds where rows begin and end;
// each row is parsed strictly later, and what stands around the rows is checked at the end.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/data/row_reader.h"

namespace ratchet::trainer {

class DocumentSplitter {
 public:
  // `rows_key`: the member of the top-level object that holds the rows; empty: the document is the
  // array itself.
  explicit DocumentSplitter(std::string_view rows_key) : rows_key_(rows_key) {}

  // Reads buffer[from, end); appends each row that ends there to `rows` (offsets into `buffer`).
  // `file_offset` is the place of buffer[0] in the file.
  void scan(std::string_view buffer, std::size_t from, std::uint64_t file_offset,
            std::vector<RawRow>& rows);

  // Start of the row that goes on beyond the buffer, npos when between rows. The caller keeps the
  // bytes from there on at the front of its next buffer and says so by rebase().
  [[nodiscard]] std::size_t pending() const { return row_begin_; }
  void rebase();
  // The pending row is longer than is allowed: its bytes need not be kept; it will be `oversized`.
  void give_up_row();

  // At the end of the file: faults around the rows.
  std::vector<LayoutFault> finish(std::uint64_t file_bytes);

 private:
  enum class State { kOutside, kBetween, kRow, kScalar };

  void outside(char c);
  void between(char c, std::size_t at);
  bool row_ends(char c);
  void begin_row(char c, std::size_t at);
  void end_row(std::size_t end, std::vector<RawRow>& rows);
  void add_skeleton(char c);
  void fault(std::string message);

  std::string_view rows_key_;
  State state_ = State::kOutside;
  std::string skeleton_;  // the document without its rows
  std::string last_string_;
  std::uint32_t depth_ = 0;      // of brackets outside rows
  std::uint32_t row_depth_ = 0;  // of brackets inside the row
  bool in_string_ = false;
  bool escaped_ = false;
  bool rows_seen_ = false;
  bool need_comma_ = false;
  bool after_comma_ = false;
  bool oversized_ = false;
  bool skeleton_full_ = false;
  std::size_t row_begin_ = std::string_view::npos;
  std::uint64_t row_line_ = 0;
  std::uint64_t row_offset_ = 0;
  std::uint64_t line_ = 1;
  std::uint64_t base_ = 0;  // file offset of the buffer
  std::uint64_t here_ = 0;  // file offset of the byte in hand
  std::vector<LayoutFault> faults_;
};

}  // namespace ratchet::trainer
