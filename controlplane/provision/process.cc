#include "controlplane/provision/process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <sstream>

#include "proto/document.h"

namespace ratchet::control {

namespace {

constexpr std::size_t kMaxProcFile = 1 << 20;

// Files below /proc have no size that stat() knows.
std::optional<std::string> read_small(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::string out(kMaxProcFile, '\0');
  in.read(out.data(), static_cast<std::streamsize>(out.size()));
  out.resize(static_cast<std::size_t>(in.gcount()));
  return out;
}

struct Fd {
  int value = -1;
  ~Fd() { reset(); }
  void reset() {
    if (value >= 0) ::close(value);
    value = -1;
  }
};

Error failed(const std::string& what) {
  return {errno == ENOSPC ? Code::kNoSpace : Code::kIo, what + ": " + std::strerror(errno) + "."};
}

Status write_record(const std::filesystem::path& path, const std::string& text) {
  const auto temporary = path.string() + ".new";
  Fd file{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
  if (file.value < 0) return failed("Cannot write " + temporary);
  if (::write(file.value, text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::fsync(file.value) != 0 || ::rename(temporary.c_str(), path.c_str()) != 0) {
    return failed("Cannot write " + path.string());
  }
  return ok();
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (const auto& text : texts) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

struct ChildPlan {
  char* const* command;
  char* const* environment;
  const char* folder;
  int output;
  int go;      // read end: one byte means that the record is written
  int report;  // write end: errno of a failed start; closed by exec
};

// What the child inherits would live as long as it: the listening socket above all, whose port a
// restarted control plane would then find in use.
void close_on_exec_all() {
  constexpr unsigned int kFirst = 3;
  if (::syscall(SYS_close_range, kFirst, ~0U, CLOSE_RANGE_CLOEXEC) == 0) return;
  constexpr int kMostOnOldKernels = 4096;
  for (int fd = kFirst; fd < kMostOnOldKernels; ++fd) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
}

// Between fork and exec: only calls that are safe there.
[[noreturn]] void run_child(const ChildPlan& plan) {
  char byte = 0;
  if (::read(plan.go, &byte, 1) != 1) ::_exit(127);
  ::setsid();
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  const int null = ::open("/dev/null", O_RDONLY);
  close_on_exec_all();
  if (::chdir(plan.folder) == 0 && null >= 0 && ::dup2(null, 0) == 0 &&
      ::dup2(plan.output, 1) == 1 && ::dup2(plan.output, 2) == 2) {
    ::execve(plan.command[0], plan.command, plan.environment);
  }
  const int error = errno;
  const auto written = ::write(plan.report, &error, sizeof(error));
  ::_exit(written == sizeof(error) ? 126 : 125);
}

}  // namespace

std::optional<ProcessName> find_process(pid_t pid) {
  const auto stat = read_small("/proc/" + std::to_string(pid) + "/stat");
  if (!stat) return std::nullopt;
  // The name in parentheses may hold anything, so fields are counted from its end.
  const auto name_end = stat->rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(stat->substr(name_end + 1));
  std::string field;
  std::string state;
  ProcessName out{.pid = pid};
  for (int number = 3; number <= 22 && (fields >> field); ++number) {
    if (number == 3) state = field;
    if (number == 22) {
      std::from_chars(field.data(), field.data() + field.size(), out.start_time);
    }
  }
  if (out.start_time == 0 || state == "Z" || state == "X") return std::nullopt;
  return out;
}

bool is_alive(const ProcessName& process) { return find_process(process.pid) == process; }

std::string machine_boot_id() {
  auto text = read_small("/proc/sys/kernel/random/boot_id").value_or("");
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::string encode_record(const ProcessName& process) {
  return "{\"boot\":\"" + machine_boot_id() + "\",\"pid\":" + std::to_string(process.pid) +
         ",\"start_time\":" + std::to_string(process.start_time) + "}\n";
}

std::optional<ProcessName> read_record(const std::filesystem::path& path) {
  const auto text = read_small(path);
  if (!text) return std::nullopt;
  FindingList findings;
  const auto document = Document::parse(*text, {.max_bytes = 64 * 1024}, findings);
  if (!document) return std::nullopt;
  std::string boot;
  std::int64_t pid = 0;
  std::int64_t start_time = 0;
  {
    auto root = document->root(findings, UnknownKeys::kTolerate);
    root.text("boot", boot);
    root.integer("pid", pid, {1, 1 << 30});
    root.integer("start_time", start_time, {1});
  }
  if (!findings.empty() || pid == 0 || start_time == 0) return std::nullopt;
  if (!boot.empty() && boot != machine_boot_id()) return std::nullopt;
  return ProcessName{static_cast<pid_t>(pid), static_cast<std::uint64_t>(start_time)};
}

std::vector<ProcessName> find_marked(const std::string& assignment) {
  std::vector<ProcessName> out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const auto name = entry.path().filename().string();
    pid_t pid = 0;
    const auto [end, fault] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (fault != std::errc() || end != name.data() + name.size()) continue;
    const auto environment = read_small(entry.path() / "environ");
    if (!environment) continue;
    std::string_view rest = *environment;
    while (!rest.empty()) {
      const auto stop = std::min(rest.find('\0'), rest.size());
      if (rest.substr(0, stop) == assignment) {
        if (const auto process = find_process(pid)) out.push_back(*process);
        break;
      }
      rest.remove_prefix(std::min(stop + 1, rest.size()));
    }
  }
  return out;
}

Result<ProcessName> spawn_detached(const SpawnArgs& args) {
  Fd output{::open(args.output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)};
  if (output.value < 0) return failed("Cannot write " + args.output.string());
  std::array<int, 2> go{};
  std::array<int, 2> report{};
  if (::pipe2(go.data(), O_CLOEXEC) != 0) return failed("Cannot make a pipe");
  Fd go_read{go[0]};
  Fd go_write{go[1]};
  if (::pipe2(report.data(), O_CLOEXEC) != 0) return failed("Cannot make a pipe");
  Fd report_read{report[0]};
  Fd report_write{report[1]};

  const auto command = pointers(args.command);
  const auto environment = pointers(args.environment);
  const ChildPlan plan{command.data(), environment.data(), args.folder.c_str(),
                       output.value,   go_read.value,      report_write.value};
  const pid_t pid = ::fork();
  if (pid < 0) return failed("Cannot start " + args.command.front());
  if (pid == 0) {
    // Its own copy of the write end must go, or it would never see that its parent is gone.
    ::close(go_write.value);
    run_child(plan);
  }
  report_write.reset();
  const auto process = find_process(pid);
  Status recorded = process ? write_record(args.record, encode_record(*process))
                            : Status(failed("Cannot see the new process in /proc"));
  const char byte = 1;
  if (!recorded || ::write(go_write.value, &byte, 1) != 1) {
    go_write.reset();
    ::waitpid(pid, nullptr, 0);
    return recorded ? failed("Cannot start " + args.command.front()) : recorded.error();
  }
  int error = 0;
  if (::read(report_read.value, &error, sizeof(error)) == sizeof(error)) {
    ::waitpid(pid, nullptr, 0);
    errno = error;
    return failed("Cannot start " + args.command.front());
  }
  return *process;
}

int open_pidfd(const ProcessName& process) {
  const int fd = static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0));
  if (fd < 0) return -1;
  // Between the check of the start time and the opening the pid may have been given away.
  if (is_alive(process)) return fd;
  ::close(fd);
  return -1;
}

void send_signal(const ProcessName& process, int signal_number) {
  Fd fd{open_pidfd(process)};
  if (fd.value >= 0) ::syscall(SYS_pidfd_send_signal, fd.value, signal_number, nullptr, 0);
}

std::string reap(pid_t pid) {
  int status = 0;
  if (::waitpid(pid, &status, WNOHANG) != pid) return "ended";
  if (WIFSIGNALED(status)) return "was ended by signal " + std::to_string(WTERMSIG(status));
  return "exited with code " + std::to_string(WEXITSTATUS(status));
}

}  // namespace ratchet::control
