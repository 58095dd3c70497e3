#include "trainer/train/rank_launcher.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <utility>

namespace ratchet::trainer {
namespace {

// Runs between fork and exec: only async-signal-safe calls.
[[noreturn]] void become_rank(pid_t parent, int log_fd, char* const* arguments) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) {
    ::_exit(1);  // the parent died before the line above took effect
  }
  ::dup2(log_fd, STDOUT_FILENO);
  ::dup2(log_fd, STDERR_FILENO);
  ::execv("/proc/self/exe", arguments);
  ::_exit(127);
}

Result<pid_t> start_rank(const RankLauncher::Options& options, int rank) {
  const std::string log = options.log_dir + "/rank-" + std::to_string(rank) + ".log";
  const int log_fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (log_fd < 0) {
    return Error{Code::kIo, "Cannot open '" + log + "': " + std::strerror(errno) + "."};
  }
  std::vector<std::string> words{
      "ratchet-trainer",    "run",          options.attempt_file, "--rank",
      std::to_string(rank), "--rendezvous", options.rendezvous};
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) {
    arguments.push_back(word.data());
  }
  arguments.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    become_rank(parent, log_fd, arguments.data());
  }
  ::close(log_fd);
  if (pid < 0) {
    return Error{Code::kIo,
                 "Cannot start rank " + std::to_string(rank) + ": " + std::strerror(errno) + "."};
  }
  return pid;
}

std::string describe_end(int rank, pid_t pid, int status) {
  const std::string who = "Rank " + std::to_string(rank) + " (pid " + std::to_string(pid) + ") ";
  const std::string log = " Its output is in rank-" + std::to_string(rank) + ".log.";
  if (WIFSIGNALED(status)) {
    return who + "was ended by signal " + std::to_string(WTERMSIG(status)) + "." + log;
  }
  return who + "left with exit code " + std::to_string(WEXITSTATUS(status)) + "." + log;
}

}  // namespace

RankLauncher::RankLauncher(std::vector<pid_t> pids,
                           std::function<void(const std::string&)> on_death)
    : pids_(std::move(pids)), on_death_(std::move(on_death)) {}

Result<std::unique_ptr<RankLauncher>> RankLauncher::start(
    const Options& options, std::function<void(const std::string&)> on_death) {
  std::vector<pid_t> pids;
  for (int rank = 1; rank < options.world_size; ++rank) {
    auto pid = start_rank(options, rank);
    if (!pid) {
      for (const pid_t started : pids) {
        ::kill(started, SIGKILL);
        ::waitpid(started, nullptr, 0);
      }
      return pid.error();
    }
    pids.push_back(*pid);
  }
  std::unique_ptr<RankLauncher> launcher(new RankLauncher(std::move(pids), std::move(on_death)));
  launcher->thread_ = std::thread(&RankLauncher::watch, launcher.get());
  return launcher;
}

void RankLauncher::watch() {
  std::vector<bool> ended(pids_.size(), false);
  size_t left = pids_.size();
  while (left > 0) {
    for (size_t i = 0; i < pids_.size(); ++i) {
      int status = 0;
      if (ended[i] || ::waitpid(pids_[i], &status, WNOHANG) != pids_[i]) {
        continue;
      }
      ended[i] = true;
      --left;
      if (closing_.load()) {
        continue;
      }
      if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        on_death_(describe_end(static_cast<int>(i) + 1, pids_[i], status));
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

void RankLauncher::join() {
  if (thread_.joinable()) {
    thread_.join();
  }
}

RankLauncher::~RankLauncher() {
  if (thread_.joinable()) {
    closing_.store(true);
    for (const pid_t pid : pids_) {
      ::kill(pid, SIGKILL);
    }
    thread_.join();
  }
}

}  // namespace ratchet::trainer
