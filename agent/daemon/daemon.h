#pragma once

// The agent as a process: the rim around AgentCore. One loop thread owns everything; a small pool
// hashes, reads and asks the GPU driver.
//
//   inputs (answers, lines, exits, notices, signals, timers)
//     -> AgentCore::handle -> saves (synced to disk) -> actions (calls, trainers, transfers)
//
// Inputs queue up, so that the core is never entered from within an action of its own.

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "agent/core/agent_core.h"
#include "proto/result.h"
#include "proto/units.h"

namespace ratchet::agent {

struct DaemonSettings {
  std::string control;  // URL
  std::string ca_file;
  bool allow_plaintext = false;
  std::string state;  // folder
  std::string join_token;
  std::string trainer = "ratchet-trainer";
  std::string name;  // empty: the host's
  std::string provider = "static";
  NodePrice price = NodePrice::kOwned;
  double usd_per_hour = 0;
  std::string intent;
  SigtermMeans sigterm = SigtermMeans::kDetach;
  Millis sigterm_lead{-1};
  std::string listen;  // "127.0.0.1:9400" for /metrics and /healthz; empty: none
  Bytes cache_limit;   // 0: half of the disk
  Bytes disk_reserve = mebibytes(512);
  std::string release_command;  // run by /bin/sh when the node is to be given back
  bool use_cgroups = true;
  AgentSettings core;
};

struct Left {  // why the agent ended
  LeaveWhy why = LeaveWhy::kDetached;
  std::string message;
};

class Daemon {
 public:
  // Opens the state folder (one agent at a time) and the status address.
  static Result<std::unique_ptr<Daemon>> create(boost::asio::io_context& io,
                                                DaemonSettings settings);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Runs the loop until the agent leaves: SIGTERM, reclaimed, or released. SIGINT counts as
  // SIGTERM.
  Left run();

  // From the loop thread: a notice of the cloud's (agent/reclaim).
  void notice(ReclaimNotice notice);
  // Whether every sealed checkpoint of this node has reached the store and nothing runs any more.
  [[nodiscard]] bool is_saved() const;
  [[nodiscard]] std::string status_url() const;  // empty without `listen`

 private:
  struct Impl;
  explicit Daemon(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// CLOCK_BOOTTIME: counts suspend, never goes back.
Millis boot_time();

}  // namespace ratchet::agent
