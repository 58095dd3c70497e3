#pragma once

// Strict reading of our own canonical JSON. Include only in .cc files of this folder.
//
// The first fault ends it: getters then return defaults, and the caller asks status() once.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"

namespace ratchet::trainer {

inline constexpr int kMaxJsonDepth = 8;

// Parses one JSON object. Refuses more than `max_bytes`, deeper nesting than kMaxJsonDepth, a key
// twice in one object, and anything that is not JSON. `what` names the document in messages.
Result<nlohmann::json> parse_object(std::string_view text, std::uint64_t max_bytes,
                                    std::string_view what);

// "16 lower-case hex digits" of the bits.
std::string float_bits(double value);

class ObjectReader {
 public:
  // `error` collects the first fault of all readers of one document and outlives them.
  ObjectReader(const nlohmann::json& value, std::string path, std::string& error);

  std::uint64_t u64(const char* key, std::uint64_t max = UINT64_MAX);
  std::uint32_t u32(const char* key);
  bool boolean(const char* key);
  std::string text(const char* key, std::size_t max_bytes);
  // Exactly `digits` lower-case hex digits, or nothing where `may_be_empty`.
  enum class Empty { kRefused, kAllowed };
  std::string hex(const char* key, std::size_t digits, Empty empty = Empty::kRefused);
  double bits(const char* key);
  std::optional<double> maybe_bits(const char* key);  // null or bits
  std::vector<std::string> texts(const char* key, std::size_t max_count, std::size_t max_bytes);
  std::vector<double> bits_list(const char* key, std::size_t max_count);
  std::vector<std::uint64_t> u64_list(const char* key, std::size_t max_count);
  // Elements of an array; null when it is missing, no array or too long.
  const nlohmann::json* array(const char* key, std::size_t max_count);
  ObjectReader object(const char* key);
  std::optional<ObjectReader> maybe_object(const char* key);  // null or an object

  void fail(const char* key, std::string_view what);
  // Refuses keys that were not asked for.
  void finish();
  [[nodiscard]] std::string path_of(std::string_view key) const;

 private:
  const nlohmann::json* get(const char* key);

  const nlohmann::json* value_;
  std::string path_;
  std::string* error_;
  std::set<std::string, std::less<>> seen_;
};

}  // namespace ratchet::trainer
