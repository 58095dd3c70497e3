#pragma once

// What agent and control plane say to each other. Level-triggered: each sync carries the whole
// picture of both sides, so that a lost, doubled or late message is harmless (I12).
//
//   POST /v1/agent/hello      HelloRequest      -> HelloResponse      once a process start
//   POST /v1/agent/heartbeat  HeartbeatRequest  -> HeartbeatResponse  every heartbeat_ms
//   POST /v1/agent/sync       SyncRequest       -> SyncResponse       long-polled
//   POST /v1/agent/notice     NoticeRequest     -> HeartbeatResponse  at once, on its own
//   connection
//
// Durations cross the wire, never times: each side measures on its own monotonic clock. The agent
// counts a lease from when it sent the request, the control plane from when it answered, so that
// the holder's lease ends first. Decoders tolerate unknown fields; an unknown `want` means run.

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/cluster.h"
#include "proto/exit_record.h"
#include "proto/ids.h"
#include "proto/result.h"
#include "proto/units.h"

namespace ratchet {

constexpr std::string_view kSyncSchema = "sync/1";
constexpr std::size_t kMaxSyncBytes = 4 * 1024 * 1024;
using Millis = std::chrono::milliseconds;

// What one message may hold; decoders refuse more, so senders put the rest into the next one.
constexpr std::size_t kMaxNodeGpus = 64;
constexpr std::size_t kMaxGpuXids = 256;
constexpr std::size_t kMaxNodeAttempts = 256;      // reported or desired
constexpr std::size_t kMaxReportedSealed = 1024;   // of one attempt
constexpr std::size_t kMaxSyncLines = 4096;        // and what kMaxSyncBytes leaves
constexpr std::size_t kMaxSyncVerdicts = 8192;     // and as many cursors
constexpr Millis kMaxSyncMillis{100'000'000'000};  // of any duration: three years

struct GpuFacts {
  std::string uuid;
  std::string name;
  Bytes memory_total;
  Bytes memory_used;
  std::vector<std::int64_t> xids;  // seen since boot
  bool operator==(const GpuFacts&) const = default;
};

struct PreflightFacts {
  bool done = false;
  bool passed = false;
  double kernel_ms = 0;
  std::string message;  // why it failed; empty when it passed
  bool operator==(const PreflightFacts&) const = default;
};

struct NodeFacts {
  std::string name;      // for people: the host's name unless told otherwise
  std::string provider;  // "static", "local"
  NodePrice price = NodePrice::kOwned;
  double usd_per_hour = 0;
  std::vector<GpuFacts> gpus;  // empty: a CPU node
  std::int64_t slots = 1;      // devices that attempts can hold: GPUs, or 1 on a CPU node
  std::int64_t cpu_cores = 0;
  Bytes memory_total;
  Bytes disk_free;
  Bytes cache_used;
  bool disk_full = false;  // training pauses until there is room
  PreflightFacts preflight;
  std::string agent_version;
  std::string trainer_version;
  bool operator==(const NodeFacts&) const = default;
};

struct SealedCheckpoint {
  std::int64_t step = 0;
  std::string manifest_sha256;
  std::string parent_manifest_sha256;  // empty: trained from the start
  Bytes size;
  std::string artifact_id;  // empty until it is uploaded
  bool operator==(const SealedCheckpoint&) const = default;
};

struct AttemptExit {
  EndCause cause = EndCause::kUnknown;
  ExitRecord record;            // the trainer's, or one that the agent made of what it saw
  std::string result_artifact;  // adapter or model, when completed
  bool operator==(const AttemptExit&) const = default;
};

struct AttemptReport {
  JobId job_id;
  std::int64_t attempt_no = 0;
  std::int64_t epoch = 0;
  AttemptState state = AttemptState::kAccepted;
  std::string stage;  // word of proto/events.h Stage; empty before the trainer speaks
  std::int64_t step = 0;
  std::int64_t total_steps = 0;
  std::int64_t resumed_from_step = -1;  // -1: not yet known
  std::int64_t replayed_steps = 0;
  Millis step_age{0};                    // since the last step or sign of life of the trainer
  std::vector<SealedCheckpoint> sealed;  // not yet answered by a verdict
  std::optional<AttemptExit> exit;       // set exactly when state is ended
  bool operator==(const AttemptReport&) const = default;
};

// A line of the trainer's events.jsonl, verbatim, in order of seq within its attempt.
struct TrainerLine {
  JobId job_id;
  std::int64_t attempt_no = 0;
  std::int64_t epoch = 0;
  std::uint64_t seq = 0;
  std::string line;
  bool operator==(const TrainerLine&) const = default;
};

struct ReclaimNotice {
  std::string source;  // "aws", "gcp", "azure", "sigterm", "simulated"
  NoticeKind kind = NoticeKind::kReclaim;
  std::string action;    // "terminate", "stop", ...
  std::string event_id;  // the cloud's, or SHA-256 of the payload: notices are told once
  Millis lead{0};        // time left when the agent first saw it; less than 0: not known
  bool operator==(const ReclaimNotice&) const = default;
};

struct HelloRequest {
  std::string node_id;      // empty on the first start ever
  std::string incarnation;  // random, made at each start of the agent process
  std::string intent;       // key of the provision intent that made this node; may be empty
  NodeFacts facts;
  std::vector<AttemptReport> attempts;  // those found alive or ended on this node
  bool operator==(const HelloRequest&) const = default;
};

struct HelloResponse {
  std::string node_id;
  std::string node_token;  // only when the node is new; bearer token of all later requests
  std::string boot_id;     // of the control plane's process
  Millis heartbeat{2000};
  Millis contact_ttl{15000};
  Millis authority_ttl{300000};
  Millis sync_wait{25000};
  bool operator==(const HelloResponse&) const = default;
};

struct HeartbeatRequest {
  std::string node_id;
  std::string incarnation;
  std::uint64_t seq = 0;
  bool operator==(const HeartbeatRequest&) const = default;
};

struct HeartbeatResponse {
  std::string boot_id;
  std::int64_t desired_rev = 0;  // higher than the agent's: sync now
  Millis contact_ttl{0};
  Millis authority_ttl{0};
  bool operator==(const HeartbeatResponse&) const = default;
};

struct SyncRequest {
  std::string node_id;
  std::string incarnation;
  std::uint64_t seq = 0;         // grows by each request of an incarnation
  std::string boot_id;           // last one seen
  std::int64_t desired_rev = 0;  // last one applied; the answer waits until there is a newer one
  Millis wait{0};                // how long the control plane may wait
  NodeFacts facts;
  std::vector<AttemptReport> attempts;  // all of them
  std::vector<TrainerLine> lines;
  std::optional<ReclaimNotice> notice;  // until it has passed
  bool operator==(const SyncRequest&) const = default;
};

// Where an input comes from: an artifact of the control plane, or a path that the node has.
struct InputRef {
  std::string artifact_id;
  std::string node_path;
  bool operator==(const InputRef&) const = default;
};

struct JobInputs {
  InputRef base_model;
  InputRef train;
  std::optional<InputRef> validation;
  std::optional<InputRef> chat_template;
  std::optional<InputRef> init_adapter;
  bool operator==(const JobInputs&) const = default;
};

struct ResumeFrom {
  std::int64_t step = 0;
  std::string manifest_sha256;
  std::string artifact_id;
  bool operator==(const ResumeFrom&) const = default;
};

struct DesiredAttempt {
  JobId job_id;
  RunId run_id;
  std::int64_t attempt_no = 0;
  std::int64_t epoch = 0;
  Want want = Want::kRun;
  Millis deadline{0};                          // for drain and stop: then by force
  EndCause stop_cause = EndCause::kCancelled;  // for drain and stop: what the end is to be called
  std::string job_spec;                        // JSON of the JobSpec
  JobInputs inputs;
  std::optional<ResumeFrom> resume;
  bool operator==(const DesiredAttempt&) const = default;
};

enum class PublishVerdict { kCommitted, kAdopted, kRejected, kOrphan };
std::span<const Word<PublishVerdict>> word_table(PublishVerdict);

struct CheckpointVerdict {
  JobId job_id;
  std::int64_t epoch = 0;
  std::int64_t step = 0;
  std::string manifest_sha256;
  PublishVerdict verdict = PublishVerdict::kCommitted;
  std::string reason;
  bool operator==(const CheckpointVerdict&) const = default;
};

struct LineCursor {  // lines up to seq are stored durably
  JobId job_id;
  std::int64_t attempt_no = 0;
  std::uint64_t seq = 0;
  bool operator==(const LineCursor&) const = default;
};

struct SyncResponse {
  std::string boot_id;
  std::int64_t desired_rev = 0;
  Millis contact_ttl{0};
  Millis authority_ttl{0};
  // While it is open, what `desired` lacks is reported and left alone, not stopped.
  bool inventory_open = false;
  std::vector<DesiredAttempt> desired;  // all that this node is to run
  std::vector<CheckpointVerdict> verdicts;
  std::vector<LineCursor> acked_lines;
  std::vector<LineCursor> acked_ends;  // ended attempts (seq 0) that need no further report
  NodeWant node_want = NodeWant::kKeep;
  Millis node_deadline{0};
  std::optional<ReclaimNotice> simulate;  // act as if the cloud had said this (simulate-reclaim)
  bool operator==(const SyncResponse&) const = default;
};

struct NoticeRequest {
  std::string node_id;
  std::string incarnation;
  ReclaimNotice notice;
  bool operator==(const NoticeRequest&) const = default;
};

std::string encode(const HelloRequest& message);
std::string encode(const HelloResponse& message);
std::string encode(const HeartbeatRequest& message);
std::string encode(const HeartbeatResponse& message);
std::string encode(const SyncRequest& message);
std::string encode(const SyncResponse& message);
std::string encode(const NoticeRequest& message);
// Parts of messages, as rows and requests hold them: without a schema.
std::string encode(const DesiredAttempt& message);
std::string encode(const JobInputs& message);
std::string encode(const AttemptReport& message);

Result<HelloRequest> decode_hello_request(std::string_view text);
Result<HelloResponse> decode_hello_response(std::string_view text);
Result<HeartbeatRequest> decode_heartbeat_request(std::string_view text);
Result<HeartbeatResponse> decode_heartbeat_response(std::string_view text);
Result<SyncRequest> decode_sync_request(std::string_view text);
Result<SyncResponse> decode_sync_response(std::string_view text);
Result<NoticeRequest> decode_notice_request(std::string_view text);
Result<DesiredAttempt> decode_desired_attempt(std::string_view text);
Result<JobInputs> decode_job_inputs(std::string_view text);
Result<AttemptReport> decode_attempt_report(std::string_view text);

}  // namespace ratchet
