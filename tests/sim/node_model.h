#pragma once

// A machine: its disk, its agent's process, its trainers. Disk and trainers outlive the agent.

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/world.h"

namespace ratchet::sim {

struct DiskAttempt {
  DesiredAttempt desired;
  agent::AttemptNotes notes;
  std::vector<Event> lines;
  bool removed = false;

  // The trainer's process.
  bool started = false;
  bool alive = false;
  bool hung = false;
  bool paused = false;
  bool leaving = false;
  agent::ExitFacts facts;  // known to the agent process that was its parent
  std::uint64_t parent_process = 0;
  std::int64_t step = 0;
  std::uint64_t state = 0;
  std::string parent_manifest;
  std::int64_t sealed_step = -1;
  Millis stop_by = Millis::max();

  bool may_stop = false;  // someone with the right to do so asked for it (I8)
};

class NodeModel {
 public:
  NodeModel(World& world, std::size_t index, std::string provider, std::string intent,
            NodePrice price);

  void boot();  // the machine is up, the agent starts
  void start_agent();
  void crash_agent();
  void power_off(bool keep_disk);  // trainers die with it
  void freeze(Millis time);
  void give(const agent::Input& input);  // at once, if the agent's process is there
  void notice(const ReclaimNotice& notice);
  void sigterm(agent::SigtermMeans means, Millis lead);
  void kill_a_trainer();
  void set_disk(bool full);
  void set_slots(std::int64_t slots) { facts_.slots = slots; }

  // An answer reaches the process that asked.
  void deliver(std::uint64_t process, const agent::Input& answer);

  [[nodiscard]] Millis mono() const { return clock_.at(world_.now); }
  [[nodiscard]] bool agent_alive() const { return core_ != nullptr; }
  [[nodiscard]] bool up() const { return up_; }
  [[nodiscard]] bool gone() const { return gone_; }
  [[nodiscard]] const agent::AgentCore& core() const { return *core_; }
  [[nodiscard]] bool holds_with_authority(const JobId& job, std::int64_t attempt_no) const;
  [[nodiscard]] bool trains(const JobId& job) const;
  [[nodiscard]] std::size_t live_trainers() const;
  [[nodiscard]] std::string name() const { return "node" + std::to_string(index_); }
  [[nodiscard]] const NodeFacts& facts() const { return facts_; }
  [[nodiscard]] bool is_frozen() const { return world_.now < frozen_until_; }

  std::map<agent::AttemptKey, DiskAttempt> disk;
  std::string node_id;
  std::string intent;
  bool link_up = true;    // agent to control
  bool link_down = true;  // control to agent
  bool store_reachable = true;
  bool syncs_pass = true;  // something on the way drops large requests
  bool released = false;   // it gave itself back

 private:
  // Runs later on this machine, unless it was switched off meanwhile.
  void later(Millis wait, std::function<void()> what);
  // The same, bound to the agent's present process.
  void agent_later(Millis wait, std::function<void()> what);
  void run_outcome(const agent::Outcome& outcome);
  void save(const agent::Save& save);
  void act(const agent::Action& action);
  void send(const agent::Action& action);
  void forge(SyncRequest& request);
  void judge_reports(const SyncRequest& request);
  void judge_cap(const agent::AttemptKey& key);
  void arm_tick();
  void note_answer(const agent::Input& answer);
  void judge_stop(const agent::AttemptKey& key, const char* how);
  void extend_lease(std::uint64_t call, Millis ttl, bool by_sync);

  void prepare(const DesiredAttempt& desired);
  void start_trainer(const DesiredAttempt& desired);
  void stop_trainer(const agent::AttemptKey& key, Millis deadline);
  void trainer_step(const agent::AttemptKey& key);
  void seal(DiskAttempt& attempt, CheckpointReason reason);
  void end_trainer(DiskAttempt& attempt, agent::ExitFacts facts, std::optional<ExitKind> record);
  bool fault_due(DiskAttempt& attempt);
  void append(DiskAttempt& attempt, EventBody body);
  void read_lines(const agent::AttemptKey& key);
  void upload(const agent::UploadCheckpoint& action);
  void upload_result(const agent::UploadResult& action);

  World& world_;
  std::size_t index_;
  NodeFacts facts_;
  Clock clock_;
  bool up_ = false;
  bool gone_ = false;
  std::uint64_t machine_ = 0;  // grows at each boot
  std::uint64_t process_ = 0;  // grows at each start of the agent
  Millis frozen_until_{0};
  std::unique_ptr<agent::AgentCore> core_;
  std::map<agent::AttemptKey, std::size_t> read_to_;
  std::map<agent::AttemptKey, bool> exit_told_;
  Millis tick_at_ = Millis::max();
  std::uint64_t tick_ticket_ = 0;
  std::uint64_t uploads_valid_ = 0;
  bool disk_full_ = false;

  // Truth about the authority lease, kept apart from the agent's own arithmetic.
  std::map<std::uint64_t, Millis> sent_at_;
  std::uint64_t sync_call_ = 0;
  Millis sync_given_up_{0};
  Millis lease_until_{-1};     // the longest it can be
  Millis shortest_until_{-1};  // the shortest
  Millis agent_since_{0};
};

}  // namespace ratchet::sim
