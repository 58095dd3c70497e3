#pragma once

// Reading of third-party JSON documents (config.json, adapter_config.json, index files): bounded,
// duplicate keys refused, unknown keys ignored, all faults collected. Internal to this room.

#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"

namespace ratchet::trainer {

// Parses `text` as one JSON object, at most 64 levels deep, into `out`. `what` names the document
// in messages.
Status parse_json_object(std::string_view text, std::string_view what, nlohmann::json& out);

// A value cut to 80 characters for a message.
std::string json_excerpt(const nlohmann::json& value);

// Typed reads of one object's keys. Each read of a faulty value adds a sentence to `faults` and
// returns the fallback. JSON null counts as present for required types and as absent for the
// maybe_ reads. Borrows the object and the fault list.
class JsonFields {
 public:
  // `path` is put before key names: "" or "rope_scaling.".
  JsonFields(const nlohmann::json& object, std::string path, std::vector<std::string>& faults)
      : object_(object), path_(std::move(path)), faults_(faults) {}

  // The value when the key is there and not null, else null.
  [[nodiscard]] const nlohmann::json* find(const char* key) const;
  // Whether the key is there, also with null.
  [[nodiscard]] bool has(const char* key) const;

  std::int64_t integer(const char* key, std::int64_t min, std::int64_t max,
                       std::int64_t fallback) const;
  [[nodiscard]] std::optional<std::int64_t> maybe_integer(const char* key, std::int64_t min,
                                                          std::int64_t max) const;
  // Any finite JSON number with min < value <= max.
  double number(const char* key, double min, double max, double fallback) const;
  [[nodiscard]] std::optional<double> maybe_number(const char* key, double min, double max) const;
  [[nodiscard]] bool boolean(const char* key, bool fallback) const;  // null: the fallback
  [[nodiscard]] std::optional<std::string> maybe_text(const char* key) const;
  // A list of texts.
  [[nodiscard]] std::optional<std::vector<std::string>> maybe_texts(const char* key) const;
  // The object under the key, or null.
  [[nodiscard]] const nlohmann::json* maybe_object(const char* key) const;
  // A token id or a list of token ids.
  [[nodiscard]] std::vector<std::int64_t> token_ids(const char* key) const;

  // Adds "The key '<path><key>' is <value>; <wanted>." to the faults.
  void fault(const char* key, std::string_view wanted) const;

 private:
  const nlohmann::json& object_;
  std::string path_;
  std::vector<std::string>& faults_;
};

// Joins sentences with blanks.
std::string join_sentences(const std::vector<std::string>& sentences);

}  // namespace ratchet::trainer
