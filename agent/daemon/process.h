#pragma once

// A trainer as a process: its own session and process group, known for ever by (pid, start time),
// so that an agent that was restarted, or crashed, finds it again and no other process that got its
// pid. A stopped (SIGSTOP) trainer is alive.
//
// start() lets the new process wait until `persist` has stored its identity: an agent that dies in
// between leaves no trainer that nobody knows of.
//
// Loop thread only; calls take microseconds, start() milliseconds.

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/result.h"

namespace ratchet::agent {

struct ProcessIdentity {
  pid_t pid = 0;
  std::uint64_t start_time = 0;  // clock ticks since boot: /proc/<pid>/stat field 22
  std::string boot_id;           // of the kernel
  bool operator==(const ProcessIdentity&) const = default;
};

struct ProcessStat {
  char state = '?';
  pid_t group = 0;
  pid_t session = 0;
  std::uint64_t start_time = 0;
};
// Text of /proc/<pid>/stat; the command's name in it may hold spaces and parentheses.
std::optional<ProcessStat> parse_process_stat(std::string_view text);
std::optional<ProcessStat> process_stat(pid_t pid);

std::string kernel_boot_id();

// Whether that very process exists and has not ended.
bool is_alive(const ProcessIdentity& identity);

struct SpawnArgs {
  std::string program;                   // a path, or a name that PATH finds
  std::vector<std::string> arguments;    // without the program
  std::vector<std::string> environment;  // NAME=value, besides the agent's own
  std::filesystem::path folder;          // working folder
  std::filesystem::path log;             // gets stdout and stderr, appended
  std::filesystem::path cgroup;          // to join before it runs; empty: none
};

struct ProcessEnd {
  bool known = false;  // whether the status could be read: only a parent can
  int exit_code = -1;  // -1: ended by a signal
  int signal = 0;
};

class TrainerProcess {
 public:
  using Persist = std::function<Status(const ProcessIdentity&)>;
  static Result<TrainerProcess> start(const SpawnArgs& args, const Persist& persist);
  // kNotFound when it has ended.
  static Result<TrainerProcess> attach(const ProcessIdentity& identity);

  TrainerProcess(TrainerProcess&& other) noexcept;
  TrainerProcess& operator=(TrainerProcess&& other) noexcept;
  TrainerProcess(const TrainerProcess&) = delete;
  TrainerProcess& operator=(const TrainerProcess&) = delete;
  ~TrainerProcess();  // closes the handle; the process lives on

  [[nodiscard]] const ProcessIdentity& identity() const { return identity_; }
  [[nodiscard]] bool is_child() const { return child_; }
  // Becomes readable when the process has ended. Borrowed.
  [[nodiscard]] int pidfd() const { return pidfd_; }

  // To the process alone; the trainer tells its ranks itself.
  void signal(int number) const;
  // To all of its session, or what is left of it.
  void signal_group(int number) const;
  // Empty while it runs. Reads the status once and kills what is left of its session.
  std::optional<ProcessEnd> reap();

 private:
  TrainerProcess(ProcessIdentity identity, int pidfd, bool child)
      : identity_(std::move(identity)), pidfd_(pidfd), child_(child) {}

  ProcessIdentity identity_;
  int pidfd_ = -1;
  bool child_ = false;
};

// process.json: {"pid","start_time","boot_id","epoch","gpus"}.
struct ProcessRecord {
  ProcessIdentity identity;
  std::int64_t epoch = 0;
  std::vector<std::string> gpus;  // UUIDs of those that it holds
};
std::string encode_process_record(const ProcessRecord& record);
Result<ProcessRecord> decode_process_record(std::string_view text);

}  // namespace ratchet::agent
