#pragma once

// The invariants of control-plane.md (c), each a function with the violated fact in its message,
// checked on every commit and every action; and the states at rest, checked at the end.

#include <deque>
#include <map>
#include <set>
#include <string>
#include <tuple>

#include "tests/sim/world.h"

namespace ratchet::sim {

class Checker {
 public:
  explicit Checker(World& world) : world_(world) {}

  // Before `outcome` is applied to `before`.
  void on_commit(const Tables& before, const control::Outcome& outcome);
  void on_create(const Tables& tables, const control::CreateNode& command);
  void on_start_trainer(const NodeModel& node, const DesiredAttempt& desired);
  void on_answer(const Tables& tables, const std::string& node_id, const SyncResponse& response);
  void on_lines(const std::vector<std::string>& stored, std::uint64_t seq, const std::string& line);
  void on_memory(const Tables& tables, const control::ControlCore& core);
  void on_removed(const Tables& tables, const JobId& job, std::int64_t attempt_no);
  void at_rest(const Tables& tables);
  void on_restart() { ++restarts_; }
  void forget_history(const Tables& tables);  // which were put back to an old copy

 private:
  void i1_epochs_grow(const control::JobRow* before, const control::JobRow& after);
  void i1_old_epochs_change_nothing(const Tables& before, const control::AttemptRow* old,
                                    const control::AttemptRow& row);
  void i2_head_never_goes_back(const control::JobRow* before, const control::JobRow& after);
  void i3_head_is_committed(const control::JobRow* before, const control::JobRow& after,
                            const Tables& tables, const control::Outcome& outcome);
  void i3_checkpoints(const Tables& before, const control::CheckpointRow& row,
                      const control::Outcome& outcome);
  void i4_events(const Tables& before, const control::Outcome& outcome);
  void i5_terminal_is_final(const control::JobRow* before, const control::JobRow& after);
  void i5_ended_is_final(const control::AttemptRow* before, const control::AttemptRow& after);
  void i6_node_cap(const Tables& before, const control::IntentRow& row,
                   const control::Outcome& outcome);
  void i7_gone_by_proof(const control::NodeRow& row);
  void i7_silence_is_no_proof(const Tables& before, const control::EventRow& event,
                              const control::Outcome& outcome);
  void i8b_authority(const Tables& before, const control::AttemptRow& row);
  void i9_outside_is_free(const Tables& before, const control::JobRow* old,
                          const control::JobRow& row, const control::Outcome& outcome);
  void i11_breaker(const Tables& before, const control::NodeRow& row);
  void slots(const Tables& before, const control::AttemptRow& row, const control::Outcome& outcome);
  void cover(const Tables& before, const control::Outcome& outcome);

  World& world_;
  bool restored_ = false;
  std::size_t restarts_ = 0;  // the breaker's count is in memory: a new process may open it again
  std::set<std::pair<JobId, std::int64_t>> started_;  // job and epoch
  std::deque<Millis> quarantines_;
};

}  // namespace ratchet::sim
