#include "agent/daemon/trainer_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

namespace ratchet::agent {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kPiece = 256 * 1024;
constexpr int kPiecesACall = 4;

std::int64_t size_of(int fd) {
  struct stat stat{};
  return fd >= 0 && ::fstat(fd, &stat) == 0 ? static_cast<std::int64_t>(stat.st_size) : 0;
}

std::string read_at(int fd, std::int64_t offset, std::size_t limit) {
  std::string out(limit, '\0');
  const ssize_t got = fd < 0 ? -1 : ::pread(fd, out.data(), out.size(), offset);
  out.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return out;
}

}  // namespace

void trim_log(const std::filesystem::path& file, Bytes keep) {
  struct stat stat{};
  if (::stat(file.c_str(), &stat) != 0) return;
  const std::int64_t held = static_cast<std::int64_t>(stat.st_blocks) * 512;
  // A quarter more than is kept, so that holes are not made at every look.
  if (held <= keep.count() + keep.count() / 4) return;
  const int fd = ::open(file.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  const auto hole = static_cast<off_t>(stat.st_size) - static_cast<off_t>(keep.count());
  if (::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, hole) != 0) {
    static_cast<void>(::ftruncate(fd, 0) + 1);
  }
  ::close(fd);
}

std::string last_words(const std::filesystem::path& file, std::size_t bytes) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  const std::int64_t size = size_of(fd);
  const std::int64_t from = std::max<std::int64_t>(0, size - static_cast<std::int64_t>(bytes));
  std::string text = read_at(fd, from, bytes);
  if (fd >= 0) ::close(fd);
  if (from > 0) text.erase(0, text.find('\n') == std::string::npos ? 0 : text.find('\n') + 1);
  std::erase(text, '\0');
  std::replace(text.begin(), text.end(), '\r', '\n');
  return text;
}

LogForwarder::~LogForwarder() {
  if (fd_ >= 0) ::close(fd_);
}

asio::awaitable<bool> LogForwarder::forward(net::HttpClient& http, net::CancelSource* cancel) {
  if (fd_ < 0) fd_ = ::open(file_.c_str(), O_RDONLY | O_CLOEXEC);
  for (int piece = 0; piece < kPiecesACall; ++piece) {
    const std::int64_t size = std::min(size_of(fd_), kMaxLogForwarded.count());
    if (refused_ || offset_ >= size) co_return true;
    net::ClientRequest put;
    put.method = net::Method::kPut;
    put.target = target_;
    put.headers.set("Upload-Offset", std::to_string(offset_));
    put.headers.set("Content-Type", "application/octet-stream");
    const auto rest = static_cast<std::size_t>(size - offset_);
    std::string text = read_at(fd_, offset_, std::min(kPiece, rest));
    const auto sent = static_cast<std::int64_t>(text.size());
    if (sent == 0) co_return true;
    put.body = std::move(text);
    put.cancel = cancel;
    const auto answer = co_await http.send(std::move(put));
    if (!answer) co_return false;
    if (answer->status < 300) {
      offset_ += sent;
      continue;
    }
    const std::string_view there = answer->headers.get("Upload-Offset");
    std::int64_t offset = -1;
    std::from_chars(there.data(), there.data() + there.size(), offset);
    if (answer->status == 409 && offset >= 0 && offset != offset_) {
      offset_ = offset;
      continue;
    }
    // 4xx: too much, or an attempt that is not known any more.
    if (answer->status < 500 && answer->status != 429 && answer->status != 401) refused_ = true;
    co_return refused_;
  }
  co_return false;
}

}  // namespace ratchet::agent
