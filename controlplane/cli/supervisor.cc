#include "controlplane/cli/supervisor.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "controlplane/cli/files.h"
#include "controlplane/cli/json_values.h"

namespace ratchet::control::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxRecordBytes = 64 * 1024;
constexpr std::streamoff kTailBytes = 600;
constexpr std::uintmax_t kLittleSpace = 64 * 1024;
constexpr Millis kPoll{50};
constexpr Millis kAfterKill{10000};

void sleep_for(Millis time) {
  timespec left{time.count() / 1000, time.count() % 1000 * 1'000'000};
  ::nanosleep(&left, nullptr);
}

sigset_t our_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&set, number);
  return set;
}

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status)) return "was ended by signal " + std::to_string(WTERMSIG(status));
  return "left with exit code " + std::to_string(WEXITSTATUS(status));
}

// Between fork and exec: nothing that takes a lock.
[[noreturn]] void become(const std::vector<char*>& words, int log, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(127);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  ::execv(words[0], words.data());
  ::_exit(127);
}

}  // namespace

Result<std::string> find_program(const std::string& name) {
  std::error_code failed;
  const fs::path self = fs::read_symlink("/proc/self/exe", failed);
  const fs::path beside = self.parent_path() / name;
  if (!failed && ::access(beside.c_str(), X_OK) == 0) return beside.string();
  const char* path = std::getenv("PATH");
  std::string rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    const fs::path candidate = fs::path(rest.substr(0, colon)) / name;
    if (candidate.is_absolute() && ::access(candidate.c_str(), X_OK) == 0) {
      return candidate.string();
    }
    rest.erase(0, std::min(colon + 1, rest.size()));
  }
  return Error{Code::kNotFound, "The program '" + name + "' is neither in '" +
                                    self.parent_path().string() +
                                    "' nor on PATH. Install it beside 'ratchet'."};
}

ControlPlaneProcess::ControlPlaneProcess(ControlPlaneArgs args) : args_(std::move(args)) {}

ControlPlaneProcess::~ControlPlaneProcess() {
  if (pid_ != 0) stop(kAfterKill);
}

Status ControlPlaneProcess::start() {
  const int log = ::open(args_.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0) {
    return Error{Code::kIo, "Cannot write '" + args_.log + "': " + std::strerror(errno) + "."};
  }
  std::vector<char*> words{args_.program.data()};
  for (std::string& flag : args_.flags) words.push_back(flag.data());
  words.push_back(nullptr);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) become(words, log, parent);
  const int failed = errno;
  ::close(log);
  if (pid_ > 0) return ok();
  pid_ = 0;
  return Error{Code::kIo, "Cannot start '" + args_.program + "': " + std::strerror(failed) + "."};
}

Result<std::string> ControlPlaneProcess::wait_for_address(Millis limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < end) {
    if (const auto how = poll_end()) {
      return Error{Code::kUnavailable,
                   "ratchet-control " + *how + ". The end of '" + args_.log + "':\n" + log_tail()};
    }
    const auto text = read_small_file(args_.state + "/control.json", kMaxRecordBytes);
    const Json record = text ? parse_json(*text, kMaxRecordBytes) : Json();
    const std::string address = text_at(record, "address");
    // An old file names another process.
    if (integer_at(record, "pid") == pid_ && !address.empty()) return address;
    sleep_for(kPoll);
  }
  return Error{Code::kUnavailable, "ratchet-control does not serve after " +
                                       std::to_string(limit.count() / 1000) + " s. The end of '" +
                                       args_.log + "':\n" + log_tail()};
}

std::optional<std::string> ControlPlaneProcess::poll_end() {
  int status = 0;
  if (pid_ == 0 || ::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  pid_ = 0;
  return how_it_ended(status);
}

std::string ControlPlaneProcess::stop(Millis limit) {
  if (pid_ == 0) return "had ended";
  ::kill(pid_, SIGTERM);
  const auto end = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < end) {
    if (auto how = poll_end()) return *how;
    sleep_for(kPoll);
  }
  ::kill(pid_, SIGKILL);
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = 0;
  return how_it_ended(status);
}

std::string ControlPlaneProcess::log_tail() const {
  std::string text;
  if (std::ifstream file(args_.log, std::ios::binary | std::ios::ate); file) {
    const std::streamoff size = file.tellg();
    file.seekg(std::max<std::streamoff>(0, size - kTailBytes));
    text.assign(std::istreambuf_iterator<char>(file), {});
    if (size > kTailBytes) text.erase(0, text.find('\n') + 1);
  }
  // The log lies there too: what it should say may be lost.
  std::error_code failed;
  const auto space = fs::space(args_.state, failed);
  if (!failed && space.available < kLittleSpace) {
    text += "The disk of '" + args_.state + "' is full. Free some space, then start again.\n";
  }
  return text;
}

SignalInbox::SignalInbox() {
  const sigset_t set = our_signals();
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
}

std::optional<int> SignalInbox::wait(Millis limit) const {
  const sigset_t set = our_signals();
  const timespec time{limit.count() / 1000, limit.count() % 1000 * 1'000'000};
  const int number = ::sigtimedwait(&set, nullptr, &time);
  return number > 0 ? std::optional<int>(number) : std::nullopt;
}

}  // namespace ratchet::control::cli
