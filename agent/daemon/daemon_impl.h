#pragma once

// Inside of Daemon. daemon.cc wires and runs the loop; actions.cc does what the core decides;
// housekeeping.cc looks after the node (facts, disk, logs, status).

#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/daemon/control_link.h"
#include "agent/daemon/daemon.h"
#include "agent/daemon/disk_guard.h"
#include "agent/daemon/gpu_probe.h"
#include "agent/daemon/kernel_log.h"
#include "agent/daemon/metrics.h"
#include "agent/daemon/node_facts.h"
#include "agent/daemon/state_folder.h"
#include "agent/daemon/trainers.h"
#include "agent/daemon/transfers.h"
#include "proto/net/http_server.h"

namespace ratchet::agent {

struct Daemon::Impl {
  Impl(boost::asio::io_context& loop, DaemonSettings chosen, StateFolder folder);

  // daemon.cc
  Status open();
  asio::awaitable<void> begin();
  void post(Input input);
  void drain();
  void handle(const Input& input);
  void arm_core_timer();
  void leave(const Leave& action);
  asio::awaitable<void> wait_for_signals();
  asio::awaitable<void> watch_trainers();
  // Waits, but not beyond the agent's leaving. False: it leaves.
  asio::awaitable<bool> pause_for(Millis time);

  // actions.cc
  void save(const Save& save);
  void act(Action& action);
  void act_on_attempt(Action& action);
  void start_trainer(const StartTrainer& order);
  void log(const std::string& message) const;

  // housekeeping.cc
  asio::awaitable<void> keep_house();
  asio::awaitable<void> check_device();  // preflight
  void check_disk();
  void tell_facts();
  asio::awaitable<void> read_gpus();
  asio::awaitable<void> serve_status(net::Exchange& exchange);
  void update_metrics();
  [[nodiscard]] NodeFacts first_facts() const;

  boost::asio::io_context& io;
  DaemonSettings settings;
  StateFolder state;
  asio::thread_pool pool{2};
  AgentMetrics metrics;
  KernelLog kernel_log;
  GpuProbe gpu_probe;
  AgentCore core;
  std::unique_ptr<ControlLink> link;
  std::unique_ptr<Trainers> trainers;
  std::unique_ptr<Transfers> transfers;
  std::unique_ptr<net::HttpServer> status;
  net::CancelSource log_cancel;

  std::deque<Input> inputs;
  bool draining = false;
  asio::steady_timer core_timer;
  std::set<asio::steady_timer*> sleepers;  // of pause_for(), woken when the agent leaves
  asio::signal_set signals;
  std::optional<Left> left;

  NodeFacts facts;
  NodeFacts told_facts;
  Millis told_facts_at{0};
  Millis answered_at{0};
  Bytes checkpoint_size;
  bool disk_full = false;
  std::string gpu_trouble;
  std::size_t loops = 0;  // coroutines of ours that have not ended
};

}  // namespace ratchet::agent
