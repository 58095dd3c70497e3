#pragma once

// Starts the other ranks of a data-parallel attempt as processes of this program and watches them.
// They get SIGKILL when this process dies, however it dies, and when the launcher is destroyed.

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "proto/result.h"

namespace ratchet::trainer {

class RankLauncher {
 public:
  struct Options {
    int world_size = 1;
    std::string attempt_file;  // AttemptSpec document that every rank runs
    std::string rendezvous;    // see ProcessGroup
    std::string log_dir;       // gets rank-<n>.log
  };
  // `on_death` runs on the watching thread when a rank ends with anything but success, with a full
  // sentence. It may end the process.
  static Result<std::unique_ptr<RankLauncher>> start(
      const Options& options, std::function<void(const std::string&)> on_death);
  ~RankLauncher();
  RankLauncher(const RankLauncher&) = delete;
  RankLauncher& operator=(const RankLauncher&) = delete;

  // Waits until every rank has ended well (they do, after the last step).
  void join();

 private:
  RankLauncher(std::vector<pid_t> pids, std::function<void(const std::string&)> on_death);
  void watch();

  const std::vector<pid_t> pids_;  // of ranks 1, 2, ...
  const std::function<void(const std::string&)> on_death_;
  std::atomic<bool> closing_{false};
  std::thread thread_;
};

}  // namespace ratchet::trainer
