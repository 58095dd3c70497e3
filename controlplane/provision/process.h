#pragma once

// Processes of this machine, named so that a reused pid is never taken for the one that was meant.
// Linux only (/proc, pidfd). Any thread.

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "proto/result.h"

namespace ratchet::control {

struct ProcessName {
  pid_t pid = 0;
  std::uint64_t start_time = 0;  // clock ticks since the machine's start, field 22 of /proc/N/stat
  bool operator==(const ProcessName&) const = default;
};

// Nothing when there is no such process, or only its zombie is left.
std::optional<ProcessName> find_process(pid_t pid);
bool is_alive(const ProcessName& process);

// Changes with each start of the machine: a record from before another one names nothing.
std::string machine_boot_id();

// Record files, {"boot":"..","pid":1,"start_time":2}. `boot` may lack (agents' own records).
std::string encode_record(const ProcessName& process);
std::optional<ProcessName> read_record(const std::filesystem::path& path);

// Live processes of this user whose environment holds "NAME=value".
std::vector<ProcessName> find_marked(const std::string& assignment);

struct SpawnArgs {
  std::vector<std::string> command;      // absolute program, then its arguments
  std::vector<std::string> environment;  // whole, "NAME=value"
  std::filesystem::path folder;          // working directory
  std::filesystem::path output;          // stdout and stderr are appended here
  std::filesystem::path record;          // written before the program starts
};

// Starts a program in its own session, so that it outlives this process. Its record is on disk
// before the program's first instruction; when it cannot be written, the program never starts.
Result<ProcessName> spawn_detached(const SpawnArgs& args);

// A descriptor that becomes readable when the process ends; -1 when it is no longer there.
int open_pidfd(const ProcessName& process);

// Sends the signal to exactly this process, or to nobody.
void send_signal(const ProcessName& process, int signal_number);

// Takes a zombie off the table when the process was a child of ours; how it ended, for people.
std::string reap(pid_t pid);

}  // namespace ratchet::control
