#include <algorithm>
#include <nlohmann/json.hpp>

#include "controlplane/api/forms.h"
#include "controlplane/api/forms_json.h"
#include "controlplane/core/cost.h"
#include "proto/words.h"

namespace ratchet::control {

using nlohmann::json;

namespace {

constexpr std::int64_t kLoop = 3;                           // interruptions (SPT-19)
constexpr std::int64_t kRecoveryTargetMs = 10 * 60 * 1000;  // SPT-06

json cost_form(const Cost& cost) {
  return {{"usd", cost.usd},
          {"training_usd", cost.training_usd},
          {"overhead_usd", cost.overhead_usd},
          {"training_s", cost.training_s},
          {"overhead_s", cost.overhead_s},
          {"usd_per_hour", cost.usd_per_hour}};
}

json failure_form(const Failure& failure) {
  return {{"error_type", failure.error_type},
          {"message", failure.message},
          {"next_step", failure.next_step},
          {"step", failure.step},
          {"stage", text_or_null(failure.stage)},
          {"at_ms", failure.time.count()},
          {"evidence", evidence_form(failure.evidence)}};
}

json needs_form(const Requirements& needs) {
  return {{"kind", to_word(needs.kind)},
          {"count", needs.count},
          {"gpu_type", text_or_null(needs.gpu_type)},
          {"gpu_memory_bytes", needs.gpu_memory.count()},
          {"price_class", to_word(needs.price)}};
}

json stages_form(const InterruptionRow& row) {
  auto out = json::array();
  for (std::size_t i = 0; i < row.stages.size(); ++i) {
    const auto& stage = row.stages.at(i);
    out.push_back({{"stage", to_word(static_cast<RecoveryStage>(i))},
                   {"state", to_word(stage.state)},
                   {"began_at_ms", time_form(stage.began)},
                   {"ended_at_ms", time_form(stage.ended)}});
  }
  return out;
}

json head_form(const Head& head) {
  return {{"step", head.step},
          {"manifest_sha256", text_or_null(head.manifest_sha256)},
          {"artifact_id", text_or_null(head.artifact_id)}};
}

// TRN-06: orange interrupted, blue recovering, green resumed, red failed.
json badge_form(const JobParts& parts) {
  const auto& last = parts.last_interruption;
  switch (parts.view.state) {
    case JobState::kInterrupted:
      return "interrupted";
    case JobState::kRecovering:
      return "recovering";
    case JobState::kFailed:
      return "failed";
    case JobState::kTraining:
      return last && last->resumed_at ? json("resumed") : json(nullptr);
    default:
      return nullptr;
  }
}

// While a recovery is under way.
json recovery_form(const JobParts& parts) {
  const auto& last = parts.last_interruption;
  if (!last || last->resumed_at || is_terminal(parts.view.row.phase)) return nullptr;
  return {
      {"number", last->number}, {"cause", to_word(last->cause)}, {"stages", stages_form(*last)}};
}

json input_form(const InputRef& ref) {
  if (!ref.artifact_id.empty()) return {{"artifact_id", ref.artifact_id}};
  return {{"node_path", ref.node_path}};
}

json inputs_form(const JobInputs& inputs) {
  json out{{"base_model", input_form(inputs.base_model)}, {"train", input_form(inputs.train)}};
  if (inputs.validation) out["validation"] = input_form(*inputs.validation);
  if (inputs.chat_template) out["chat_template"] = input_form(*inputs.chat_template);
  if (inputs.init_adapter) out["init_adapter"] = input_form(*inputs.init_adapter);
  return out;
}

json ends_form(const Ledger& ledger) {
  auto out = json::object();
  for (const auto& [cause, count] : ledger.ends) out[std::string(to_word(cause))] = count;
  return out;
}

// Node of the attempt that goes on; what was, is under /attempts.
json node_of(const JobParts& parts) {
  if (parts.attempts.empty() || is_terminal(parts.view.row.phase)) return nullptr;
  const auto& last = parts.attempts.back();
  return last.state == AttemptState::kEnded ? json(nullptr) : json(last.node_id);
}

}  // namespace

json job_form(const JobParts& parts, UnixMillis now) {
  const auto& row = parts.view.row;
  json out{{"id", row.id.str()},
           {"run_id", row.run_id.str()},
           {"parent", text_or_null(row.parent.str())},
           {"name", row.name},
           {"created_by", text_or_null(row.created_by)},
           {"state", to_word(parts.view.state)},
           {"phase", to_word(row.phase)},
           {"badge", badge_form(parts)},
           {"epoch", row.epoch},
           {"attempts", row.attempts},
           {"event_seq", row.event_seq},
           {"node", node_of(parts)},
           {"step", row.step},
           {"total_steps", row.total_steps},
           {"percent", percent_of(row.step, row.total_steps)},
           {"stage", text_or_null(row.stage)},
           {"priority", row.priority}};
  out["needs"] = needs_form(row.needs);
  out["inputs"] = inputs_form(row.inputs);
  out["spec"] = json::parse(row.spec_json, nullptr, false);
  if (out["spec"].is_discarded()) out["spec"] = nullptr;
  out["head"] = head_form(row.head);
  out["result_artifact"] = text_or_null(row.result_artifact);
  out["failure"] = row.failure ? failure_form(*row.failure) : json(nullptr);
  out["ended_attempts"] = ends_form(row.ledger);
  out["backoff_until_ms"] = time_form(row.backoff_until);
  out["avoid_nodes"] = row.avoid_nodes;
  out["cost"] = cost_form(cost_of(parts.attempts, now));
  out["interruptions"] = parts.view.interruptions;
  out["interruption_loop"] = parts.view.interruptions >= kLoop;
  out["recovery"] = recovery_form(parts);
  out["last_step"] = parts.last_step ? step_form(*parts.last_step) : json(nullptr);
  out["starts_at_ms"] = time_form(row.starts_at);
  out["created_at_ms"] = row.created_at.count();
  out["updated_at_ms"] = row.updated_at.count();
  out["started_at_ms"] = time_form(row.started_at);
  out["ended_at_ms"] = time_form(row.ended_at);
  return out;
}

json attempt_form(const AttemptRow& row, UnixMillis now) {
  json out{{"attempt_no", row.attempt_no},
           {"epoch", row.epoch},
           {"node_id", row.node_id},
           {"state", to_word(row.state)},
           {"cause", row.cause ? json(to_word(*row.cause)) : json(nullptr)},
           {"message", text_or_null(row.end_message)},
           {"resume", head_form(row.resume)},
           {"step", row.step},
           {"replayed_steps", row.replayed_steps},
           {"usd_per_hour", row.usd_per_hour},
           {"cost", cost_form(cost_of(std::span(&row, 1), now))},
           {"offered_at_ms", row.offered_at.count()},
           {"accepted_at_ms", time_form(row.accepted_at)},
           {"first_step_at_ms", time_form(row.first_step_at)},
           {"ended_at_ms", time_form(row.ended_at)}};
  out["evidence"] = row.exit ? evidence_form(row.exit->record.evidence) : json(nullptr);
  return out;
}

json checkpoint_form(const CheckpointRow& row, std::int64_t total_steps) {
  return {{"step", row.step},
          {"percent", percent_of(row.step, total_steps)},
          {"epoch", row.epoch},
          {"attempt_no", row.attempt_no},
          {"state", to_word(row.state)},
          {"manifest_sha256", row.manifest_sha256},
          {"parent_manifest_sha256", text_or_null(row.parent_manifest_sha256)},
          {"artifact_id", text_or_null(row.artifact_id)},
          {"bytes", row.size.count()},
          {"saved_at_ms", row.saved_at.count()},
          {"retired_at_ms", time_form(row.retired_at)}};
}

json interruption_form(const InterruptionRow& row) {
  json downtime = nullptr;
  json within = nullptr;
  if (row.resumed_at) {
    const auto ms = (*row.resumed_at - row.interrupted_at).count();
    downtime = static_cast<double>(ms) / 1000;
    within = ms <= kRecoveryTargetMs;
  }
  return {{"number", row.number},
          {"cause", to_word(row.cause)},
          {"source", row.source},
          {"reason", row.reason},
          {"attempt_no", row.attempt_no},
          {"interrupted_step", row.interrupted_step},
          {"interrupted_at_ms", row.interrupted_at.count()},
          {"resumed_attempt_no",
           row.resumed_attempt_no > 0 ? json(row.resumed_attempt_no) : json(nullptr)},
          {"resumed_step", row.resumed_step ? json(*row.resumed_step) : json(nullptr)},
          {"resumed_at_ms", time_form(row.resumed_at)},
          {"downtime_s", downtime},
          {"within_target", within},
          {"replayed_steps", row.replayed_steps},
          {"stages", stages_form(row)}};
}

}  // namespace ratchet::control
