// Sync messages to JSON: every field is written, optional parts where they are set.

#include <nlohmann/json.hpp>

#include "proto/exit_record_json.h"
#include "proto/sync_message.h"

namespace ratchet {

using nlohmann::json;

namespace {

std::string part_text(const json& part) {
  return part.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string to_text(json message) {
  message["schema"] = kSyncSchema;
  return part_text(message);
}

json to_json_value(const GpuFacts& gpu);
json to_json_value(const SealedCheckpoint& sealed);
json to_json_value(const AttemptReport& report);
json to_json_value(const TrainerLine& line);
json to_json_value(const DesiredAttempt& desired);
json to_json_value(const CheckpointVerdict& verdict);
json to_json_value(const LineCursor& cursor);

template <class T>
json list_json(const std::vector<T>& values) {
  json out = json::array();
  for (const T& value : values) out.push_back(to_json_value(value));
  return out;
}

json to_json_value(const GpuFacts& gpu) {
  return {{"uuid", gpu.uuid},
          {"name", gpu.name},
          {"memory_total_bytes", gpu.memory_total.count()},
          {"memory_used_bytes", gpu.memory_used.count()},
          {"xids", gpu.xids}};
}

json to_json_value(const NodeFacts& facts) {
  return {{"name", facts.name},
          {"provider", facts.provider},
          {"price", to_word(facts.price)},
          {"usd_per_hour", facts.usd_per_hour},
          {"gpus", list_json(facts.gpus)},
          {"slots", facts.slots},
          {"cpu_cores", facts.cpu_cores},
          {"memory_total_bytes", facts.memory_total.count()},
          {"disk_free_bytes", facts.disk_free.count()},
          {"cache_used_bytes", facts.cache_used.count()},
          {"disk_full", facts.disk_full},
          {"preflight",
           {{"done", facts.preflight.done},
            {"passed", facts.preflight.passed},
            {"kernel_ms", facts.preflight.kernel_ms},
            {"message", facts.preflight.message}}},
          {"agent_version", facts.agent_version},
          {"trainer_version", facts.trainer_version}};
}

json to_json_value(const SealedCheckpoint& sealed) {
  return {{"step", sealed.step},
          {"manifest_sha256", sealed.manifest_sha256},
          {"parent_manifest_sha256", sealed.parent_manifest_sha256},
          {"bytes", sealed.size.count()},
          {"artifact_id", sealed.artifact_id}};
}

json to_json_value(const AttemptExit& exit) {
  json record = json::object();
  put_exit_record(record, exit.record, {});
  return {{"cause", to_word(exit.cause)},
          {"record", std::move(record)},
          {"result_artifact", exit.result_artifact}};
}

json to_json_value(const AttemptReport& report) {
  json out = {{"job_id", report.job_id.str()},
              {"attempt_no", report.attempt_no},
              {"epoch", report.epoch},
              {"state", to_word(report.state)},
              {"stage", report.stage},
              {"step", report.step},
              {"total_steps", report.total_steps},
              {"resumed_from_step", report.resumed_from_step},
              {"replayed_steps", report.replayed_steps},
              {"step_age_ms", report.step_age.count()},
              {"sealed", list_json(report.sealed)}};
  if (report.exit) out["exit"] = to_json_value(*report.exit);
  return out;
}

json to_json_value(const TrainerLine& line) {
  return {{"job_id", line.job_id.str()},
          {"attempt_no", line.attempt_no},
          {"epoch", line.epoch},
          {"seq", line.seq},
          {"line", line.line}};
}

json to_json_value(const ReclaimNotice& notice) {
  return {{"source", notice.source},
          {"kind", to_word(notice.kind)},
          {"action", notice.action},
          {"event_id", notice.event_id},
          {"lead_ms", notice.lead.count()}};
}

json to_json_value(const InputRef& input) {
  if (!input.artifact_id.empty()) return {{"artifact_id", input.artifact_id}};
  return {{"node_path", input.node_path}};
}

json to_json_value(const JobInputs& inputs) {
  json out = {{"base_model", to_json_value(inputs.base_model)},
              {"train", to_json_value(inputs.train)}};
  if (inputs.validation) out["validation"] = to_json_value(*inputs.validation);
  if (inputs.chat_template) out["chat_template"] = to_json_value(*inputs.chat_template);
  if (inputs.init_adapter) out["init_adapter"] = to_json_value(*inputs.init_adapter);
  return out;
}

json to_json_value(const DesiredAttempt& desired) {
  json out = {{"job_id", desired.job_id.str()},
              {"run_id", desired.run_id.str()},
              {"attempt_no", desired.attempt_no},
              {"epoch", desired.epoch},
              {"want", to_word(desired.want)},
              {"deadline_ms", desired.deadline.count()},
              {"stop_cause", to_word(desired.stop_cause)},
              {"job_spec", desired.job_spec},
              {"inputs", to_json_value(desired.inputs)}};
  if (desired.resume) {
    out["resume"] = {{"step", desired.resume->step},
                     {"manifest_sha256", desired.resume->manifest_sha256},
                     {"artifact_id", desired.resume->artifact_id}};
  }
  return out;
}

json to_json_value(const CheckpointVerdict& verdict) {
  return {{"job_id", verdict.job_id.str()},
          {"epoch", verdict.epoch},
          {"step", verdict.step},
          {"manifest_sha256", verdict.manifest_sha256},
          {"verdict", to_word(verdict.verdict)},
          {"reason", verdict.reason}};
}

json to_json_value(const LineCursor& cursor) {
  return {{"job_id", cursor.job_id.str()}, {"attempt_no", cursor.attempt_no}, {"seq", cursor.seq}};
}

}  // namespace

std::string encode(const HelloRequest& message) {
  return to_text({{"node_id", message.node_id},
                  {"incarnation", message.incarnation},
                  {"intent", message.intent},
                  {"facts", to_json_value(message.facts)},
                  {"attempts", list_json(message.attempts)}});
}

std::string encode(const HelloResponse& message) {
  return to_text({{"node_id", message.node_id},
                  {"node_token", message.node_token},
                  {"boot_id", message.boot_id},
                  {"heartbeat_ms", message.heartbeat.count()},
                  {"contact_ttl_ms", message.contact_ttl.count()},
                  {"authority_ttl_ms", message.authority_ttl.count()},
                  {"sync_wait_ms", message.sync_wait.count()}});
}

std::string encode(const HeartbeatRequest& message) {
  return to_text(
      {{"node_id", message.node_id}, {"incarnation", message.incarnation}, {"seq", message.seq}});
}

std::string encode(const HeartbeatResponse& message) {
  return to_text({{"boot_id", message.boot_id},
                  {"desired_rev", message.desired_rev},
                  {"contact_ttl_ms", message.contact_ttl.count()},
                  {"authority_ttl_ms", message.authority_ttl.count()}});
}

std::string encode(const SyncRequest& message) {
  json out = {{"node_id", message.node_id},
              {"incarnation", message.incarnation},
              {"seq", message.seq},
              {"boot_id", message.boot_id},
              {"desired_rev", message.desired_rev},
              {"wait_ms", message.wait.count()},
              {"facts", to_json_value(message.facts)},
              {"attempts", list_json(message.attempts)},
              {"lines", list_json(message.lines)}};
  if (message.notice) out["notice"] = to_json_value(*message.notice);
  return to_text(std::move(out));
}

std::string encode(const SyncResponse& message) {
  json out = {{"boot_id", message.boot_id},
              {"desired_rev", message.desired_rev},
              {"contact_ttl_ms", message.contact_ttl.count()},
              {"authority_ttl_ms", message.authority_ttl.count()},
              {"inventory_open", message.inventory_open},
              {"desired", list_json(message.desired)},
              {"verdicts", list_json(message.verdicts)},
              {"acked_lines", list_json(message.acked_lines)},
              {"acked_ends", list_json(message.acked_ends)},
              {"node_want", to_word(message.node_want)},
              {"node_deadline_ms", message.node_deadline.count()}};
  if (message.simulate) out["simulate"] = to_json_value(*message.simulate);
  return to_text(std::move(out));
}

std::string encode(const NoticeRequest& message) {
  return to_text({{"node_id", message.node_id},
                  {"incarnation", message.incarnation},
                  {"notice", to_json_value(message.notice)}});
}

std::string encode(const DesiredAttempt& message) { return part_text(to_json_value(message)); }

std::string encode(const JobInputs& message) { return part_text(to_json_value(message)); }

std::string encode(const AttemptReport& message) { return part_text(to_json_value(message)); }

}  // namespace ratchet
