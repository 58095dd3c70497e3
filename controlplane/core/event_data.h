#pragma once

// The `data` object of an event, as JSON text.

#include <cstdint>
#include <string>
#include <string_view>

namespace ratchet::control {

class EventData {
 public:
  EventData& text(std::string_view key, std::string_view value);
  EventData& integer(std::string_view key, std::int64_t value);
  EventData& number(std::string_view key, double value);
  EventData& boolean(std::string_view key, bool value);
  EventData& object(std::string_view key, const EventData& value);
  [[nodiscard]] std::string str() const { return "{" + body_ + "}"; }

 private:
  void key(std::string_view name);
  std::string body_;
};

}  // namespace ratchet::control
