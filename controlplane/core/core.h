#pragma once

// The works behind ControlCore: live state in memory, and the handlers that move it by the pure
// machines of this folder. One instance, one thread. Split over core_*.cc by subject.

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "controlplane/core/control_core.h"
#include "controlplane/core/event_data.h"
#include "controlplane/core/fences.h"
#include "controlplane/core/hang_watch.h"
#include "controlplane/core/job_machine.h"
#include "controlplane/core/node_machine.h"
#include "controlplane/core/recovery_policy.h"
#include "controlplane/core/timers.h"

namespace ratchet::control {

struct LiveAttempt {
  AttemptRow row;
  bool may_live = true;  // its process may run on the node, whatever the row says
  bool stepped = false;
  bool hangs = false;
  std::int64_t slots = 1;
  std::int64_t asked_rev = 0;  // of the node's wish when it last changed for this attempt
  HangWatch watch;
};

struct LiveJob {
  JobRow row;
  std::map<std::int64_t, LiveAttempt> attempts;  // by number: the current one and what may yet live
  std::int64_t current = 0;                      // number of the current attempt; 0: none
  bool lost = false;  // the current attempt is out of reach and its authority is over
  std::optional<InterruptionRow> interruption;      // last one
  std::vector<CheckpointRow> checkpoints;           // not retired, not discarded
  std::int64_t high_step = 0;                       // most steps that any attempt has done
  std::int64_t upload_awaited = 0;                  // attempt whose sealed checkpoint is on its way
  std::map<std::string, std::int64_t> unexplained;  // ends of unknown cause by node
  Millis stop_deadline{0};
  Millis progress_saved{0};
  std::string intent;  // open provision intent made for it
};

struct LiveNode {
  NodeRow row;
  bool heard = false;    // since this process began
  bool synced = false;   // what its agent's process runs is known, from a sync sent since we began
  bool counted = false;  // in the inventory
  bool agent_is_new = false;  // its agent's process began after ours
  Millis last_contact{0};
  Millis authority_until{0};
  Liveness liveness = Liveness::kNeverSeen;
  std::int64_t rev = 0;
  std::uint64_t last_seq = 0;
  std::vector<std::string> former;  // earlier incarnations, newest last
  int alternations = 0;
  std::set<std::pair<JobId, std::int64_t>> attempts;  // those that may live here
  std::int64_t foreign = 0;                           // processes here that are not ours to know
  std::optional<Millis> drain_deadline;
  bool drained_by_notice = false;
  bool notice_synced = false;  // the present notice was in a sync: its absence means it passed
  UnixMillis notice_at{0};
  std::optional<ReclaimNotice> simulate;
};

struct QueueKey {
  std::int64_t priority_negated = 0;
  UnixMillis created_at{0};
  JobId id;
  auto operator<=>(const QueueKey&) const = default;
};

class Core {
 public:
  Core(CoreSettings settings, std::vector<ControlCore::Provider> providers, std::string boot_id,
       LoadedRows rows, Now now, std::uint64_t seed);

  Outcome handle(const Input& input, Now now);
  [[nodiscard]] SyncResponse desired_for(const std::string& node_id, Now now) const;
  [[nodiscard]] std::int64_t desired_rev(const std::string& node_id) const;
  [[nodiscard]] const JobRow* job(const JobId& id) const;
  [[nodiscard]] std::optional<NodeView> node(const std::string& id, Now now) const;
  [[nodiscard]] std::vector<NodeView> nodes(Now now) const;
  [[nodiscard]] bool inventory_open() const { return inventory_open_; }
  [[nodiscard]] std::optional<Millis> next_timer(Now now) const;
  void disable(ControlCore::Fence fence);

 private:
  using Fence = ControlCore::Fence;
  using Provider = ControlCore::Provider;

  // core_load.cc
  void load_nodes(std::vector<NodeRow> rows);
  void load_jobs(LoadedRows& rows);
  void resume_job(LiveJob& job);
  void begin();

  // core_jobs.cc: wishes of users
  void on(const SubmitJob& input);
  void on(const InputsReady& input);
  void on(const PauseJob& input);
  void on(const ResumeJob& input);
  void on(const CancelJob& input);
  bool apply(LiveJob& job, JobEvent event, EventData data = {}, std::string_view cause = {});
  void finish(LiveJob& job);
  void forget_if_done(LiveJob& job);

  // core_nodes.cc: what nodes and their owners say
  void on(const HelloInput& input);
  void on(const HeartbeatInput& input);
  void on(const NoticeInput& input);
  void on(const DrainNode& input);
  void on(const UndrainNode& input);
  void on(const SimulateReclaim& input);
  void on(const NodeGone& input);
  LiveNode* known(const std::string& node_id, const std::string& incarnation);
  void new_process(LiveNode& node, const std::string& incarnation);
  void contact(LiveNode& node);
  void take_facts(LiveNode& node, const NodeFacts& facts);
  void take_notice(LiveNode& node, const ReclaimNotice& notice);
  void drop_notice(LiveNode& node);
  void set_leaving(LiveNode& node, bool leaving);
  void drain(LiveNode& node, Millis deadline, const std::string& reason);
  void quarantine(LiveNode& node, const std::string& reason);
  void move_schedulable(LiveNode& node, NodeEvent event, const std::string& reason);
  void liveness_due(LiveNode& node);
  void stall_jobs(const LiveNode& node, const std::string& reason);
  void authority_due(LiveNode& node);
  void release_if_drained(LiveNode& node);
  [[nodiscard]] bool proves_death(const LiveNode& node) const;

  // core_sync.cc: what agents report
  void on(const SyncInput& input);
  void on_absences(LiveNode& node, const SyncRequest& request);
  void on_report(LiveNode& node, const AttemptReport& report, bool in_order);
  void on_known_report(LiveNode& node, LiveJob& job, LiveAttempt& attempt,
                       const AttemptReport& report);
  void on_unknown_report(LiveNode& node, LiveJob& job, const AttemptReport& report, bool in_order);
  void on_absent(LiveNode& node, const SyncRequest& request, LiveJob& job, LiveAttempt& attempt);
  void apply_current(LiveNode& node, LiveJob& job, LiveAttempt& attempt,
                     const AttemptReport& report);
  void reattach(LiveJob& job, LiveAttempt& attempt);
  bool may_regrant(const LiveJob& job, const LiveAttempt& attempt,
                   const AttemptReport& report) const;
  void regrant(LiveJob& job, LiveAttempt& attempt);
  void jump_epoch(LiveNode& node, LiveJob& job, const AttemptReport& report);
  void progress(LiveJob& job, LiveAttempt& attempt, const AttemptReport& report);
  void watch_hang(LiveNode& node, LiveJob& job, LiveAttempt& attempt, const AttemptReport& report);
  void acknowledge_end(const AttemptReport& report);
  void upload_over(LiveJob& job);

  // core_publish.cc: checkpoints
  bool publish_all(LiveJob& job, const AttemptReport& report);
  [[nodiscard]] std::int64_t epoch_of(const LiveJob& job, const AttemptReport& report) const;
  bool publish(LiveJob& job, const AttemptReport& report, const SealedCheckpoint& sealed);
  void move_head(LiveJob& job, const CheckpointRow& row, std::string_view event);
  void adopt_orphans(LiveJob& job);
  void retire_old(LiveJob& job);
  void orphans_due(LiveJob& job);

  // core_recovery.cc: ends, offers, interruptions
  void end_current(LiveJob& job, LiveAttempt& attempt, std::string_view source);
  void lose_current(LiveJob& job, LiveAttempt& attempt);
  void recover(LiveJob& job, LiveAttempt& attempt, EndCause cause, std::string_view source,
               const std::string& reason);
  void fail(LiveJob& job, Failure failure);
  void process_gone(LiveJob& job, std::int64_t attempt_no);
  void interrupt(LiveJob& job, const LiveAttempt& attempt, EndCause cause, std::string_view source,
                 const std::string& reason);
  void stage(LiveJob& job, RecoveryStage stage);
  void recovered(LiveJob& job, const LiveAttempt& attempt);
  void offer_due(LiveJob& job);
  void capacity_due(LiveJob& job);

  // core_clock.cc
  void follow_wall_clock();

  // core_schedule.cc: places and intents
  void on(const IntentSent& input);
  void on(const IntentAnswered& input);
  void on(const IntentGone& input);
  void on(const Tick& input);
  void place(LiveJob& job);
  void run_timers();
  void run_timer(const Timers::Key& key);
  void run_scheduler();
  void offer(LiveJob& job, LiveNode& node, std::int64_t slots);
  [[nodiscard]] bool is_held(const LiveJob& job) const;
  [[nodiscard]] bool may_be_given_work(const LiveNode& node) const;
  [[nodiscard]] std::int64_t free_slots(const LiveNode& node) const;
  void ask_for_node(LiveJob& job);
  bool plan_intent(const Provider& provider, const JobId& job_id, const Requirements& needs);
  void keep_nodes();
  void intent_over(const std::string& key, IntentState state, const std::string& message);
  void boot_due(const std::string& key);
  [[nodiscard]] std::int64_t provider_load(const Provider& provider) const;
  void close_inventory();
  void check_inventory();

  // core_out.cc: what comes out
  void emit(LiveJob& job, std::string_view type, const EventData& data = {},
            std::string_view cause = {});
  void emit_attempt(LiveJob& job, const LiveAttempt& attempt, std::string_view type,
                    const EventData& data = {}, std::string_view cause = {});
  void emit_node(const LiveNode& node, std::string_view type, EventData data = {});
  void touch(LiveNode& node);
  void touch(LiveJob& job);  // the node of each attempt of it that may live
  void collect_rows();
  void reject(std::string code, std::string message);
  void save(LiveJob& job);
  void save(LiveJob& job, const LiveAttempt& attempt);
  void save(LiveNode& node);

  [[nodiscard]] LiveJob* find_job(const JobId& id);
  [[nodiscard]] LiveNode* find_node(const std::string& id);
  LiveJob* require_job(const JobId& id);
  LiveNode* require_node(const std::string& id);
  [[nodiscard]] LiveAttempt* current(LiveJob& job);
  [[nodiscard]] DesiredAttempt desired(const LiveNode& node, const LiveJob& job,
                                       const LiveAttempt& attempt, Now now) const;
  [[nodiscard]] NodeView view(const LiveNode& node, Now now) const;
  [[nodiscard]] double random_share();
  [[nodiscard]] std::string new_key();

  // Const after construction.
  CoreSettings settings_;
  std::vector<Provider> providers_;
  std::string boot_id_;

  FenceSet fences_;
  std::mt19937_64 random_;
  std::mt19937_64 keys_;  // differs by boot, so that keys never repeat
  std::unordered_map<std::string, LiveJob> jobs_;
  std::unordered_map<std::string, LiveNode> nodes_;
  std::map<std::string, IntentRow> intents_;  // those without an end and without a node
  std::map<std::string, std::int64_t> provider_nodes_;
  std::map<std::string, std::int64_t> provider_intents_;
  std::map<std::string, std::int64_t> provider_leaving_;  // nodes that a notice takes away
  std::map<std::string, std::size_t> provider_refusals_;
  std::map<std::string, std::int64_t> held_slots_;  // by tenant, of current attempts
  std::set<QueueKey> ready_;                        // to be placed now
  std::set<std::pair<UnixMillis, JobId>> later_;    // starts_at is yet to come
  std::vector<Millis> quarantines_;                 // lately
  Timers timers_;
  bool inventory_open_ = false;
  Millis began_{0};
  std::size_t inventory_total_ = 0;
  std::size_t inventory_heard_ = 0;
  std::int64_t first_rev_ = 1;
  bool begun_ = false;
  Millis wall_ahead_{0};  // of the monotonic clock
  Outcome held_back_;     // of a rejected input, which takes nothing out: for the next

  // Of the input that is being handled.
  Now now_;
  Outcome out_;
  bool capacity_changed_ = false;  // any job in ready_ may fit now
  bool intents_changed_ = false;   // a provider may have room again
  std::set<std::string> newly_ready_;
  std::set<std::string> dirty_jobs_;
  std::set<std::pair<std::string, std::int64_t>> dirty_attempts_;
  std::set<std::string> dirty_interruptions_;
  std::set<std::string> dirty_nodes_;
  std::map<std::tuple<std::string, std::int64_t, std::int64_t>, CheckpointRow> dirty_checkpoints_;
  std::map<std::string, IntentRow> dirty_intents_;
  std::set<std::string> forget_jobs_;
  std::set<std::string> forget_nodes_;
  std::set<std::pair<std::string, std::int64_t>> forget_attempts_;
};

}  // namespace ratchet::control
