#include "trainer/data/row_reader.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "trainer/data/document_splitter.h"
#include "trainer/data/layout_guess.h"
#include "trainer/data/utf8.h"
#include "trainer/model/file_io.h"

namespace ratchet::trainer {
namespace {

constexpr std::uint64_t kHeadBytes = 1ULL << 20;

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

}  // namespace

struct RowReader::Impl {
  std::filesystem::path path;
  Fd fd;
  std::uint64_t size = 0;
  std::uint64_t position = 0;  // next byte to read
  std::string head;
  LayoutGuess layout;

  std::string carry;  // the start of a row whose end was not read yet
  std::uint64_t row_count = 0;
  std::uint64_t line = 1;  // of carry's first byte
  bool skipping = false;   // inside an oversized line
  std::optional<DocumentSplitter> splitter;
  std::vector<LayoutFault> faults;

  Status append_chunk(std::string& bytes);
  Result<bool> next_lines(RowBlock& block);
  Result<bool> next_elements(RowBlock& block);
  void skip_oversized(RowBlock& block);
  void take_lines(RowBlock& block, std::size_t end, std::uint64_t base);
  Status check_size() const;
};

Status RowReader::Impl::append_chunk(std::string& bytes) {
  const std::uint64_t take = std::min(kBlockBytes, size - position);
  const std::size_t old = bytes.size();
  bytes.resize(old + take);
  const auto target = std::as_writable_bytes(std::span(bytes)).subspan(old);
  if (auto read = read_at(fd, path, position, target); !read) return read.error();
  position += take;
  return ok();
}

Status RowReader::Impl::check_size() const {
  const auto now = file_size(fd, path);
  if (!now) return now.error();
  if (*now == size) return ok();
  return Error{Code::kFailedPrecondition,
               cat("'", path.string(), "' changed while it was read: it had ", size,
                   " bytes at the start and has ", *now, " now. Read it when it is complete.")};
}

// Splits bytes[0, end) of the block into rows; `base` is the file offset of byte 0.
void RowReader::Impl::take_lines(RowBlock& block, std::size_t end, std::uint64_t base) {
  const std::string_view bytes = block.bytes;
  for (std::size_t begin = 0; begin < end;) {
    const std::size_t newline = std::min(bytes.find('\n', begin), end);
    std::string_view text = bytes.substr(begin, newline - begin);
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (!is_blank(text)) {
      RawRow row{begin, text.size(), line, base + begin, false};
      if (row.length > kRowBytesMax) {
        row.oversized = true;
        row.length = 0;
      }
      block.rows.push_back(row);
    }
    ++line;
    begin = newline + 1;
  }
}

// The line in hand is too long: remember it as a row without bytes and read on to its end.
void RowReader::Impl::skip_oversized(RowBlock& block) {
  if (!skipping) {
    block.rows.push_back({0, 0, line, position - block.bytes.size(), true});
    skipping = true;
  }
  block.bytes.clear();
}

Result<bool> RowReader::Impl::next_lines(RowBlock& block) {
  block.bytes.swap(carry);
  carry.clear();
  for (;;) {
    std::size_t search = block.bytes.size();  // no newline before this
    if (auto read = append_chunk(block.bytes); !read) return read.error();
    const bool at_end = position == size;
    if (skipping) {
      const std::size_t newline = block.bytes.find('\n');
      if (newline == std::string::npos && !at_end) {
        block.bytes.clear();
        continue;
      }
      block.bytes.erase(0, newline == std::string::npos ? block.bytes.size() : newline + 1);
      ++line;
      skipping = false;
      search = 0;
    }
    const std::uint64_t base = position - block.bytes.size();
    std::size_t end = block.bytes.size();
    if (!at_end) {
      const std::size_t newline = std::string_view(block.bytes).substr(search).rfind('\n');
      end = newline == std::string_view::npos ? 0 : search + newline + 1;
    }
    if (end == 0 && !at_end) {
      if (block.bytes.size() > kRowBytesMax) {
        skip_oversized(block);
        return true;
      }
      continue;
    }
    carry.assign(block.bytes, end);
    block.bytes.resize(end);
    take_lines(block, end, base);
    return true;
  }
}

Result<bool> RowReader::Impl::next_elements(RowBlock& block) {
  block.bytes.swap(carry);
  carry.clear();
  for (;;) {
    const std::size_t scanned = block.bytes.size();
    if (auto read = append_chunk(block.bytes); !read) return read.error();
    splitter->scan(block.bytes, scanned, position - block.bytes.size(), block.rows);
    const std::size_t pending = splitter->pending();
    const bool waiting = pending != std::string_view::npos;
    if (position == size) return true;
    if (waiting && block.rows.empty() && block.bytes.size() <= kRowBytesMax) {
      // Only the start of one long row so far: go on reading into the same buffer.
      block.bytes.erase(0, pending);
      splitter->rebase();
      continue;
    }
    if (waiting) {
      carry.assign(block.bytes, pending);
      splitter->rebase();
      if (carry.size() > kRowBytesMax) {
        carry.clear();
        splitter->give_up_row();
      }
    }
    return true;
  }
}

Result<RowReader> RowReader::open(const std::filesystem::path& path) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  auto fd = open_for_read(path);
  if (!fd) return fd.error();
  impl->fd = std::move(*fd);
  const auto size = file_size(impl->fd, path);
  if (!size) return size.error();
  impl->size = *size;
  impl->head.resize(std::min(kHeadBytes, *size));
  const auto target = std::as_writable_bytes(std::span(impl->head));
  if (auto read = read_at(impl->fd, path, 0, target); !read) return read.error();
  if (impl->head.starts_with(kByteOrderMark)) {
    impl->head.erase(0, kByteOrderMark.size());
    impl->position = kByteOrderMark.size();
  }
  impl->layout = guess_layout(impl->head);
  if (impl->layout.layout == DataLayout::kJsonArray) impl->splitter.emplace("");
  if (impl->layout.layout == DataLayout::kConversationDocument) {
    impl->splitter.emplace("conversations");
  }
  return RowReader(std::move(impl));
}

RowReader::RowReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RowReader::RowReader(RowReader&&) noexcept = default;
RowReader& RowReader::operator=(RowReader&&) noexcept = default;
RowReader::~RowReader() = default;

const LayoutGuess& RowReader::layout() const { return impl_->layout; }
std::string_view RowReader::head() const { return impl_->head; }
std::uint64_t RowReader::file_bytes() const { return impl_->size; }
std::uint64_t RowReader::bytes_read() const { return impl_->position; }
const std::vector<LayoutFault>& RowReader::faults() const { return impl_->faults; }

Result<bool> RowReader::next(RowBlock& block) {
  block.bytes.clear();
  block.rows.clear();
  block.first_row = impl_->row_count;
  if (impl_->position == impl_->size && impl_->carry.empty()) {
    if (impl_->splitter) {
      impl_->faults = impl_->splitter->finish(impl_->size);
      impl_->splitter.reset();
    }
    if (auto same = impl_->check_size(); !same) return same.error();
    return false;
  }
  auto more = impl_->splitter ? impl_->next_elements(block) : impl_->next_lines(block);
  impl_->row_count += block.rows.size();
  return more;
}

}  // namespace ratchet::trainer
