#include "controlplane/core/event_data.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace ratchet::control {

namespace {

// Texts of agents and users may be no UTF-8.
std::string quoted(std::string_view text) {
  return nlohmann::json(std::string(text))
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

void EventData::key(std::string_view name) {
  if (!body_.empty()) body_ += ',';
  body_ += quoted(name);
  body_ += ':';
}

EventData& EventData::text(std::string_view name, std::string_view value) {
  key(name);
  body_ += quoted(value);
  return *this;
}

EventData& EventData::integer(std::string_view name, std::int64_t value) {
  key(name);
  body_ += std::to_string(value);
  return *this;
}

EventData& EventData::number(std::string_view name, double value) {
  key(name);
  body_ += std::isfinite(value) ? nlohmann::json(value).dump() : "null";
  return *this;
}

EventData& EventData::boolean(std::string_view name, bool value) {
  key(name);
  body_ += value ? "true" : "false";
  return *this;
}

EventData& EventData::object(std::string_view name, const EventData& value) {
  key(name);
  body_ += value.str();
  return *this;
}

}  // namespace ratchet::control
