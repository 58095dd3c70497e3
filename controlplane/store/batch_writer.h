#pragma once

// Writes batches inside a transaction that the caller holds. One object for each writer connection;
// not thread-safe. Refusals: see store.h.

#include <map>
#include <string>
#include <vector>

#include "controlplane/store/batch.h"
#include "controlplane/store/database.h"
#include "controlplane/store/secret_box.h"
#include "proto/result.h"

namespace ratchet::control {

class BatchWriter {
 public:
  struct Counters {  // of ids; only grow
    std::int64_t next_event = 1;
    std::int64_t next_delivery = 1;
  };

  BatchWriter(Database& db, const SecretBox& box, std::string store_id, Counters counters)
      : db_(db), box_(box), store_id_(std::move(store_id)), counters_(counters) {}

  // After an error the caller must undo what was written, and call forget().
  Status apply(const Batch& batch, CommitInfo& info);
  void forget() { endpoints_.clear(); }
  [[nodiscard]] const Counters& counters() const { return counters_; }

 private:
  struct Endpoint {
    std::string id;
    std::vector<std::string> types;
  };
  struct Seqs {  // of one job's events in the batch
    std::int64_t first = 0;
    std::int64_t last = 0;
  };

  Status write(const JobRow& row);
  Status write(const AttemptRow& row);
  Status write(const NodeRow& row);
  Status write(const CheckpointRow& row);
  Status write(const IntentRow& row);
  Status write(const InterruptionRow& row);
  Status check_job(const JobRow& row, bool& is_new);
  Status write_spec(const JobRow& row);
  Status settle_state(const JobId& job);
  Status scan_events(const Batch& batch);

  Status write_event(const EventRow& event, const std::string* only_webhook, CommitInfo& info);
  Status deliver(const EventRecord& record, const std::string& webhook_id, bool ordered,
                 UnixMillis now);
  Result<const std::vector<Endpoint>*> endpoints(const std::string& tenant);
  Status replay_one(const ReplayEvents& replay, const std::string& tenant, CommitInfo& info);
  Status replay_range(const ReplayEvents& replay, const std::string& tenant,
                      const std::vector<std::string>& types, CommitInfo& info);

  Status write_lines(const std::vector<TrainerLine>& lines, CommitInfo& info);
  Status write_line_group(std::vector<const TrainerLine*>& lines, CommitInfo& info);
  Result<bool> has_job(const JobId& job);
  Status write(const MetricRow& row);
  Status write(const EvaluationRow& row);

  Status write(const TenantRow& row, CommitInfo& info);
  Status write(const TokenRow& row, CommitInfo& info);
  Status write(const TokenUse& use, CommitInfo& info);
  Status write(const WebhookRow& row, CommitInfo& info);
  Status write(const DeleteWebhook& removal, CommitInfo& info);
  Status write(const UpdateDelivery& update, CommitInfo& info);
  Status write(const TestEvent& test, CommitInfo& info);
  Status write(const ReplayEvents& replay, CommitInfo& info);
  Status write(const PutArtifact& put, CommitInfo& info);
  Status write(const UpdateArtifact& update, CommitInfo& info);
  Status write(const DeleteArtifact& removal, CommitInfo& info);
  Status write(const IdempotencyRow& row, CommitInfo& info);
  Status write(const ErrorLogRow& row, CommitInfo& info);
  Status write(const SettingRow& row, CommitInfo& info);

  Database& db_;
  const SecretBox& box_;
  const std::string store_id_;
  Counters counters_;
  std::map<std::string, std::vector<Endpoint>> endpoints_;  // enabled ones, by tenant
  std::map<JobId, Seqs> seqs_;                              // of the batch that is being written
};

// Whether an endpoint that asked for `types` gets events of `type` (records.h, WebhookRow).
bool wants_event(const std::vector<std::string>& types, std::string_view type);

// Texts that hold no space, in one column.
std::string join_words(const std::vector<std::string>& words);
std::vector<std::string> split_words(const std::string& text);

// Of a webhook's secrets in the SecretBox, so that a box of one does not open as another's.
std::string secret_context(const std::string& webhook_id);

std::string event_id(const std::string& store_id, std::int64_t id);

}  // namespace ratchet::control
