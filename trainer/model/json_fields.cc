#include "trainer/model/json_fields.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "trainer/model/file_io.h"

namespace ratchet::trainer {

namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 64;
constexpr std::size_t kExcerptBytes = 80;

// Thrown out of the parser's callback, caught in parse_json_object().
struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class DuplicateWatch {
 public:
  bool operator()(int depth, Json::parse_event_t event, const Json& parsed) {
    if (depth > kMaxDepth) throw Refused(cat("it nests deeper than ", kMaxDepth, " levels"));
    if (event == Json::parse_event_t::object_start) keys_.emplace_back();
    if (event == Json::parse_event_t::object_end) keys_.pop_back();
    if (event == Json::parse_event_t::key && !keys_.back().insert(parsed).second) {
      throw Refused(cat("the key ", json_excerpt(parsed), " stands twice in one object"));
    }
    return true;
  }

 private:
  std::vector<std::set<std::string>> keys_;
};

std::string range_text(double min, double max) {
  return cat("a number above ", min, " and at most ", max, " is needed");
}

}  // namespace

Status parse_json_object(std::string_view text, std::string_view what, Json& out) {
  const auto refuse = [&](std::string_view why) {
    return Error{Code::kInvalidArgument, cat(what, " could not be read: ", why, ".")};
  };
  if (text.find('\0') != std::string_view::npos) return refuse("it holds a NUL byte");
  try {
    DuplicateWatch watch;
    const Json::parser_callback_t callback = [&watch](int depth, Json::parse_event_t event,
                                                      Json& parsed) {
      return watch(depth, event, parsed);
    };
    out = Json::parse(text, callback);
    if (!out.is_object()) return refuse("it is not a JSON object");
    return ok();
  } catch (const Refused& why) {
    return refuse(why.what());
  } catch (const Json::parse_error& error) {
    return refuse(cat("it is not valid JSON near byte ", error.byte));
  } catch (const Json::exception&) {
    return refuse("it holds a number outside the range of a 64-bit float");
  }
}

std::string json_excerpt(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() <= kExcerptBytes) return text;
  text.resize(kExcerptBytes);
  // A cut inside a UTF-8 sequence would make the message itself invalid.
  while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xc0U) == 0x80U) {
    text.pop_back();
  }
  if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0x80U) text.pop_back();
  return text + "...";
}

const Json* JsonFields::find(const char* key) const {
  const auto at = object_.find(key);
  return at == object_.end() || at->is_null() ? nullptr : &*at;
}

bool JsonFields::has(const char* key) const { return object_.contains(key); }

void JsonFields::fault(const char* key, std::string_view wanted) const {
  faults_.push_back(cat("The key '", path_, key, "' is ",
                        object_.contains(key) ? json_excerpt(object_.at(key)) : "absent", "; ",
                        wanted, "."));
}

std::optional<std::int64_t> JsonFields::maybe_integer(const char* key, std::int64_t min,
                                                      std::int64_t max) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  const bool fits = value->is_number_integer() &&
                    (!value->is_number_unsigned() ||
                     value->get<std::uint64_t>() <=
                         static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
  if (fits) {
    const auto number = value->get<std::int64_t>();
    if (number >= min && number <= max) return number;
  }
  fault(key, cat("a whole number from ", min, " to ", max, " is needed"));
  return std::nullopt;
}

std::int64_t JsonFields::integer(const char* key, std::int64_t min, std::int64_t max,
                                 std::int64_t fallback) const {
  if (!has(key)) return fallback;
  if (find(key) == nullptr) {
    fault(key, cat("a whole number from ", min, " to ", max, " is needed"));
    return fallback;
  }
  return maybe_integer(key, min, max).value_or(fallback);
}

std::optional<double> JsonFields::maybe_number(const char* key, double min, double max) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) {
    const auto number = value->get<double>();
    if (std::isfinite(number) && number > min && number <= max) return number;
  }
  fault(key, range_text(min, max));
  return std::nullopt;
}

double JsonFields::number(const char* key, double min, double max, double fallback) const {
  if (!has(key)) return fallback;
  if (find(key) == nullptr) {
    fault(key, range_text(min, max));
    return fallback;
  }
  return maybe_number(key, min, max).value_or(fallback);
}

bool JsonFields::boolean(const char* key, bool fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (value->is_boolean()) return value->get<bool>();
  fault(key, "true or false is needed");
  return fallback;
}

std::optional<std::string> JsonFields::maybe_text(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  fault(key, "text is needed");
  return std::nullopt;
}

std::optional<std::vector<std::string>> JsonFields::maybe_texts(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  bool texts = value->is_array();
  for (std::size_t i = 0; texts && i < value->size(); ++i) texts = (*value)[i].is_string();
  if (texts) return value->get<std::vector<std::string>>();
  fault(key, "a list of texts is needed");
  return std::nullopt;
}

const Json* JsonFields::maybe_object(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr || value->is_object()) return value;
  fault(key, "an object is needed");
  return nullptr;
}

std::vector<std::int64_t> JsonFields::token_ids(const char* key) const {
  constexpr std::int64_t kMaxId = std::numeric_limits<std::int32_t>::max();
  constexpr std::size_t kMaxIds = 1024;
  std::vector<std::int64_t> ids;
  const Json* value = find(key);
  if (value == nullptr) return ids;
  const auto take = [&](const Json& id) {
    if (!id.is_number_integer() || id < 0 || id > kMaxId) return false;
    ids.push_back(id.get<std::int64_t>());
    return true;
  };
  bool good = value->is_array() ? value->size() <= kMaxIds : take(*value);
  for (std::size_t i = 0; value->is_array() && good && i < value->size(); ++i) {
    good = take((*value)[i]);
  }
  if (good) return ids;
  fault(key, "a token id or a list of token ids is needed");
  return {};
}

std::string join_sentences(const std::vector<std::string>& sentences) {
  std::string text;
  for (const std::string& sentence : sentences) text += cat(text.empty() ? "" : " ", sentence);
  return text;
}

}  // namespace ratchet::trainer
