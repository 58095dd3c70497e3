#pragma once

// Columns and rows of tables that more than one file reads. select_x(tail) is
// "SELECT <columns> FROM <table> <tail>"; read_x() takes the row on which the query stands.

#include <string>
#include <string_view>

#include "controlplane/store/database.h"
#include "controlplane/store/records.h"

namespace ratchet::control {

std::string select_events(std::string_view tail);
EventRecord read_event(const Query& query, const std::string& store_id);

std::string select_deliveries(std::string_view tail);
DeliveryRow read_delivery(const Query& query, const std::string& store_id);

std::string select_artifacts(std::string_view tail);
Result<ArtifactRow> read_artifact(const Query& query);

}  // namespace ratchet::control
