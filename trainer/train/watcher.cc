#include "trainer/train/watcher.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "proto/socket_path.h"

namespace ratchet::trainer {
namespace {

constexpr size_t kRequestBytesMax = 4096;
constexpr int kClientTimeoutMs = 10000;

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

Error os_error(const std::string& what) {
  return Error{Code::kIo, what + ": " + std::strerror(errno) + "."};
}

// Reads one line, or what came before the client fell silent or sent too much.
std::string read_line(int fd) {
  std::string line;
  std::array<char, 512> chunk{};
  while (line.size() < kRequestBytesMax) {
    pollfd ready{fd, POLLIN, 0};
    if (::poll(&ready, 1, kClientTimeoutMs) <= 0) {
      break;
    }
    const ssize_t got = ::read(fd, chunk.data(), chunk.size());
    if (got <= 0) {
      break;
    }
    line.append(chunk.data(), static_cast<size_t>(got));
    if (const size_t end = line.find('\n'); end != std::string::npos) {
      line.resize(end);
      break;
    }
  }
  return line;
}

}  // namespace

void Watcher::block_signals() {
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

Watcher::Watcher(Options options, WatcherCallbacks callbacks)
    : options_(std::move(options)), callbacks_(std::move(callbacks)) {}

Result<std::unique_ptr<Watcher>> Watcher::start(Options options, WatcherCallbacks callbacks) {
  std::unique_ptr<Watcher> watcher(new Watcher(std::move(options), std::move(callbacks)));
  if (auto opened = watcher->open(); !opened) {
    return opened.error();
  }
  watcher->thread_ = std::thread(&Watcher::loop, watcher.get());
  return watcher;
}

Status Watcher::open() {
  const sigset_t set = stop_signals();
  signal_fd_ = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  wake_fd_ = ::eventfd(0, EFD_CLOEXEC);
  if (signal_fd_ < 0 || wake_fd_ < 0) {
    return os_error("Cannot watch for signals");
  }
  if (options_.socket_path.empty()) {
    return ok();
  }
  const auto path = SocketPath::open(options_.socket_path);
  if (!path) {
    return path.error();
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path->name().c_str(), path->name().size() + 1);
  ::unlink(options_.socket_path.c_str());
  listen_fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const mode_t before = ::umask(0177);
  const bool bound =
      listen_fd_ >= 0 &&
      ::bind(listen_fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
      ::listen(listen_fd_, 8) == 0;
  ::umask(before);
  if (!bound) {
    return os_error("Cannot open the control socket '" + options_.socket_path.string() + "'");
  }
  return ok();
}

Watcher::~Watcher() {
  if (thread_.joinable()) {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t sent = ::write(wake_fd_, &one, sizeof(one));
    thread_.join();
  }
  for (const int fd : {signal_fd_, wake_fd_, listen_fd_}) {
    if (fd >= 0) {
      ::close(fd);
    }
  }
  if (listen_fd_ >= 0) {
    ::unlink(options_.socket_path.c_str());
  }
}

void Watcher::loop() {
  while (true) {
    std::array<pollfd, 3> ready{
        {{signal_fd_, POLLIN, 0}, {wake_fd_, POLLIN, 0}, {listen_fd_, POLLIN, 0}}};
    if (::poll(ready.data(), ready.size(), -1) < 0) {
      continue;
    }
    if (ready[1].revents != 0) {
      return;
    }
    if (ready[0].revents != 0) {
      handle_signal();
    }
    if (ready[2].revents != 0) {
      handle_client();
    }
  }
}

void Watcher::handle_signal() {
  signalfd_siginfo info{};
  if (::read(signal_fd_, &info, sizeof(info)) != static_cast<ssize_t>(sizeof(info))) {
    return;
  }
  const auto now = std::chrono::steady_clock::now();
  if (info.ssi_signo == static_cast<uint32_t>(SIGTERM)) {
    callbacks_.on_stop({"SIGTERM", now + options_.sigterm_deadline});
    return;
  }
  // From here on the default action is back, so that a second Ctrl-C ends the process at once.
  sigset_t interrupt;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  pthread_sigmask(SIG_UNBLOCK, &interrupt, nullptr);
  callbacks_.on_stop({"Ctrl-C", now + options_.interrupt_deadline});
}

void Watcher::handle_client() {
  const int client = ::accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC);
  if (client < 0) {
    return;
  }
  std::string reply = callbacks_.on_request(read_line(client));
  reply.push_back('\n');
  size_t sent = 0;
  while (sent < reply.size()) {
    const ssize_t put = ::send(client, reply.data() + sent, reply.size() - sent, MSG_NOSIGNAL);
    if (put <= 0) {
      break;
    }
    sent += static_cast<size_t>(put);
  }
  ::close(client);
}

}  // namespace ratchet::trainer
