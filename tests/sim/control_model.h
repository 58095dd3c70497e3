#pragma once

// The control plane's process: core, store, parked polls. Crashes lose memory only, and an outcome
// that was not committed.

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "tests/sim/world.h"

namespace ratchet::sim {

enum class CrashPoint { kNone, kBeforeCommit, kAfterCommit };

class ControlModel {
 public:
  explicit ControlModel(World& world);

  void start();
  void crash();
  void restore_backup();  // the store of some time ago
  void backup() { backup_ = tables; }
  void freeze(Millis time);
  void jump_wall(Millis by) { wall_jump_ += by; }
  void crash_at_next(CrashPoint point) { crash_point_ = point; }

  // None when the process died of it.
  std::optional<control::Outcome> submit(const control::Input& input);

  void on_hello(NodeModel& node, std::uint64_t process, const agent::SendHello& hello);
  void on_heartbeat(NodeModel& node, std::uint64_t process, const agent::SendHeartbeat& beat);
  void on_sync(NodeModel& node, std::uint64_t process, const agent::SendSync& sync);
  void on_notice(NodeModel& node, std::uint64_t process, const agent::SendNotice& notice);

  [[nodiscard]] bool alive() const { return core_ != nullptr; }
  [[nodiscard]] control::Now clock() const;
  [[nodiscard]] const control::ControlCore& core() const { return *core_; }

  Tables tables;
  std::int64_t generation = 0;
  bool restored = false;  // from a backup: epochs may have gone back once

 private:
  struct Parked {
    NodeModel* node = nullptr;
    std::uint64_t process = 0;
    std::uint64_t call = 0;
    std::uint64_t ticket = 0;
  };

  void arm_tick();
  void answer_parked(const std::string& node_id);
  void answer_sync(NodeModel& node, std::uint64_t process, std::uint64_t call,
                   const std::string& node_id, const SyncRequest* request,
                   const control::Outcome* outcome);
  void take_lines(const SyncRequest& request, SyncResponse& response);
  void reply(NodeModel& node, std::uint64_t process, agent::Input answer);
  void refuse(NodeModel& node, std::uint64_t process, std::uint64_t call, agent::CallError error);
  // False when nobody is at home; postpones while the process is frozen.
  bool ready(std::function<void()> again);
  HeartbeatResponse heartbeat_response(const std::string& node_id) const;

  World& world_;
  std::unique_ptr<control::ControlCore> core_;
  std::string boot_id_;
  Clock clock_;
  Millis wall_jump_{0};
  Millis frozen_until_{0};
  Millis tick_at_ = Millis::max();
  std::uint64_t tick_ticket_ = 0;
  CrashPoint crash_point_ = CrashPoint::kNone;
  std::map<std::string, Parked> parked_;
  std::uint64_t tickets_ = 0;
  std::int64_t node_numbers_ = 0;
  std::optional<Tables> backup_;
};

}  // namespace ratchet::sim
