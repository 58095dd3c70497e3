#include "agent/daemon/event_tail.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <nlohmann/json.hpp>

#include "proto/document.h"

namespace ratchet::agent {
namespace {

constexpr std::size_t kTailPiece = 1 << 20;
static_assert(kTailPiece > 2 * kMaxEventBytes, "a piece holds at least one whole line");

struct Line {
  std::string_view text;
  std::int64_t end;  // offset of the byte after its newline
};

// Whole lines of the file from `offset` on, `buffer` holding their bytes. A piece without a newline
// is one line that is too long: `next` then lies behind it.
struct Lines {
  std::vector<Line> lines;
  std::int64_t next = 0;
  bool too_long = false;
};

Lines read_lines(const std::filesystem::path& file, std::int64_t offset, std::string& buffer) {
  Lines out{{}, offset, false};
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return out;
  buffer.resize(kTailPiece);
  ssize_t got = 0;
  while ((got = ::pread(fd, buffer.data(), buffer.size(), offset)) < 0 && errno == EINTR) {
  }
  ::close(fd);
  buffer.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  std::size_t begin = 0;
  for (std::size_t end = buffer.find('\n'); end != std::string::npos;
       end = buffer.find('\n', begin)) {
    const std::string_view text = std::string_view(buffer).substr(begin, end - begin);
    out.lines.push_back({text, offset + static_cast<std::int64_t>(end) + 1});
    begin = end + 1;
  }
  out.next = offset + static_cast<std::int64_t>(begin);
  if (out.lines.empty() && buffer.size() == kTailPiece) {
    out.too_long = true;
    out.next = offset + static_cast<std::int64_t>(kTailPiece);
  }
  return out;
}

// The seq of a line without parsing all of it: the encoder sorts keys and writes no spaces, and a
// text that quotes the key has its quotes escaped.
std::optional<std::uint64_t> seq_of(std::string_view line) {
  constexpr std::string_view kKey = "\"seq\":";
  const std::size_t at = line.find(kKey);
  if (at == std::string_view::npos || line.size() > kMaxEventBytes) return std::nullopt;
  const std::string_view digits = line.substr(at + kKey.size(), 20);
  std::uint64_t seq = 0;
  const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), seq);
  if (failed != std::errc() || end == digits.data()) return std::nullopt;
  return seq;
}

}  // namespace

std::string encode_cursor(const TailCursor& cursor) {
  const nlohmann::json object = {{"seq", cursor.seq}, {"offset", cursor.offset}};
  return object.dump() + "\n";
}

TailCursor decode_cursor(std::string_view text) {
  FindingList findings;
  const auto document = Document::parse(text, {.max_bytes = 4096}, findings);
  if (!document) return {};
  ObjectReader root = document->root(findings, UnknownKeys::kTolerate);
  std::int64_t seq = 0;
  std::int64_t offset = 0;
  if (!root.integer("seq", seq, {0}) || !root.integer("offset", offset, {0})) return {};
  return findings.empty() ? TailCursor{static_cast<std::uint64_t>(seq), offset} : TailCursor{};
}

EventTail::EventTail(std::filesystem::path file, TailCursor acknowledged)
    : file_(std::move(file)), acknowledged_(acknowledged) {}

std::vector<SeenLine> EventTail::poll() {
  more_ = false;
  struct stat stat{};
  if (::stat(file_.c_str(), &stat) != 0 || stat.st_size <= read_offset_) return {};
  std::string buffer;
  const Lines piece = read_lines(file_, read_offset_, buffer);
  more_ = buffer.size() == kTailPiece;
  read_offset_ = piece.next;
  if (piece.too_long) ++skipped_;
  std::vector<SeenLine> seen;
  for (const Line& line : piece.lines) {
    if (line.text.empty()) continue;
    SeenLine out{seq_of(line.text).value_or(0), std::nullopt};
    last_seq_ = std::max(last_seq_, out.seq);
    if (line.text.size() <= kMaxEventBytes) {
      if (auto event = decode_event(line.text)) out.event = *std::move(event);
    }
    if (!out.event) ++skipped_;
    seen.push_back(std::move(out));
  }
  return seen;
}

std::vector<TailLine> EventTail::unacknowledged(std::size_t max_lines, std::size_t max_bytes) {
  std::vector<TailLine> out;
  sent_.clear();
  std::string buffer;
  std::int64_t offset = acknowledged_.offset;
  std::size_t bytes = 0;
  while (out.size() < max_lines && bytes < max_bytes) {
    const Lines piece = read_lines(file_, offset, buffer);
    if (piece.lines.empty() && !piece.too_long) break;
    offset = piece.next;
    for (const Line& line : piece.lines) {
      if (out.size() == max_lines || bytes >= max_bytes) break;
      const auto seq = seq_of(line.text);
      if (!seq || *seq <= acknowledged_.seq) continue;
      out.push_back({*seq, std::string(line.text)});
      sent_.push_back({*seq, line.end});
      bytes += line.text.size();
    }
  }
  return out;
}

void EventTail::acknowledge(std::uint64_t seq) {
  if (seq <= acknowledged_.seq) return;
  acknowledged_.seq = seq;
  // An offset that lags behind (a seq acknowledged before this process read its line) is only more
  // to skip at the next reading.
  while (!sent_.empty() && sent_.front().seq <= seq) {
    acknowledged_.offset = sent_.front().end;
    sent_.pop_front();
  }
}

}  // namespace ratchet::agent
