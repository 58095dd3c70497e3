#pragma once

// Reads of what a server answered that never throw: an absent key, a null and a value of another
// kind all read as the fallback. Only .cc files include this.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "proto/units.h"

namespace ratchet::control::cli {

using Json = nlohmann::json;

// Null when `value` is no object or lacks the key.
inline const Json* member(const Json& value, std::string_view key) {
  if (!value.is_object()) return nullptr;
  const auto found = value.find(key);
  return found == value.end() || found->is_null() ? nullptr : &*found;
}

// An empty object when there is none.
inline const Json& object_at(const Json& value, std::string_view key) {
  static const Json kNone = Json::object();
  const Json* found = member(value, key);
  return found != nullptr && found->is_object() ? *found : kNone;
}

inline const Json& array_at(const Json& value, std::string_view key) {
  static const Json kNone = Json::array();
  const Json* found = member(value, key);
  return found != nullptr && found->is_array() ? *found : kNone;
}

inline std::string text_at(const Json& value, std::string_view key,
                           std::string_view fallback = "") {
  const Json* found = member(value, key);
  if (found == nullptr || !found->is_string()) return std::string(fallback);
  return found->get_ref<const std::string&>();
}

inline std::optional<double> number_at(const Json& value, std::string_view key) {
  const Json* found = member(value, key);
  if (found == nullptr || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

inline std::int64_t integer_at(const Json& value, std::string_view key, std::int64_t fallback = 0) {
  const Json* found = member(value, key);
  if (found == nullptr || !found->is_number_integer()) return fallback;
  if (found->is_number_unsigned() && found->get<std::uint64_t>() > INT64_MAX) return fallback;
  return found->get<std::int64_t>();
}

inline bool flag_at(const Json& value, std::string_view key) {
  const Json* found = member(value, key);
  return found != nullptr && found->is_boolean() && found->get<bool>();
}

inline UnixMillis time_at(const Json& value, std::string_view key) {
  return UnixMillis(integer_at(value, key));
}

// A null JSON value when the text is none, is deeper than 64 or longer than `max_bytes`.
Json parse_json(std::string_view text, std::size_t max_bytes);

}  // namespace ratchet::control::cli
