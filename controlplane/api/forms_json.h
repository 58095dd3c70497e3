#pragma once

// Small parts of the API's JSON, for the .cc files of this room only.

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "proto/exit_record.h"
#include "proto/units.h"

namespace ratchet::control {

nlohmann::json time_form(const std::optional<UnixMillis>& time);
nlohmann::json text_or_null(const std::string& text);
nlohmann::json number_form(double value);  // null when it is not finite
nlohmann::json evidence_form(const std::map<std::string, EvidenceValue>& evidence);

}  // namespace ratchet::control
