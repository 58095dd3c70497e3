#pragma once

// ratchet-control as a child of `ratchet up`: started, waited for, stopped, started again when it
// dies. Linux; one thread.

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "proto/result.h"

namespace ratchet::control::cli {

using Millis = std::chrono::milliseconds;

// The program of that name beside this one, else the one that PATH finds.
Result<std::string> find_program(const std::string& name);

struct ControlPlaneArgs {
  std::string program;
  std::vector<std::string> flags;  // the last one is the address
  std::string state;               // its state folder
  std::string log;                 // its stdout and stderr are appended here
};

class ControlPlaneProcess {
 public:
  explicit ControlPlaneProcess(ControlPlaneArgs args);
  ~ControlPlaneProcess();  // stops it
  ControlPlaneProcess(const ControlPlaneProcess&) = delete;
  ControlPlaneProcess& operator=(const ControlPlaneProcess&) = delete;

  // In its own process group, so that a Ctrl-C reaches only us; it ends cleanly when we die.
  Status start();
  // Its address once it serves; kUnavailable with the end of its log when it died or took longer.
  Result<std::string> wait_for_address(Millis limit);
  // Later starts take this address (the last flag): nodes look for it where it was.
  void listen_again(const std::string& address) { args_.flags.back() = address; }
  // How it ended, when it did: "was ended by signal 9", "left with exit code 1".
  std::optional<std::string> poll_end();
  // SIGTERM, then SIGKILL after `limit`. How it ended.
  std::string stop(Millis limit);
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] std::string log_tail() const;

 private:
  ControlPlaneArgs args_;
  pid_t pid_ = 0;  // 0: does not run
};

// Blocks SIGINT, SIGTERM, SIGHUP and SIGCHLD for this process; wait() takes them.
class SignalInbox {
 public:
  SignalInbox();
  // The next signal, or none after `limit`.
  std::optional<int> wait(Millis limit) const;
};

}  // namespace ratchet::control::cli
