#include "trainer/data/document_splitter.h"

#include <utility>

#include "trainer/data/json_tree.h"
#include "trainer/model/file_io.h"

namespace ratchet::trainer {
namespace {

constexpr std::size_t kSkeletonBytesMax = 1U << 20U;
constexpr std::size_t kLayoutFaultsMax = 16;

bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace

void DocumentSplitter::scan(std::string_view buffer, std::size_t from, std::uint64_t file_offset,
                            std::vector<RawRow>& rows) {
  base_ = file_offset;
  for (std::size_t i = from; i < buffer.size(); ++i) {
    const char c = buffer[i];
    here_ = base_ + i;
    switch (state_) {
      case State::kOutside:
        outside(c);
        break;
      case State::kBetween:
        between(c, i);
        break;
      case State::kRow:
        if (row_ends(c)) end_row(i + 1, rows);
        break;
      case State::kScalar:
        if (c == ',' || c == ']' || blank(c)) {
          end_row(i, rows);
          between(c, i);
        }
        break;
    }
    if (c == '\n') ++line_;
  }
}

void DocumentSplitter::add_skeleton(char c) {
  if (skeleton_.size() < kSkeletonBytesMax) {
    skeleton_ += c;
  } else if (!skeleton_full_) {
    skeleton_full_ = true;
    fault(cat("More than ", kSkeletonBytesMax, " bytes stand around the rows of the document."));
  }
}

void DocumentSplitter::outside(char c) {
  add_skeleton(c);
  if (in_string_) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      return;
    }
    if (depth_ <= 1 && last_string_.size() <= rows_key_.size()) last_string_ += c;
    return;
  }
  if (c == '"') {
    in_string_ = true;
    if (depth_ <= 1) last_string_.clear();
  } else if (c == '{' || c == '[') {
    const bool holds_rows =
        rows_key_.empty() ? depth_ == 0 : (depth_ == 1 && last_string_ == rows_key_);
    ++depth_;
    if (c == '[' && holds_rows && !rows_seen_) {
      rows_seen_ = true;
      state_ = State::kBetween;
      need_comma_ = after_comma_ = false;
    }
  } else if ((c == '}' || c == ']') && depth_ > 0) {
    --depth_;
  } else if (c == ',' && depth_ == 1) {
    last_string_.clear();
  }
}

void DocumentSplitter::between(char c, std::size_t at) {
  if (blank(c)) return;
  if (c == ',') {
    if (!need_comma_) fault("A comma stands where a row is expected.");
    need_comma_ = false;
    after_comma_ = true;
  } else if (c == ']') {
    if (after_comma_) fault("A comma stands before the bracket that closes the rows.");
    add_skeleton(c);
    --depth_;
    state_ = State::kOutside;
    last_string_.clear();
  } else {
    if (need_comma_) fault("Two rows stand without a comma between them.");
    begin_row(c, at);
  }
}

void DocumentSplitter::begin_row(char c, std::size_t at) {
  row_begin_ = at;
  row_line_ = line_;
  row_offset_ = here_;
  oversized_ = false;
  row_depth_ = 0;
  if (c == '{' || c == '[' || c == '"') {
    state_ = State::kRow;
    (void)row_ends(c);
  } else {
    state_ = State::kScalar;
  }
}

// True when `c` closes the row.
bool DocumentSplitter::row_ends(char c) {
  if (in_string_) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      return row_depth_ == 0;
    }
    return false;
  }
  if (c == '"') {
    in_string_ = true;
  } else if (c == '{' || c == '[') {
    ++row_depth_;
  } else if (c == '}' || c == ']') {
    return --row_depth_ == 0;
  }
  return false;
}

void DocumentSplitter::end_row(std::size_t end, std::vector<RawRow>& rows) {
  RawRow row;
  row.line = row_line_;
  row.file_offset = row_offset_;
  row.oversized = oversized_ || end - row_begin_ > kRowBytesMax;
  if (!row.oversized) {
    row.offset = row_begin_;
    row.length = end - row_begin_;
  }
  rows.push_back(row);
  row_begin_ = std::string_view::npos;
  state_ = State::kBetween;
  need_comma_ = true;
  after_comma_ = false;
}

void DocumentSplitter::rebase() {
  if (row_begin_ != std::string_view::npos) row_begin_ = 0;
}

void DocumentSplitter::give_up_row() {
  oversized_ = true;
  row_begin_ = 0;
}

void DocumentSplitter::fault(std::string message) {
  if (faults_.size() < kLayoutFaultsMax) faults_.push_back({line_, here_, std::move(message)});
}

std::vector<LayoutFault> DocumentSplitter::finish(std::uint64_t file_bytes) {
  here_ = file_bytes;
  if (state_ == State::kRow || state_ == State::kScalar) {
    faults_.push_back({row_line_, row_offset_,
                       "The document ends inside a row: it was cut, or a bracket is missing."});
  } else if (state_ == State::kBetween) {
    fault("The document ends before its list of rows is closed.");
  } else if (!skeleton_full_) {
    JsonTree tree;
    if (!tree.parse(skeleton_)) {
      fault("What stands around the rows of the document is not JSON, or more follows behind it.");
    }
  }
  return std::move(faults_);
}

}  // namespace ratchet::trainer
