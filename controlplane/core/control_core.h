#pragma once

// ControlCore: everything that the control plane decides, and nothing that it does. No clock, no
// files, no network, no database: inputs and the time come in, changes come out.
//
//   Outcome outcome = core.handle(input, now);   // memory is changed
//   store.commit(outcome.rows, outcome.events);  // one transaction
//   for (command : outcome.commands) ...         // only then
//   reply(outcome.reply);
//
// Memory may run ahead of the store by what is being committed. When a commit fails, the core is
// thrown away and made again from the store: ControlCore(settings, boot_id, rows, now).
//
// Holds live jobs and nodes that are not gone; what is terminal is forgotten once committed.
// Not thread-safe.

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "controlplane/core/rows.h"
#include "proto/result.h"
#include "proto/sync_message.h"

namespace ratchet::control {

struct Now {
  Millis mono{0};      // monotonic, counts suspend; never goes back within a process
  UnixMillis wall{0};  // may jump; only for records, starts_at and backoff
};

struct CoreSettings {  // defaults: shared knowledge with deploy/ratchet-control.example.conf
  Millis heartbeat{2000};
  Millis suspect_after{6000};
  Millis contact_ttl{15000};
  Millis authority_ttl{300000};
  double drift = 0.01;  // of a lease, plus drift_floor: clocks differ
  Millis drift_floor{1000};
  Millis offer_ttl{30000};
  Millis drain_deadline{120000};
  Millis inventory_window{30000};  // after a start: max(20 s, 2 x contact), or until 95 % are back
  Millis boot_deadline{1200000};
  Millis hang_floor{120000};
  double hang_factor = 5;  // x p99 of the job's step times
  Millis first_step_allowance{600000};
  std::vector<Millis> backoff{Millis{5000}, Millis{15000}, Millis{45000}, Millis{120000},
                              Millis{300000}};
  std::int64_t no_progress_limit = 3;
  std::int64_t tenant_slots = 0;  // most slots a tenant holds at once; 0: no limit
  Millis orphan_kept{24 * 3600 * 1000};
  std::size_t checkpoints_kept = 3;  // newest committed ones of a job; older ones are retired
  Millis stop_deadline{15000};       // of a stop that is no drain: then by force
  Millis upload_wait{5000};          // for a checkpoint sealed by an attempt that has ended
  Millis no_capacity_after{600000};  // a recovering job without a node is queued again
};

// Inputs ------------------------------------------------------------------------------------------

struct SubmitJob {
  JobRow job;  // phase validating or queued; id, tenant, spec, inputs, needs filled
};
struct InputsReady {  // artifacts of a validating job are complete, or can never be
  JobId job_id;
  std::optional<Failure> failure;
};
struct PauseJob {
  JobId job_id;
};
struct ResumeJob {
  JobId job_id;
};
struct CancelJob {
  JobId job_id;
};
struct HelloInput {
  HelloRequest message;
  std::string tenant;
  std::string node_id;
};
struct HeartbeatInput {
  HeartbeatRequest message;
};
struct SyncInput {
  SyncRequest message;
};
struct NoticeInput {
  NoticeRequest message;
};
struct DrainNode {
  std::string node_id;
  std::optional<Millis> deadline;
  std::string reason;
};
struct UndrainNode {
  std::string node_id;
};
struct SimulateReclaim {
  std::string node_id;
  Millis lead{0};
};
// Facts from a provisioner.
struct IntentSent {
  std::string key;
};
struct IntentAnswered {
  std::string key;
  IntentState state;
  std::string message;
};
struct NodeGone {
  std::string node_id;
  std::string proof;
};  // proved dead (I7)
struct IntentGone {
  std::string key;
  std::string proof;
};  // its node died before it joined
struct Tick {};  // timers: at least every 500 ms

using Input = std::variant<SubmitJob, InputsReady, PauseJob, ResumeJob, CancelJob, HelloInput,
                           HeartbeatInput, SyncInput, NoticeInput, DrainNode, UndrainNode,
                           SimulateReclaim, IntentSent, IntentAnswered, NodeGone, IntentGone, Tick>;

// Outputs -----------------------------------------------------------------------------------------

struct CreateNode {
  std::string intent_key;
  std::string provider;
  Requirements needs;
};
struct ReleaseNode {
  std::string node_id;
  std::string intent_key;
  std::string provider;
};
using Command = std::variant<CreateNode, ReleaseNode>;

struct Rejection {  // of the input; nothing was changed
  // Stable, proto/api_error.h: "job_not_found", "job_terminal", "stale_epoch", ..
  std::string code;
  std::string message;
};

struct Outcome {
  std::vector<Row> rows;         // upserts, each key at most once
  std::vector<EventRow> events;  // in order
  std::vector<Command> commands;
  std::vector<std::string> wake;  // nodes whose desired set changed: answer their long poll
  std::optional<Rejection> rejection;
  // For SyncInput: verdicts and acknowledgements to put into the answer (after the commit).
  std::vector<CheckpointVerdict> verdicts;
  std::vector<LineCursor> acked_ends;
  bool needs_hello = false;  // unknown node or incarnation: the agent must say hello again
  // The wall clock was set by so much since the input before: begin times of what runs have moved
  // with it, so that no duration and no bill changes (TRN-15). 0: it was not.
  Millis clock_step{0};
};

struct LoadedRows {  // of live jobs and of nodes that are not gone
  std::vector<JobRow> jobs;
  std::vector<AttemptRow> attempts;  // not ended, and the last of each live job
  std::vector<NodeRow> nodes;
  std::vector<CheckpointRow> checkpoints;      // of live jobs, not retired
  std::vector<IntentRow> intents;              // not done
  std::vector<InterruptionRow> interruptions;  // the last of each live job
};

struct NodeView {  // for the API: durable row plus what is only in memory
  NodeRow row;
  Liveness liveness = Liveness::kNeverSeen;
  Millis silent_for{0};
  std::vector<JobId> jobs;
  std::int64_t free_slots = 0;
};

class ControlCore {
 public:
  // provider "local" or another that creates nodes: jobs without a node make an intent, at most
  // max_nodes at once. Empty: nodes only come by themselves.
  struct Provider {
    std::string name;
    std::int64_t max_nodes = 0;  // nodes that a notice takes away do not count
    std::int64_t keep = 0;       // nodes kept even when no job wants them
    bool proves_death = false;   // can prove that its nodes are dead (local)
    Requirements offers;
  };

  ControlCore(CoreSettings settings, std::vector<Provider> providers, std::string boot_id,
              LoadedRows rows, Now now, std::uint64_t seed);
  ~ControlCore();
  ControlCore(const ControlCore&) = delete;
  ControlCore& operator=(const ControlCore&) = delete;

  Outcome handle(const Input& input, Now now);

  // The whole wish for a node; cheap. Revisions grow for ever, also over restarts (boot_id).
  [[nodiscard]] SyncResponse desired_for(const std::string& node_id, Now now) const;
  [[nodiscard]] std::int64_t desired_rev(const std::string& node_id) const;

  [[nodiscard]] const JobRow* job(const JobId& id) const;  // live ones only
  [[nodiscard]] std::optional<NodeView> node(const std::string& id, Now now) const;
  [[nodiscard]] std::vector<NodeView> nodes(Now now) const;
  [[nodiscard]] bool inventory_open(Now now) const;
  [[nodiscard]] std::optional<Millis> next_timer(Now now) const;  // until then Tick is not needed

  // Which guards there are, for the mutation check of the simulation: switching one off must make
  // an invariant fail. All on outside tests. The list: controlplane/core/fences.h.
  enum class Fence;
  void disable(Fence fence);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ratchet::control
