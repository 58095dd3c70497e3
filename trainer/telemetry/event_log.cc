#include "trainer/telemetry/event_log.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <ctime>
#include <utility>

namespace ratchet::trainer {

namespace {

constexpr std::int64_t kScanBlock = 64 * 1024;
constexpr std::chrono::milliseconds kLastFlush{200};

UnixMillis wall_clock() {
  return std::chrono::duration_cast<UnixMillis>(
      std::chrono::system_clock::now().time_since_epoch());
}

Error log_error(const std::string& what, const std::string& path, int number) {
  return Error{number == ENOSPC ? Code::kNoSpace : Code::kIo,
               what + " the event log '" + path + "' failed: " + std::strerror(number) + "."};
}

// What a file that an earlier attempt left says about where to go on.
struct Tail {
  std::int64_t whole_bytes = 0;  // up to and with the last newline
  std::uint64_t last_seq = 0;    // of the last line that is an event; 0 when there is none
};

// Reads backwards, block by block, until a whole line is an event. A line longer than an event may
// be is not kept, so memory stays bounded on any file.
Result<Tail> read_tail(int file, const std::string& path, std::int64_t size) {
  Tail tail;
  std::string block;
  std::string rest;  // start of the line whose end lies in a later block, reversed order of blocks
  bool newline_seen = false;
  for (std::int64_t end = size; end > 0;) {
    const std::int64_t begin = std::max<std::int64_t>(0, end - kScanBlock);
    block.resize(static_cast<std::size_t>(end - begin));
    for (std::size_t got = 0; got < block.size();) {
      const ssize_t n = ::pread(file, block.data() + got, block.size() - got,
                                static_cast<off_t>(begin) + static_cast<off_t>(got));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return log_error("Reading", path, n < 0 ? errno : EIO);
      got += static_cast<std::size_t>(n);
    }
    std::size_t stop = block.size();
    while (stop > 0) {
      const std::size_t newline = block.rfind('\n', stop - 1);
      if (newline == std::string::npos) break;
      const std::string line = block.substr(newline + 1, stop - newline - 1) + rest;
      rest.clear();
      if (!newline_seen) {
        newline_seen = true;
        tail.whole_bytes = begin + static_cast<std::int64_t>(newline) + 1;
      } else if (const auto event = decode_event(line)) {
        tail.last_seq = event->header.seq;
        return tail;
      }
      stop = newline;
    }
    rest.insert(0, block, 0, stop);
    if (rest.size() > kMaxEventBytes) rest.resize(kMaxEventBytes);
    end = begin;
  }
  if (newline_seen) {
    if (const auto event = decode_event(rest)) tail.last_seq = event->header.seq;
  }
  return tail;
}

// Keeps a SIGPIPE of this thread's writes away from the process, whatever its handlers are.
class SigpipeGuard {
 public:
  SigpipeGuard() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigemptyset(&pending);
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~SigpipeGuard() {
    if (!was_pending_) {
      const timespec none{};
      while (sigtimedwait(&pipe_, nullptr, &none) < 0 && errno == EINTR) {
      }
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SigpipeGuard(const SigpipeGuard&) = delete;
  SigpipeGuard& operator=(const SigpipeGuard&) = delete;

 private:
  sigset_t pipe_{};
  sigset_t before_{};
  bool was_pending_ = false;
};

bool is_writable_now(int descriptor, int timeout_ms) {
  pollfd entry{.fd = descriptor, .events = POLLOUT, .revents = 0};
  return ::poll(&entry, 1, timeout_ms) == 1;  // errors too: the write then says which
}

// Writes without waiting. The descriptor's flags are shared with the parent, so O_NONBLOCK must not
// be set; a pipe that polls writable takes PIPE_BUF bytes at once, a socket has MSG_DONTWAIT.
ssize_t write_some(int descriptor, const char* data, std::size_t size) {
  const ssize_t sent = ::send(descriptor, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent >= 0 || errno != ENOTSOCK) return sent;
  if (!is_writable_now(descriptor, 0)) {
    errno = EAGAIN;
    return -1;
  }
  return ::write(descriptor, data, std::min<std::size_t>(size, PIPE_BUF));
}

}  // namespace

Result<std::unique_ptr<EventLog>> EventLog::open(Options options) {
  if (!options.clock) options.clock = wall_clock;
  const std::string path = options.path;
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) return log_error("Opening", path, errno);
  const auto fail = [file](Error error) {
    ::close(file);
    return error;
  };
  struct stat info{};
  if (::fstat(file, &info) != 0) return fail(log_error("Looking at", path, errno));
  if (!S_ISREG(info.st_mode)) {
    return fail(Error{Code::kInvalidArgument, "The event log '" + path + "' is not a file."});
  }
  const auto tail = read_tail(file, path, info.st_size);
  if (!tail) return fail(tail.error());
  if (tail->whole_bytes < info.st_size && ::ftruncate(file, tail->whole_bytes) != 0) {
    return fail(log_error("Cutting the torn last line off", path, errno));
  }
  return std::unique_ptr<EventLog>(
      new EventLog(std::move(options), file, tail->last_seq + 1, tail->whole_bytes));
}

EventLog::EventLog(Options options, int file, std::uint64_t next_seq, std::int64_t file_size)
    : options_(std::move(options)),
      file_(file),
      next_seq_(next_seq),
      file_size_(file_size),
      descriptor_(options_.descriptor) {}

EventLog::~EventLog() {
  flush(kLastFlush);
  ::close(file_);
}

void EventLog::emit(const EventBody& body) {
  const std::scoped_lock lock(mu_);
  append(body);
}

void EventLog::append(const EventBody& body) {
  Event event{.header = {.seq = next_seq_++,
                         .time = options_.clock(),
                         .job_id = options_.job_id,
                         .attempt_no = options_.attempt_no,
                         .epoch = options_.epoch},
              .body = body};
  std::string line = encode_event(event) + "\n";
  const bool written = write_file(line);
  if (descriptor_) {
    enqueue({.text = std::move(line), .sent = 0, .step = std::holds_alternative<StepEvent>(body)});
    send_queued();
  }
  if (!written) {
    ++dropped_from_file_;
    ++unreported_drops_;
  } else if (unreported_drops_ > 0) {
    const std::int64_t drops = std::exchange(unreported_drops_, 0);
    append(WarningEvent{.kind = "events_dropped",
                        .message = std::to_string(drops) +
                                   " events before this one could not be written to this file.",
                        .step = 0});
  }
}

bool EventLog::write_file(const std::string& line) {
  std::size_t done = 0;
  int failure = 0;
  while (done < line.size() && failure == 0) {
    const ssize_t n = ::write(file_, line.data() + done, line.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      failure = n < 0 ? errno : EIO;
    } else {
      done += static_cast<std::size_t>(n);
    }
  }
  if (failure == 0) {
    file_size_ += static_cast<std::int64_t>(line.size());
    file_broken_ = false;
    return true;
  }
  // Half a line in the middle would make two events unreadable.
  const bool cut = done == 0 || ::ftruncate(file_, file_size_) == 0;
  if (!file_broken_) {
    report(log_error("Writing", options_.path, failure).message +
           " Training goes on; events are lost until there is room.");
  }
  file_broken_ = true;
  if (!cut) file_size_ += static_cast<std::int64_t>(done);
  return false;
}

void EventLog::enqueue(Line line) {
  queued_bytes_ += line.text.size();
  queue_.push_back(std::move(line));
  while (queued_bytes_ > kMaxQueuedBytes && queue_.size() > 1) {
    // A line that is half sent must be finished, or the reader would see two lines in one.
    const auto first = queue_.front().sent > 0 ? queue_.begin() + 1 : queue_.begin();
    const auto last = queue_.end() - 1;  // the newest stays
    auto victim = std::find_if(first, last, [](const Line& queued) { return queued.step; });
    if (victim == last) victim = first;
    if (victim == last) return;
    queued_bytes_ -= victim->text.size();
    queue_.erase(victim);
    ++dropped_from_descriptor_;
  }
}

void EventLog::send_queued() {
  const SigpipeGuard guard;
  while (descriptor_ && !queue_.empty()) {
    Line& line = queue_.front();
    const ssize_t n =
        write_some(*descriptor_, line.text.data() + line.sent, line.text.size() - line.sent);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (n <= 0) {
      drop_descriptor(n < 0 ? std::strerror(errno) : "nothing was taken");
      return;
    }
    line.sent += static_cast<std::size_t>(n);
    if (line.sent < line.text.size()) continue;
    queued_bytes_ -= line.text.size();
    queue_.pop_front();
  }
}

void EventLog::drop_descriptor(const std::string& reason) {
  dropped_from_descriptor_ += static_cast<std::int64_t>(queue_.size());
  report("Sending events to descriptor " + std::to_string(*descriptor_) + " failed: " + reason +
         ". Training goes on; events are written to '" + options_.path + "' only.");
  descriptor_.reset();
  queue_.clear();
  queued_bytes_ = 0;
}

void EventLog::report(const std::string& problem) {
  if (options_.on_problem) options_.on_problem(problem);
}

bool EventLog::flush(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  const std::scoped_lock lock(mu_);
  send_queued();
  while (descriptor_ && !queue_.empty()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    is_writable_now(*descriptor_, static_cast<int>(std::min<std::int64_t>(left.count(), 100)));
    send_queued();
  }
  return true;
}

std::uint64_t EventLog::next_seq() const {
  const std::scoped_lock lock(mu_);
  return next_seq_;
}

std::int64_t EventLog::dropped_from_file() const {
  const std::scoped_lock lock(mu_);
  return dropped_from_file_;
}

std::int64_t EventLog::dropped_from_descriptor() const {
  const std::scoped_lock lock(mu_);
  return dropped_from_descriptor_;
}

}  // namespace ratchet::trainer
