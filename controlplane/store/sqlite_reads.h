#pragma once

// The reads of reads.h on the connections of a ReaderPool.

#include <string>

#include "controlplane/core/control_core.h"
#include "controlplane/store/reader_pool.h"
#include "controlplane/store/reads.h"
#include "controlplane/store/secret_box.h"

namespace ratchet::control {

class SqliteJobReads : public JobReads {
 public:
  explicit SqliteJobReads(ReaderPool& pool) : pool_(pool) {}
  Result<Page<JobView>> jobs(const JobQuery& query) const override;
  Result<JobView> job(const JobId& id, const std::string& tenant) const override;
  Result<std::vector<AttemptRow>> attempts(const JobId& id) const override;
  Result<std::vector<InterruptionRow>> interruptions(const JobId& id) const override;
  Result<std::vector<CheckpointRow>> checkpoints(const JobId& id) const override;
  Result<std::map<JobState, std::int64_t>> counts(const std::string& tenant) const override;
  Result<std::vector<NodeRow>> nodes(const std::string& tenant, bool with_gone) const override;
  Result<NodeRow> node(const std::string& id, const std::string& tenant) const override;

 private:
  ReaderPool& pool_;
};

class SqliteEventReads : public EventReads {
 public:
  SqliteEventReads(ReaderPool& pool, std::string store_id)
      : pool_(pool), store_id_(std::move(store_id)) {}
  Result<std::vector<EventRecord>> job_events(const JobId& id, std::int64_t after_seq,
                                              std::int64_t limit) const override;
  Result<std::vector<EventRecord>> events(const EventQuery& query) const override;
  Result<EventRecord> event(std::int64_t id, const std::string& tenant) const override;
  Result<std::vector<MetricRow>> metrics(const JobId& id, std::int64_t after_step,
                                         std::int64_t limit) const override;
  Result<std::optional<MetricRow>> last_metric(const JobId& id) const override;
  Result<std::vector<EvaluationRow>> evaluations(const JobId& id) const override;
  Result<std::vector<TrainerLine>> lines(const JobId& id, std::int64_t attempt_no,
                                         std::uint64_t after_seq,
                                         std::int64_t limit) const override;
  Result<std::uint64_t> line_cursor(const JobId& id, std::int64_t attempt_no) const override;

 private:
  ReaderPool& pool_;
  const std::string store_id_;
};

class SqliteWebhookReads : public WebhookReads {
 public:
  SqliteWebhookReads(ReaderPool& pool, const SecretBox& box, std::string store_id)
      : pool_(pool), box_(box), store_id_(std::move(store_id)) {}
  Result<std::vector<WebhookRow>> webhooks(const std::string& tenant) const override;
  Result<WebhookRow> webhook(const std::string& id, const std::string& tenant) const override;
  Result<std::vector<WebhookSecret>> secrets(const std::string& webhook_id) const override;
  Result<std::vector<DueDelivery>> due(UnixMillis now, std::int64_t each) const override;
  Result<std::optional<UnixMillis>> next_due() const override;
  Result<Page<DeliveryRow>> deliveries(const DeliveryQuery& query) const override;
  Result<std::int64_t> backlog() const override;

 private:
  ReaderPool& pool_;
  const SecretBox& box_;
  const std::string store_id_;
};

class SqliteAccountReads : public AccountReads {
 public:
  explicit SqliteAccountReads(ReaderPool& pool) : pool_(pool) {}
  Result<std::vector<TenantRow>> tenants() const override;
  Result<TokenRow> token_by_sha256(const std::string& sha256) const override;
  Result<TokenRow> token(const std::string& id, const std::string& tenant) const override;
  Result<Page<TokenRow>> tokens(const std::string& tenant, PageRequest page) const override;
  Result<std::optional<IdempotencyRow>> idempotency(const std::string& tenant,
                                                    const std::string& key,
                                                    UnixMillis now) const override;
  Result<std::vector<SettingRow>> settings() const override;
  Result<Page<ErrorLogRow>> error_logs(const std::string& tenant, PageRequest page) const override;

 private:
  ReaderPool& pool_;
};

class SqliteArtifactReads : public ArtifactReads {
 public:
  explicit SqliteArtifactReads(ReaderPool& pool) : pool_(pool) {}
  Result<ArtifactRow> artifact(const std::string& id, const std::string& tenant) const override;
  Result<std::vector<ArtifactFile>> files(const std::string& id) const override;
  Result<ArtifactFile> file(const std::string& id, const std::string& path) const override;
  Result<Page<ArtifactRow>> artifacts(const ArtifactQuery& query) const override;
  Result<std::vector<ArtifactRow>> all() const override;
  Result<std::set<std::string>> digests(const std::string& tenant,
                                        const std::string& without) const override;
  Result<std::set<std::string>> needed() const override;

 private:
  ReaderPool& pool_;
};

// What ControlCore begins with.
Result<LoadedRows> load_rows(Database& db);

}  // namespace ratchet::control
