#pragma once

// The trainer's ear: one thread that waits for signals and for requests on the control socket
// while the training thread computes.
//
//   SIGTERM            stop within `sigterm_deadline`, last complete step saved
//   SIGINT (Ctrl-C)    the same without haste; a second one ends the process at once
//   control socket     one JSON request a line (proto/control_message.h), one JSON answer a line
//
// Callbacks run on the watcher thread, one at a time. The socket is `<dir>/control.sock` (mode
// 0600); a request is at most 4 KiB, a silent client is dropped after 10 s.

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "proto/result.h"

namespace ratchet::trainer {

using SteadyTime = std::chrono::steady_clock::time_point;

struct StopRequest {
  std::string reason;   // "SIGTERM", "Ctrl-C", "control socket"
  SteadyTime deadline;  // the state must be committed, or given up, by then
};

struct WatcherCallbacks {
  std::function<void(const StopRequest&)> on_stop;            // expected not to return
  std::function<std::string(const std::string&)> on_request;  // one line in, one line out
};

class Watcher {
 public:
  struct Options {
    std::filesystem::path socket_path;  // empty: no control socket
    std::chrono::milliseconds sigterm_deadline{5000};
    std::chrono::milliseconds interrupt_deadline{60000};
  };

  // Blocks SIGTERM and SIGINT in the calling thread and all that it starts later, so call it
  // before any other thread exists.
  static void block_signals();

  static Result<std::unique_ptr<Watcher>> start(Options options, WatcherCallbacks callbacks);
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

 private:
  Watcher(Options options, WatcherCallbacks callbacks);
  Status open();
  void loop();
  void handle_signal();
  void handle_client();

  const Options options_;
  const WatcherCallbacks callbacks_;
  int signal_fd_ = -1;
  int wake_fd_ = -1;
  int listen_fd_ = -1;
  std::thread thread_;
};

}  // namespace ratchet::trainer
