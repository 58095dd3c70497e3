#include "agent/daemon/process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "agent/daemon/files.h"
#include "proto/document.h"

extern char** environ;

namespace ratchet::agent {
namespace {

constexpr std::size_t kMaxProcRecord = 4096;
// waitid's P_PIDFD, which older C libraries do not name.
constexpr auto kPidfdKind = static_cast<idtype_t>(3);

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&&) = delete;
  ~Fd() { reset(); }
  void reset() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_ = -1;
};

struct Pipe {
  Fd read;
  Fd write;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return io_error("Cannot make a pipe", errno);
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

int open_pidfd(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

// All that the child needs, made before fork: after it only async-signal-safe calls are allowed.
struct ChildPlan {
  std::vector<char*> argv;
  std::vector<char*> envp;
  const char* program = nullptr;
  const char* folder = nullptr;
  int log = -1;
  int cgroup_procs = -1;
  int gate = -1;
  int failure = -1;
};

[[noreturn]] void fail_child(const ChildPlan& plan, int error_number) {
  static_cast<void>(::write(plan.failure, &error_number, sizeof error_number) + 1);
  ::_exit(127);
}

// Asio's sockets are not made close-on-exec: a trainer that outlives the agent would keep its
// address taken and its connections open.
void keep_descriptors_from_exec(int failure) {
  constexpr int kFirst = 3;
  if (::syscall(SYS_close_range, kFirst, ~0U, CLOSE_RANGE_CLOEXEC) == 0) return;
  const long most = ::sysconf(_SC_OPEN_MAX);
  for (int fd = kFirst; fd < most; ++fd) {
    if (fd != failure) ::close(fd);
  }
}

[[noreturn]] void run_child(const ChildPlan& plan) {
  ::setsid();
  char go = 0;
  ssize_t got = 0;
  while ((got = ::read(plan.gate, &go, 1)) < 0 && errno == EINTR) {
  }
  if (got != 1) ::_exit(126);
  if (plan.cgroup_procs >= 0 && ::write(plan.cgroup_procs, "0", 1) != 1) fail_child(plan, errno);
  if (::chdir(plan.folder) != 0) fail_child(plan, errno);
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(plan.log, STDOUT_FILENO);
  ::dup2(plan.log, STDERR_FILENO);
  keep_descriptors_from_exec(plan.failure);
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execvpe(plan.program, plan.argv.data(), plan.envp.data());
  fail_child(plan, errno);
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  out.reserve(texts.size() + 1);
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

std::vector<std::string> merged_environment(const std::vector<std::string>& extra) {
  std::vector<std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string_view name = text.substr(0, text.find('=') + 1);
    bool replaced = name.rfind("RATCHET_JOIN_TOKEN", 0) == 0;  // no business of a trainer
    for (const std::string& item : extra) replaced = replaced || item.rfind(name, 0) == 0;
    if (!replaced) out.emplace_back(text);
  }
  out.insert(out.end(), extra.begin(), extra.end());
  return out;
}

// Kills and reaps a child that must not run.
void abandon(pid_t pid) {
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

template <class Number>
bool read_number(std::string_view text, Number& out) {
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), out);
  return failed == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::optional<ProcessStat> parse_process_stat(std::string_view text) {
  const std::size_t close = text.rfind(')');
  if (close == std::string_view::npos || close + 2 >= text.size()) return std::nullopt;
  std::vector<std::string_view> fields;  // from field 3 on
  std::string_view rest = text.substr(close + 2);
  while (!rest.empty() && fields.size() < 20) {
    const std::size_t space = rest.find_first_of(" \n");
    fields.push_back(rest.substr(0, space));
    rest = space == std::string_view::npos ? std::string_view() : rest.substr(space + 1);
  }
  ProcessStat stat;
  if (fields.size() < 20 || fields[0].size() != 1 || !read_number(fields[2], stat.group) ||
      !read_number(fields[3], stat.session) || !read_number(fields[19], stat.start_time)) {
    return std::nullopt;
  }
  stat.state = fields[0][0];
  return stat;
}

std::optional<ProcessStat> process_stat(pid_t pid) {
  const auto text = read_file("/proc/" + std::to_string(pid) + "/stat", kMaxProcRecord);
  return text ? parse_process_stat(*text) : std::nullopt;
}

std::string kernel_boot_id() {
  const auto text = read_file("/proc/sys/kernel/random/boot_id", kMaxProcRecord);
  return text ? text->substr(0, text->find('\n')) : std::string();
}

bool is_alive(const ProcessIdentity& identity) {
  const auto stat = process_stat(identity.pid);
  return stat && stat->start_time == identity.start_time && stat->state != 'Z' &&
         stat->state != 'X' && identity.boot_id == kernel_boot_id();
}

Result<TrainerProcess> TrainerProcess::start(const SpawnArgs& args, const Persist& persist) {
  auto gate = make_pipe();
  if (!gate) return gate.error();
  auto failure = make_pipe();
  if (!failure) return failure.error();
  const Fd log(::open(args.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (log.get() < 0) return io_error("Cannot open '" + args.log.string() + "'", errno);
  const std::string procs = (args.cgroup / "cgroup.procs").string();
  const Fd cgroup(args.cgroup.empty() ? -1 : ::open(procs.c_str(), O_WRONLY | O_CLOEXEC));

  std::vector<std::string> arguments = args.arguments;
  arguments.insert(arguments.begin(), args.program);
  std::vector<std::string> environment = merged_environment(args.environment);
  const ChildPlan plan{
      pointers(arguments), pointers(environment), args.program.c_str(), args.folder.c_str(),
      log.get(),           cgroup.get(),          gate->read.get(),     failure->write.get()};
  const pid_t pid = ::fork();
  if (pid < 0) return io_error("Cannot start a process", errno);
  if (pid == 0) {
    // With the write end open in the child itself, the agent's death would not be seen.
    ::close(gate->write.get());
    run_child(plan);
  }
  Fd pidfd(open_pidfd(pid));
  const auto stat = process_stat(pid);
  if (pidfd.get() < 0 || !stat) {
    abandon(pid);
    return Error{Code::kIo, "Cannot watch the new trainer process: no pidfd. Linux 5.3 is needed."};
  }
  const ProcessIdentity identity{pid, stat->start_time, kernel_boot_id()};
  if (Status stored = persist(identity); !stored) {
    abandon(pid);
    return stored.error();
  }
  failure->write.reset();
  static_cast<void>(::write(gate->write.get(), "g", 1) + 1);
  int error_number = 0;
  if (::read(failure->read.get(), &error_number, sizeof error_number) > 0) {
    abandon(pid);
    return io_error("Cannot run the trainer '" + args.program + "'", error_number);
  }
  const int handle = ::fcntl(pidfd.get(), F_DUPFD_CLOEXEC, 0);
  return TrainerProcess(identity, handle, true);
}

Result<TrainerProcess> TrainerProcess::attach(const ProcessIdentity& identity) {
  const Error gone{Code::kNotFound, "Process " + std::to_string(identity.pid) + " has ended."};
  Fd pidfd(open_pidfd(identity.pid));
  // Asked after the handle is held: from here on the pid cannot come to mean another process.
  if (pidfd.get() < 0 || !is_alive(identity)) return gone;
  return TrainerProcess(identity, ::fcntl(pidfd.get(), F_DUPFD_CLOEXEC, 0), false);
}

TrainerProcess::TrainerProcess(TrainerProcess&& other) noexcept
    : identity_(std::move(other.identity_)),
      pidfd_(std::exchange(other.pidfd_, -1)),
      child_(other.child_) {}

TrainerProcess& TrainerProcess::operator=(TrainerProcess&& other) noexcept {
  std::swap(identity_, other.identity_);
  std::swap(pidfd_, other.pidfd_);
  std::swap(child_, other.child_);
  return *this;
}

TrainerProcess::~TrainerProcess() {
  if (pidfd_ >= 0) ::close(pidfd_);
}

void TrainerProcess::signal(int number) const {
  ::syscall(SYS_pidfd_send_signal, pidfd_, number, nullptr, 0);
}

void TrainerProcess::signal_group(int number) const {
  signal(number);
  // Members by their own record, not by kill(-group): the leader may be reaped already and its
  // number given to somebody else's group.
  std::error_code failed;
  std::filesystem::directory_iterator entry("/proc", failed);
  for (; !failed && entry != std::filesystem::directory_iterator(); entry.increment(failed)) {
    pid_t pid = 0;
    if (!read_number(std::string_view(entry->path().filename().native()), pid)) continue;
    const auto stat = process_stat(pid);
    if (pid != identity_.pid && stat && stat->session == identity_.pid &&
        stat->start_time >= identity_.start_time) {
      ::kill(pid, number);
    }
  }
}

std::optional<ProcessEnd> TrainerProcess::reap() {
  pollfd ended{pidfd_, POLLIN, 0};
  if (::poll(&ended, 1, 0) != 1) return std::nullopt;
  signal_group(SIGKILL);
  siginfo_t info{};
  ProcessEnd end;
  if (!child_ || ::waitid(kPidfdKind, static_cast<id_t>(pidfd_), &info, WEXITED | WNOHANG) != 0 ||
      info.si_pid == 0) {
    return end;
  }
  end.known = true;
  if (info.si_code == CLD_EXITED) {
    end.exit_code = info.si_status;
  } else {
    end.signal = info.si_status;
  }
  return end;
}

std::string encode_process_record(const ProcessRecord& record) {
  const nlohmann::json object = {{"pid", record.identity.pid},
                                 {"start_time", record.identity.start_time},
                                 {"boot_id", record.identity.boot_id},
                                 {"epoch", record.epoch},
                                 {"gpus", record.gpus}};
  return object.dump() + "\n";
}

Result<ProcessRecord> decode_process_record(std::string_view text) {
  FindingList findings;
  ProcessRecord record;
  if (const auto document = Document::parse(text, {.max_bytes = kMaxProcRecord}, findings)) {
    ObjectReader root = document->root(findings, UnknownKeys::kTolerate);
    std::int64_t pid = 0;
    std::int64_t start_time = 0;
    root.integer("pid", pid, {1, 1 << 30});
    root.integer("start_time", start_time, {0});
    root.text("boot_id", record.identity.boot_id);
    root.integer("epoch", record.epoch, {0});
    root.texts("gpus", record.gpus, 64);
    record.identity.pid = static_cast<pid_t>(pid);
    record.identity.start_time = static_cast<std::uint64_t>(start_time);
  }
  if (record.identity.pid <= 0) {
    return Error{Code::kCorrupt, "A process record is not readable."};
  }
  return record;
}

}  // namespace ratchet::agent
