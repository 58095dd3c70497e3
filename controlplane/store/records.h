#pragma once

// Rows that only the control plane's rim knows (the core's are in controlplane/core/rows.h), as the
// store keeps them. Plain values. An empty text means "none"; times are unix milliseconds.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "controlplane/core/rows.h"
#include "proto/cluster.h"
#include "proto/units.h"
#include "proto/words.h"

namespace ratchet::control {

constexpr std::string_view kDefaultTenant = "default";  // exists from the first start

struct TenantRow {
  std::string id;  // proto/ids.h rules
  std::string name;
  UnixMillis created_at{0};
  bool operator==(const TenantRow&) const = default;
};

struct TokenRow {
  std::string id;
  std::string tenant;
  std::string name;
  std::string sha256;               // 64 hex digits of the token; the token itself is never stored
  std::vector<std::string> scopes;  // "admin", "user", "agent", "join"
  std::string node_id;              // of an agent's token
  UnixMillis created_at{0};
  std::optional<UnixMillis> expires_at;
  std::optional<UnixMillis> revoked_at;
  std::optional<UnixMillis> last_used_at;  // only TokenUse changes it
  bool operator==(const TokenRow&) const = default;
};

struct TokenUse {  // worth writing once a minute a token, not at each request
  std::string token_id;
  UnixMillis time{0};
};

struct EventRecord {
  std::int64_t id = 0;   // grows over all events, also over restarts; never used twice
  std::string event_id;  // "evt_<store>_<id>": unique for receivers, no full stop in it
  EventRow row;
  bool operator==(const EventRecord&) const = default;
};

struct MetricRow {  // one step of a job; the newest attempt that did the step wins
  JobId job_id;
  std::int64_t step = 0;
  std::int64_t attempt_no = 0;
  std::int64_t total_steps = 0;
  double loss = 0;
  std::string loss_bits;  // 16 hex digits
  double grad_norm = 0;
  double lr = 0;
  double data_epoch = 0;
  std::int64_t tokens = 0;
  double tokens_per_s = 0;
  double step_ms = 0;
  double eta_s = 0;
  Bytes vram_allocated;
  Bytes vram_peak;
  bool replayed = false;
  bool replay_mismatch = false;  // set by the store: attempts saw different loss bits here
  UnixMillis time{0};
  bool operator==(const MetricRow&) const = default;
};

struct EvaluationRow {
  JobId job_id;
  std::int64_t step = 0;
  std::int64_t attempt_no = 0;
  double loss = 0;
  bool best = false;
  UnixMillis time{0};
  bool operator==(const EvaluationRow&) const = default;
};

struct WebhookSecret {
  std::string secret;  // "whsec_..."; encrypted at rest
  UnixMillis created_at{0};
  std::optional<UnixMillis> expires_at;  // the old one, after a rotation
  bool operator==(const WebhookSecret&) const = default;
};

struct WebhookRow {
  std::string id;
  std::string tenant;
  std::string url;
  std::string description;
  // "job.failed", "job.*" or "*". Empty: "*". What is off by default (checkpoint.committed) is sent
  // only to endpoints that name it or its group.
  std::vector<std::string> types;
  std::string format;  // of the body: "standard", "cloudevents", "openai"
  bool enabled = true;
  std::string disabled_reason;
  std::vector<WebhookSecret> secrets;  // newest first; left empty by every read but secrets()
  UnixMillis created_at{0};
  UnixMillis updated_at{0};
  bool operator==(const WebhookRow&) const = default;
};

// An event on its way to one endpoint. Made by the store in the transaction of the event.
// Deliveries of one endpoint and one job are due one at a time, in the order of their events:
// `blocked` ones wait until the one before is delivered or dead. Replays and events without a job
// wait for nothing.
struct DeliveryRow {
  std::int64_t id = 0;
  std::string webhook_id;
  std::string tenant;
  std::int64_t event = 0;  // EventRecord::id
  std::string event_id;    // EventRecord::event_id
  JobId job_id;
  std::string type;
  DeliveryState state = DeliveryState::kPending;
  bool blocked = false;
  bool replay = false;
  std::int64_t tries = 0;
  UnixMillis next_at{0};     // due from then on; while sending: taken again after that
  int last_status = 0;       // HTTP; 0: there was no answer
  std::string last_error;    // sentence
  std::int64_t last_ms = 0;  // duration of the last try
  UnixMillis created_at{0};
  std::optional<UnixMillis> ended_at;
  bool operator==(const DeliveryRow&) const = default;
};

enum class ArtifactKind { kBaseModel, kDataset, kFile, kCheckpoint, kAdapter, kModel };
std::span<const Word<ArtifactKind>> word_table(ArtifactKind);

enum class ArtifactState {
  kOpen,      // files are missing or not sealed
  kSealed,    // every file is there and its digest was verified
  kRemoving,  // its files are being deleted; finished at the next start when interrupted
};
std::span<const Word<ArtifactState>> word_table(ArtifactState);

struct ArtifactFile {
  std::string path;
  std::int64_t bytes = 0;
  std::string sha256;  // 64 lower-case hex digits
  bool operator==(const ArtifactFile&) const = default;
};

struct ArtifactRow {
  std::string id;
  std::string tenant;
  ArtifactKind kind = ArtifactKind::kFile;
  ArtifactState state = ArtifactState::kOpen;
  std::int64_t bytes = 0;  // sum of the files
  std::int64_t file_count = 0;
  std::string created_by;  // token name or node id
  bool pinned = false;
  UnixMillis created_at{0};
  UnixMillis updated_at{0};
  std::optional<UnixMillis> sealed_at;
  std::optional<UnixMillis> tombstone_at;  // unneeded since; removed after a delay
  bool operator==(const ArtifactRow&) const = default;
};

struct IdempotencyRow {  // kept for kIdempotencyLife
  std::string tenant;
  std::string key;
  std::string body_sha256;
  int status = 0;
  std::string answer;  // body
  UnixMillis created_at{0};
  bool operator==(const IdempotencyRow&) const = default;
};
constexpr UnixMillis kIdempotencyLife{24LL * 3600 * 1000};

struct ErrorLogRow {  // ERR-04
  std::string error_id;
  std::string tenant;
  std::string error_type;
  std::string error_code;
  std::string message;
  std::string stack_trace;
  std::string context_json;
  std::string user;  // token name
  JobId job_id;
  std::string severity;  // "warning", "error", "critical"
  UnixMillis time{0};
  bool operator==(const ErrorLogRow&) const = default;
};

struct SettingRow {
  std::string key;
  std::string value;
  std::string changed_by;
  UnixMillis changed_at{0};
  bool operator==(const SettingRow&) const = default;
};

}  // namespace ratchet::control
