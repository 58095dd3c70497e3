#include "controlplane/store/row_readers.h"

#include "controlplane/store/batch_writer.h"

namespace ratchet::control {

namespace {

template <class E>
E word_or(const std::string& word, E otherwise) {
  return from_word<E>(word).value_or(otherwise);
}

}  // namespace

std::string select_events(std::string_view tail) {
  return "SELECT id, job_id, seq, tenant, type, attempt_no, epoch, step, cause, data_json, time"
         " FROM events " +
         std::string(tail);
}

EventRecord read_event(const Query& query, const std::string& store_id) {
  EventRecord record;
  record.id = query.integer(0);
  record.event_id = event_id(store_id, record.id);
  record.row.job_id = JobId(query.text(1));
  record.row.seq = query.integer(2);
  record.row.tenant = query.text(3);
  record.row.type = query.text(4);
  record.row.attempt_no = query.integer(5);
  record.row.epoch = query.integer(6);
  record.row.step = query.integer(7);
  record.row.cause = query.text(8);
  record.row.data_json = query.text(9);
  record.row.time = query.time(10);
  return record;
}

std::string select_deliveries(std::string_view tail) {
  return "SELECT id, webhook_id, tenant, event, job_id, type, state, blocked, replay, tries,"
         " next_at, last_status, last_error, last_ms, created_at, ended_at FROM deliveries " +
         std::string(tail);
}

DeliveryRow read_delivery(const Query& query, const std::string& store_id) {
  DeliveryRow row;
  row.id = query.integer(0);
  row.webhook_id = query.text(1);
  row.tenant = query.text(2);
  row.event = query.integer(3);
  row.event_id = event_id(store_id, row.event);
  row.job_id = JobId(query.text(4));
  row.type = query.text(5);
  row.state = word_or(query.text(6), DeliveryState::kWaiting);
  row.blocked = query.boolean(7);
  row.replay = query.boolean(8);
  row.tries = query.integer(9);
  row.next_at = query.time(10);
  row.last_status = static_cast<int>(query.integer(11));
  row.last_error = query.text(12);
  row.last_ms = query.integer(13);
  row.created_at = query.time(14);
  row.ended_at = query.maybe_time(15);
  return row;
}

std::string select_artifacts(std::string_view tail) {
  return "SELECT id, tenant, kind, state, bytes, file_count, created_by, pinned, created_at,"
         " updated_at, sealed_at, tombstone_at FROM artifacts " +
         std::string(tail);
}

Result<ArtifactRow> read_artifact(const Query& query) {
  ArtifactRow row;
  row.id = query.text(0);
  row.tenant = query.text(1);
  const auto kind = from_word<ArtifactKind>(query.text(2));
  const auto state = from_word<ArtifactState>(query.text(3));
  if (!kind || !state) {
    return Error{Code::kCorrupt, "Artifact " + row.id + " has an unknown kind or state (" +
                                     query.text(2) + ", " + query.text(3) + ")."};
  }
  row.kind = *kind;
  row.state = *state;
  row.bytes = query.integer(4);
  row.file_count = query.integer(5);
  row.created_by = query.text(6);
  row.pinned = query.boolean(7);
  row.created_at = query.time(8);
  row.updated_at = query.time(9);
  row.sealed_at = query.maybe_time(10);
  row.tombstone_at = query.maybe_time(11);
  return row;
}

}  // namespace ratchet::control
