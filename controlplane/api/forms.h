#pragma once

// Rows as the API's JSON. Field names: /v1/openapi.json. Pure.

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "controlplane/artifacts/artifact_store.h"
#include "controlplane/core/rows.h"
#include "controlplane/service/ingest.h"
#include "controlplane/store/reads.h"
#include "controlplane/store/store.h"

namespace ratchet::control {

struct JobParts {  // what a Job is put together from
  JobView view;
  std::vector<AttemptRow> attempts;
  std::optional<InterruptionRow> last_interruption;
  std::optional<LastStep> last_step;
};

nlohmann::json job_form(const JobParts& parts, UnixMillis now);
nlohmann::json attempt_form(const AttemptRow& row, UnixMillis now);
nlohmann::json checkpoint_form(const CheckpointRow& row, std::int64_t total_steps);
nlohmann::json interruption_form(const InterruptionRow& row);
nlohmann::json event_form(const EventRecord& record);
nlohmann::json step_form(const LastStep& step);
nlohmann::json metric_form(const MetricRow& row);
nlohmann::json evaluation_form(const EvaluationRow& row);
nlohmann::json node_form(const NodeView& view);
nlohmann::json artifact_form(const ArtifactRow& row);
nlohmann::json artifact_form(const ArtifactStatus& status);
nlohmann::json token_form(const TokenRow& row);
nlohmann::json fault_form(const ErrorLogRow& row);
nlohmann::json webhook_form(const WebhookRow& row);
nlohmann::json delivery_form(const DeliveryRow& row);
nlohmann::json store_health_form(const StoreHealth& health);

// {"items": [...], "next_cursor": null | ".."}
nlohmann::json list_form(nlohmann::json items, const std::string& next_cursor);

// As text; bytes that are no UTF-8 are replaced.
std::string to_text(const nlohmann::json& value);

// 0 to 100.
double percent_of(std::int64_t step, std::int64_t total_steps);

}  // namespace ratchet::control
