#pragma once

// The trainers of this node: starts them, watches their events and their end, takes them over from
// an earlier agent process. What it sees becomes inputs for the core; what it is told to do it does
// at once. Loop thread only.

#include <boost/asio/any_io_executor.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/core/agent_core.h"
#include "agent/daemon/event_tail.h"
#include "agent/daemon/kernel_log.h"
#include "agent/daemon/process.h"
#include "agent/daemon/state_folder.h"
#include "agent/daemon/trainer_log.h"
#include "proto/attempt_spec.h"

namespace ratchet::agent {

namespace asio = boost::asio;

struct PreparedInputs {
  AttemptPaths paths;
  ResumePoint resume;
};

// AttemptSpec of an attempt whose inputs are on this node.
Result<AttemptSpec> make_trainer_spec(const DesiredAttempt& desired, const PreparedInputs& inputs,
                                      const std::filesystem::path& folder);

class Trainers {
 public:
  struct Settings {
    std::string program;                          // ratchet-trainer
    std::optional<std::filesystem::path> cgroup;  // parent of the trainers' groups
    Millis sigterm_deadline{5000};                // that a trainer takes for SIGTERM
  };
  using Report = std::function<void(Input)>;
  using EventSink = std::function<void(const AttemptKey&, const Event&, bool seen_before)>;

  // All borrowed. `see` gets every readable event; `seen_before` are those that an earlier
  // process of the agent had the chance to see.
  Trainers(asio::any_io_executor executor, Settings settings, StateFolder& state,
           KernelLog& kernel_log, Report report, EventSink see);

  void set_gpus(std::vector<std::string> uuids) { gpus_ = std::move(uuids); }

  // From an earlier process of the agent: its lines from the first, then its end if it has ended.
  void take_over(const StoredAttempt& stored);

  void start(const DesiredAttempt& desired, const PreparedInputs& inputs);
  void stop(const StopTrainer& order);
  void signal(const AttemptKey& key, int number);  // to the whole session
  void forget(const AttemptKey& key);              // its files are about to go

  // New lines and ends since the last call. Returns whether any trainer lives.
  bool look();

  // Lines to send, of all attempts, oldest first.
  std::vector<TrainerLine> lines(const AgentCore& core);
  [[nodiscard]] std::uint64_t lines_waiting() const;

  // Sends what is new of the logs; overlapping calls are one. The log of a trainer that has ended
  // is sent to its end, whatever becomes of the attempt meanwhile.
  void forward_logs(net::HttpClient& http, net::CancelSource& cancel);
  void trim_logs();

  [[nodiscard]] std::size_t alive() const;
  [[nodiscard]] std::size_t under_way() const { return under_way_; }

 private:
  struct Running {
    Running(const DesiredAttempt& wanted, EventTail reader,
            std::shared_ptr<LogForwarder> forwarder);
    DesiredAttempt desired;
    EventTail tail;
    std::shared_ptr<LogForwarder> log;
    bool forwarding = false;
    std::optional<TrainerProcess> process;
    pid_t pid = 0;
    std::vector<std::string> gpus;
    std::filesystem::path cgroup;
    std::uint64_t started_us = 0;  // of the kernel log's clock
    std::int64_t settled_step = -1;
    bool ended = false;
    bool catching_up = false;  // reads what was written before this process began
  };

  Running& add(const DesiredAttempt& desired, TailCursor cursor);
  Status launch(Running& running, const PreparedInputs& inputs);
  std::vector<std::string> free_gpus(std::int64_t count) const;
  bool read_lines(const AttemptKey& key, Running& running);
  void seal(const AttemptKey& key, const Running& running, const CheckpointEvent& event);
  void report_end(const AttemptKey& key, Running& running, const ProcessEnd& end);
  asio::awaitable<void> ask_to_stop(AttemptKey key, std::filesystem::path socket, Millis deadline);
  asio::awaitable<void> forward(AttemptKey key, net::HttpClient& http, net::CancelSource& cancel);

  asio::any_io_executor executor_;
  Settings settings_;
  StateFolder& state_;
  KernelLog& kernel_log_;
  Report report_;
  EventSink see_;
  std::vector<std::string> gpus_;
  std::map<AttemptKey, Running> running_;
  std::size_t under_way_ = 0;
};

}  // namespace ratchet::agent
