#pragma once

// What the control plane knows, as rows: the core works on them, the store keeps them as they are.
// Times are wall clock for records; leases and timers live in the core on the monotonic clock,
// except those that must outlive a restart (backoff, starts_at), which are rows (I10).

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "proto/cluster.h"
#include "proto/ids.h"
#include "proto/job_spec.h"
#include "proto/sync_message.h"
#include "proto/units.h"

namespace ratchet::control {

struct Requirements {
  DeviceKind kind = DeviceKind::kAuto;  // auto: a GPU node when there is one, else a CPU node
  std::int64_t count = 1;
  std::string gpu_type;  // part of the GPU's name, compared without case; empty: any
  Bytes gpu_memory;      // at least, each
  PriceClass price = PriceClass::kSpot;
  bool operator==(const Requirements&) const = default;
};

struct Head {  // the job's newest committed checkpoint
  std::int64_t step = 0;
  std::string manifest_sha256;
  std::string artifact_id;  // empty: there is none yet
  bool operator==(const Head&) const = default;
};

struct Failure {           // ERR-01, TRN-06
  std::string error_type;  // word of EndCause, or "no_capacity", "no_progress", "inputs"
  std::string message;     // what happened, full sentences
  std::string next_step;   // what the user can do
  std::int64_t step = 0;
  std::string stage;
  UnixMillis time{0};
  std::map<std::string, EvidenceValue> evidence;
  bool operator==(const Failure&) const = default;
};

struct Ledger {  // ends by cause, and what stops a job that gets nowhere
  std::map<EndCause, std::int64_t> ends;
  std::int64_t without_progress = 0;            // own-cause ends since the head last moved
  std::int64_t exogenous_without_progress = 0;  // escalates placement at 3 (I9)
  std::int64_t backoff_index = 0;
  bool operator==(const Ledger&) const = default;
};

struct JobRow {
  JobId id;
  RunId run_id;
  JobId parent;  // empty: none
  std::string tenant;
  std::string created_by;  // token name
  std::string spec_json;   // canonical JobSpec
  std::string name;
  JobInputs inputs;
  Requirements needs;
  std::int64_t priority = 0;  // higher first, then age
  std::optional<UnixMillis> starts_at;
  JobPhase phase = JobPhase::kValidating;
  std::int64_t epoch = 0;      // of the current attempt; only grows (I1)
  std::int64_t attempts = 0;   // executions so far
  std::int64_t event_seq = 0;  // of the job's last event
  Head head;
  std::int64_t step = 0;  // as last reported by the current attempt
  std::int64_t total_steps = 0;
  std::string stage;
  Ledger ledger;
  std::optional<UnixMillis> backoff_until;
  std::vector<std::string> avoid_nodes;  // a GPU fault or two unexplained deaths happened there
  std::optional<Failure> failure;
  std::string result_artifact;
  UnixMillis created_at{0};
  UnixMillis updated_at{0};
  std::optional<UnixMillis> started_at;  // first step of the first attempt
  std::optional<UnixMillis> ended_at;
  bool operator==(const JobRow&) const = default;
};

struct AttemptRow {
  JobId job_id;
  std::int64_t attempt_no = 0;
  std::int64_t epoch = 0;
  std::string node_id;
  AttemptState state = AttemptState::kOffered;
  std::optional<EndCause> cause;  // set when ended
  std::string end_message;
  std::optional<AttemptExit> exit;  // as reported; late reports are kept as evidence (I5)
  Head resume;                      // where it was told to begin
  std::int64_t step = 0;
  std::int64_t replayed_steps = 0;
  double usd_per_hour = 0;
  UnixMillis offered_at{0};
  std::optional<UnixMillis> accepted_at;    // billed from here
  std::optional<UnixMillis> first_step_at;  // before: overhead; after: training (TRN-15)
  std::optional<UnixMillis> ended_at;
  bool operator==(const AttemptRow&) const = default;
};

struct NodeRow {
  std::string id;
  std::string tenant;  // of the join token
  std::string incarnation;
  std::string intent;  // provision intent that made it; empty: it registered itself
  NodeFacts facts;
  ProviderState provider = ProviderState::kUp;
  Schedulable schedulable = Schedulable::kPreflight;
  std::string schedulable_reason;
  std::optional<ReclaimNotice> notice;
  UnixMillis created_at{0};
  UnixMillis last_seen{0};  // written at transitions, not at heartbeats
  std::optional<UnixMillis> gone_at;
  std::string gone_proof;  // what proves it (I7)
  bool operator==(const NodeRow&) const = default;
};

struct CheckpointRow {
  JobId job_id;
  std::int64_t step = 0;
  std::int64_t epoch = 0;
  std::int64_t attempt_no = 0;
  std::string manifest_sha256;
  std::string parent_manifest_sha256;
  std::string artifact_id;
  Bytes size;
  CheckpointState state = CheckpointState::kUploaded;
  UnixMillis saved_at{0};
  std::optional<UnixMillis> retired_at;
  bool operator==(const CheckpointRow&) const = default;
};

struct IntentRow {  // one wish for a node, written before the provider is asked (I6)
  std::string key;  // unique; the node's name at the provider is "rt-" + key
  std::string provider;
  JobId job_id;  // for which job; empty: to keep a number of nodes
  IntentState state = IntentState::kPlanned;
  std::string node_id;  // when the agent has joined
  std::string message;
  UnixMillis created_at{0};
  UnixMillis updated_at{0};
  bool operator==(const IntentRow&) const = default;
};

enum class RecoveryStage {  // SPT-04
  kDetecting,
  kProvisioning,
  kDownloading,
  kRestoring,
  kResuming,
};
constexpr std::size_t kRecoveryStages = 5;
std::span<const Word<RecoveryStage>> word_table(RecoveryStage);
enum class StageState { kPending, kRunning, kDone, kFailed };
std::span<const Word<StageState>> word_table(StageState);

struct StageRow {
  StageState state = StageState::kPending;
  std::optional<UnixMillis> began;
  std::optional<UnixMillis> ended;
  bool operator==(const StageRow&) const = default;
};

struct InterruptionRow {  // SPT-08
  JobId job_id;
  std::int64_t number = 0;  // from 1
  EndCause cause = EndCause::kUnknown;
  std::string source;           // "notice", "provider", "heartbeat", "exit" (SPT-02)
  std::string reason;           // sentence
  std::int64_t attempt_no = 0;  // that was interrupted
  std::int64_t interrupted_step = 0;
  UnixMillis interrupted_at{0};
  std::int64_t resumed_attempt_no = 0;
  std::optional<std::int64_t> resumed_step;  // step from which training went on
  std::optional<UnixMillis> resumed_at;      // its first new step
  std::int64_t replayed_steps = 0;
  std::array<StageRow, kRecoveryStages> stages;
  bool operator==(const InterruptionRow&) const = default;
};

// One change that users can see. (job_id, seq) is contiguous from 1; node events have no job.
struct EventRow {
  JobId job_id;
  std::int64_t seq = 0;
  std::string tenant;
  std::string type;  // "job.recovering", ...: proto/README.md
  std::int64_t attempt_no = 0;
  std::int64_t epoch = 0;
  std::int64_t step = 0;
  std::string cause;
  std::string data_json;  // object, further fields of the type
  UnixMillis time{0};
  bool operator==(const EventRow&) const = default;
};

using Row = std::variant<JobRow, AttemptRow, NodeRow, CheckpointRow, IntentRow, InterruptionRow>;

}  // namespace ratchet::control
