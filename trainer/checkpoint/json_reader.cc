#include "trainer/checkpoint/json_reader.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdio>

namespace ratchet::trainer {
namespace {

using nlohmann::json;

bool is_lower_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::optional<double> parse_bits(const json& value) {
  if (!value.is_string()) return std::nullopt;
  const auto& text = value.get_ref<const std::string&>();
  if (text.size() != 16 || !is_lower_hex(text)) return std::nullopt;
  std::uint64_t bits = 0;
  std::from_chars(text.data(), text.data() + text.size(), bits, 16);
  return std::bit_cast<double>(bits);
}

// Watches a parse for what the library lets pass.
class Watcher {
 public:
  bool operator()(int depth, json::parse_event_t event, json& parsed) {
    if (depth > kMaxJsonDepth && error_.empty()) {
      error_ = "nests deeper than " + std::to_string(kMaxJsonDepth) + " levels";
    }
    if (!error_.empty()) return false;
    if (event == json::parse_event_t::object_start) keys_.emplace_back();
    if (event == json::parse_event_t::object_end) keys_.pop_back();
    if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) error_ = "has the key \"" + key + "\" twice";
    }
    return true;
  }
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  std::vector<std::set<std::string>> keys_;
  std::string error_;
};

}  // namespace

Result<json> parse_object(std::string_view text, std::uint64_t max_bytes, std::string_view what) {
  const std::string name(what);
  if (text.size() > max_bytes) {
    return Error{Code::kCorrupt, name + " is longer than " + std::to_string(max_bytes) + " bytes."};
  }
  Watcher watcher;
  const json::parser_callback_t callback = [&](int depth, json::parse_event_t event, json& parsed) {
    return watcher(depth, event, parsed);
  };
  json value = json::parse(text.begin(), text.end(), callback, false);
  if (!watcher.error().empty()) {
    return Error{Code::kCorrupt, name + " " + watcher.error() + "."};
  }
  if (value.is_discarded()) return Error{Code::kCorrupt, name + " is not JSON."};
  if (!value.is_object()) return Error{Code::kCorrupt, name + " is not a JSON object."};
  return {boost::system::in_place_value, std::move(value)};
}

std::string float_bits(double value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx",
                static_cast<unsigned long long>(std::bit_cast<std::uint64_t>(value)));
  return text;
}

ObjectReader::ObjectReader(const json& value, std::string path, std::string& error)
    : value_(&value), path_(std::move(path)), error_(&error) {}

std::string ObjectReader::path_of(std::string_view key) const {
  return path_ + "." + std::string(key);
}

void ObjectReader::fail(const char* key, std::string_view what) {
  if (error_->empty()) *error_ = path_of(key) + " " + std::string(what);
}

const json* ObjectReader::get(const char* key) {
  seen_.insert(key);
  if (!error_->empty()) return nullptr;
  const auto it = value_->find(key);
  if (it == value_->end()) {
    fail(key, "is missing");
    return nullptr;
  }
  return &*it;
}

std::uint64_t ObjectReader::u64(const char* key, std::uint64_t max) {
  const json* value = get(key);
  if (value == nullptr) return 0;
  if (!value->is_number_unsigned()) {
    fail(key, "is not an unsigned integer");
    return 0;
  }
  const auto number = value->get<std::uint64_t>();
  if (number > max) {
    fail(key, "is more than " + std::to_string(max));
    return 0;
  }
  return number;
}

std::uint32_t ObjectReader::u32(const char* key) {
  return static_cast<std::uint32_t>(u64(key, UINT32_MAX));
}

bool ObjectReader::boolean(const char* key) {
  const json* value = get(key);
  if (value == nullptr) return false;
  if (!value->is_boolean()) fail(key, "is not true or false");
  return value->is_boolean() && value->get<bool>();
}

std::string ObjectReader::text(const char* key, std::size_t max_bytes) {
  const json* value = get(key);
  if (value == nullptr) return {};
  if (!value->is_string() || value->get_ref<const std::string&>().size() > max_bytes) {
    fail(key, "is not a text of at most " + std::to_string(max_bytes) + " bytes");
    return {};
  }
  return value->get<std::string>();
}

std::string ObjectReader::hex(const char* key, std::size_t digits, Empty empty) {
  std::string value = text(key, digits);
  if (value.empty() && empty == Empty::kAllowed) return value;
  if (value.size() != digits || !is_lower_hex(value)) {
    fail(key, "is not " + std::to_string(digits) + " lower-case hex digits");
  }
  return value;
}

double ObjectReader::bits(const char* key) {
  const json* value = get(key);
  if (value == nullptr) return 0;
  const auto number = parse_bits(*value);
  if (!number) fail(key, "is not a float as 16 lower-case hex digits");
  return number.value_or(0);
}

std::optional<double> ObjectReader::maybe_bits(const char* key) {
  const json* value = get(key);
  if (value == nullptr || value->is_null()) return std::nullopt;
  return bits(key);
}

const json* ObjectReader::array(const char* key, std::size_t max_count) {
  const json* value = get(key);
  if (value == nullptr) return nullptr;
  if (!value->is_array() || value->size() > max_count) {
    fail(key, "is not an array of at most " + std::to_string(max_count) + " elements");
    return nullptr;
  }
  return value;
}

std::vector<std::string> ObjectReader::texts(const char* key, std::size_t max_count,
                                             std::size_t max_bytes) {
  std::vector<std::string> result;
  const json* items = array(key, max_count);
  if (items == nullptr) return result;
  for (const json& item : *items) {
    if (!item.is_string() || item.get_ref<const std::string&>().size() > max_bytes) {
      fail(key,
           "holds something other than texts of at most " + std::to_string(max_bytes) + " bytes");
      return {};
    }
    result.push_back(item.get<std::string>());
  }
  return result;
}

std::vector<double> ObjectReader::bits_list(const char* key, std::size_t max_count) {
  std::vector<double> result;
  const json* items = array(key, max_count);
  if (items == nullptr) return result;
  for (const json& item : *items) {
    const auto number = parse_bits(item);
    if (!number) {
      fail(key, "holds something other than floats as 16 lower-case hex digits");
      return {};
    }
    result.push_back(*number);
  }
  return result;
}

std::vector<std::uint64_t> ObjectReader::u64_list(const char* key, std::size_t max_count) {
  std::vector<std::uint64_t> result;
  const json* items = array(key, max_count);
  if (items == nullptr) return result;
  for (const json& item : *items) {
    if (!item.is_number_unsigned()) {
      fail(key, "holds something other than unsigned integers");
      return {};
    }
    result.push_back(item.get<std::uint64_t>());
  }
  return result;
}

ObjectReader ObjectReader::object(const char* key) {
  static const json kEmpty = json::object();
  const json* value = get(key);
  if (value != nullptr && !value->is_object()) {
    fail(key, "is not an object");
    value = nullptr;
  }
  return ObjectReader(value != nullptr ? *value : kEmpty, path_of(key), *error_);
}

std::optional<ObjectReader> ObjectReader::maybe_object(const char* key) {
  const json* value = get(key);
  if (value == nullptr || value->is_null()) return std::nullopt;
  return object(key);
}

void ObjectReader::finish() {
  if (!error_->empty()) return;
  for (const auto& [key, value] : value_->items()) {
    if (seen_.contains(key)) continue;
    *error_ = path_of(key) + " is unknown";
    return;
  }
}

}  // namespace ratchet::trainer
