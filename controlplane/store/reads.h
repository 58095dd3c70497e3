#pragma once

// What can be read from the store, by subject. Every function blocks (on the disk, or for one of
// the few reader connections) and may be called from any thread; each sees one committed state.
//
// Errors: kNotFound where one thing is asked for by id (also when it belongs to another tenant),
// kInvalidArgument for a cursor that no list gave out, kIo / kCorrupt / kUnavailable from the
// database. An empty `tenant` means any.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "controlplane/store/records.h"
#include "proto/result.h"

namespace ratchet::control {

constexpr std::int64_t kMaxPage = 1000;  // larger limits are cut to it

// Members with {} so that designated initialisers may leave them out.
struct PageRequest {
  std::int64_t limit = 100;
  std::string cursor{};  // next_cursor of the page before; empty: from the start
};

template <class T>
struct Page {
  std::vector<T> items;
  std::string next_cursor;  // empty: this was the last page
};

enum class Order { kNewestFirst, kOldestFirst };

struct JobView {
  JobRow row;
  // user_state(); interrupted while the last interruption has not begun to provision.
  JobState state = JobState::kQueued;
  std::int64_t interruptions = 0;
};

struct JobQuery {
  std::string tenant{};
  std::optional<JobState> state{};
  std::optional<JobPhase> phase{};
  std::string name{};  // part of the name, without case
  std::string tag{};   // exact
  RunId run_id{};
  Order order = Order::kNewestFirst;  // by created_at, then id
  PageRequest page{};
};

class JobReads {
 public:
  virtual ~JobReads() = default;
  virtual Result<Page<JobView>> jobs(const JobQuery& query) const = 0;
  virtual Result<JobView> job(const JobId& id, const std::string& tenant) const = 0;
  virtual Result<std::vector<AttemptRow>> attempts(const JobId& id) const = 0;
  virtual Result<std::vector<InterruptionRow>> interruptions(const JobId& id) const = 0;
  virtual Result<std::vector<CheckpointRow>> checkpoints(const JobId& id) const = 0;  // by step
  virtual Result<std::map<JobState, std::int64_t>> counts(const std::string& tenant) const = 0;
  virtual Result<std::vector<NodeRow>> nodes(const std::string& tenant, bool with_gone) const = 0;
  virtual Result<NodeRow> node(const std::string& id, const std::string& tenant) const = 0;
};

struct EventQuery {
  std::string tenant{};
  std::int64_t after = 0;  // EventRecord::id; oldest first from there
  std::string type{};      // exact; empty: all
  std::int64_t limit = 100;
};

class EventReads {
 public:
  virtual ~EventReads() = default;
  virtual Result<std::vector<EventRecord>> job_events(const JobId& id, std::int64_t after_seq,
                                                      std::int64_t limit) const = 0;
  virtual Result<std::vector<EventRecord>> events(const EventQuery& query) const = 0;
  virtual Result<EventRecord> event(std::int64_t id, const std::string& tenant) const = 0;
  virtual Result<std::vector<MetricRow>> metrics(const JobId& id, std::int64_t after_step,
                                                 std::int64_t limit) const = 0;
  virtual Result<std::optional<MetricRow>> last_metric(const JobId& id) const = 0;
  virtual Result<std::vector<EvaluationRow>> evaluations(const JobId& id) const = 0;
  virtual Result<std::vector<TrainerLine>> lines(const JobId& id, std::int64_t attempt_no,
                                                 std::uint64_t after_seq,
                                                 std::int64_t limit) const = 0;
  virtual Result<std::uint64_t> line_cursor(const JobId& id, std::int64_t attempt_no) const = 0;
};

struct DeliveryQuery {
  std::string tenant{};
  std::string webhook_id{};  // empty: all of the tenant
  std::optional<DeliveryState> state{};
  PageRequest page{};  // newest first
};

struct DueDelivery {
  DeliveryRow delivery;
  EventRecord event;
};

class WebhookReads {
 public:
  virtual ~WebhookReads() = default;
  virtual Result<std::vector<WebhookRow>> webhooks(const std::string& tenant) const = 0;
  virtual Result<WebhookRow> webhook(const std::string& id, const std::string& tenant) const = 0;
  virtual Result<std::vector<WebhookSecret>> secrets(const std::string& webhook_id) const = 0;
  // Open deliveries of enabled endpoints whose time has come, at most `each` an endpoint, so that
  // a slow endpoint cannot starve others.
  virtual Result<std::vector<DueDelivery>> due(UnixMillis now, std::int64_t each) const = 0;
  // When the next one becomes due; nothing when none is open.
  virtual Result<std::optional<UnixMillis>> next_due() const = 0;
  virtual Result<Page<DeliveryRow>> deliveries(const DeliveryQuery& query) const = 0;
  virtual Result<std::int64_t> backlog() const = 0;  // open deliveries
};

class AccountReads {
 public:
  virtual ~AccountReads() = default;
  virtual Result<std::vector<TenantRow>> tenants() const = 0;
  // Also expired and revoked ones: judging them is the caller's.
  virtual Result<TokenRow> token_by_sha256(const std::string& sha256) const = 0;
  virtual Result<TokenRow> token(const std::string& id, const std::string& tenant) const = 0;
  virtual Result<Page<TokenRow>> tokens(const std::string& tenant, PageRequest page) const = 0;
  // Nothing when unknown or older than kIdempotencyLife.
  virtual Result<std::optional<IdempotencyRow>> idempotency(const std::string& tenant,
                                                            const std::string& key,
                                                            UnixMillis now) const = 0;
  virtual Result<std::vector<SettingRow>> settings() const = 0;
  virtual Result<Page<ErrorLogRow>> error_logs(const std::string& tenant,
                                               PageRequest page) const = 0;  // newest first
};

struct ArtifactQuery {
  std::string tenant{};
  std::optional<ArtifactKind> kind{};
  std::optional<ArtifactState> state{};
  PageRequest page{};  // newest first
};

class ArtifactReads {
 public:
  virtual ~ArtifactReads() = default;
  virtual Result<ArtifactRow> artifact(const std::string& id, const std::string& tenant) const = 0;
  virtual Result<std::vector<ArtifactFile>> files(const std::string& id) const = 0;  // by path
  virtual Result<ArtifactFile> file(const std::string& id, const std::string& path) const = 0;
  virtual Result<Page<ArtifactRow>> artifacts(const ArtifactQuery& query) const = 0;
  virtual Result<std::vector<ArtifactRow>> all() const = 0;  // for reconciling and collecting
  // Digests that artifacts of the tenant refer to, but for `without`.
  virtual Result<std::set<std::string>> digests(const std::string& tenant,
                                                const std::string& without) const = 0;
  // What jobs need: inputs and heads of live jobs, results of all, checkpoints that are neither
  // retired nor discarded.
  virtual Result<std::set<std::string>> needed() const = 0;
};

}  // namespace ratchet::control
