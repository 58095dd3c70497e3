#pragma once

// Batch: what is stored together or not at all (I4).

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "controlplane/store/records.h"

namespace ratchet::control {

struct DeleteWebhook {  // with its deliveries and secrets
  std::string id;
};
struct DeleteArtifact {  // row and files; the content is the caller's
  std::string id;
};
struct PutArtifact {  // a new one with its files; an id that exists fails the batch
  ArtifactRow row;
  std::vector<ArtifactFile> files;
};
struct UpdateArtifact {  // state, pinned, times
  ArtifactRow row;
};
struct UpdateDelivery {  // by id: state, tries, next_at, last_*, ended_at; the rest is as made
  DeliveryRow row;
};
struct TestEvent {  // an event for one endpoint only, whatever its types (webhook test)
  std::string webhook_id;
  EventRow event;  // without a job
};
struct ReplayEvents {  // new deliveries of stored events, with the same webhook-id
  std::string webhook_id{};
  std::int64_t event = 0;  // EventRecord::id; 0: those of the tenant in [from, to] that match types
  UnixMillis from{0};
  UnixMillis to{0};
  UnixMillis now{0};
};
constexpr std::int64_t kMaxReplay = 10'000;  // more in a range fail the batch

// TenantRow, TokenRow, WebhookRow and SettingRow are upserts. A WebhookRow without secrets keeps
// those it has.
using Write = std::variant<TenantRow, TokenRow, TokenUse, WebhookRow, DeleteWebhook, UpdateDelivery,
                           TestEvent, ReplayEvents, PutArtifact, UpdateArtifact, DeleteArtifact,
                           IdempotencyRow, ErrorLogRow, SettingRow>;

struct Batch {
  // Batches of one chain depend on each other: when one fails, all later ones of its chain fail
  // too. The core's batches have a chain number above 0, one higher for each core that is made;
  // 0: depends on nothing.
  std::int64_t chain = 0;
  std::vector<Row> rows{};                   // upserts
  std::vector<EventRow> events{};            // in order
  std::vector<TrainerLine> lines{};          // in any order, known ones are passed over
  std::vector<MetricRow> metrics{};          // upserts
  std::vector<EvaluationRow> evaluations{};  // upserts
  std::vector<Write> writes{};               // in order, after all of the above
};

struct CommitInfo {
  std::vector<EventRecord> events;      // as stored: those of Batch::events, then TestEvents
  std::vector<LineCursor> acked_lines;  // of each (job, attempt) in Batch::lines
  std::int64_t deliveries = 0;          // made; when above 0 there is work for the sender
};

}  // namespace ratchet::control
