#include "proto/object_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "proto/document.h"
#include "proto/ids.h"

namespace ratchet {

using nlohmann::json;

namespace {

// Only for known keys and words, which need no escapes.
std::string in_quotes(std::string_view word) {
  std::string out(1, '"');
  out.append(word).append(1, '"');
  return out;
}

std::string number_text(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.10g", value);
  return text.data();
}

std::string allowed_text(IntegerRange range) {
  const bool below = range.min == std::numeric_limits<std::int64_t>::min();
  const bool above = range.max == std::numeric_limits<std::int64_t>::max();
  if (below && above) return "must be an integer.";
  if (above) return "must be an integer, " + std::to_string(range.min) + " or more.";
  return "must be an integer from " + std::to_string(range.min) + " to " +
         std::to_string(range.max) + ".";
}

std::string allowed_text(NumberRange range) {
  const bool open_low = range.lower == Bound::kExclusive;
  const bool open_high = range.upper == Bound::kExclusive;
  std::string low;
  std::string high;
  if (range.min != std::numeric_limits<double>::lowest()) {
    low = (open_low ? " above " : " from ") + number_text(range.min);
  }
  if (range.max != std::numeric_limits<double>::max()) {
    const bool closed = !open_low && !open_high && !low.empty();
    high = (open_high ? "below " : closed ? "to " : "at most ") + number_text(range.max);
    high.insert(0, low.empty() || closed ? " " : " and ");
  }
  return "must be a number" + low + high + ".";
}

bool in_range(double value, NumberRange range) {
  const bool low = range.lower == Bound::kExclusive ? value > range.min : value >= range.min;
  const bool high = range.upper == Bound::kExclusive ? value < range.max : value <= range.max;
  return std::isfinite(value) && low && high;
}

// What is wrong with a text, or nothing.
std::optional<std::string> text_fault(std::string_view text, TextRule rule) {
  if (text.size() < rule.min_length) return "must not be empty.";
  if (text.size() > rule.max_length) {
    return "must be at most " + std::to_string(rule.max_length) + " bytes long; it has " +
           std::to_string(text.size()) + ".";
  }
  for (char c : text) {
    if (rule.kind == TextKind::kAny) break;
    const auto byte = static_cast<unsigned char>(c);
    const bool line = rule.kind == TextKind::kParagraphs && (c == '\n' || c == '\t' || c == '\r');
    if ((byte < 0x20 && !line) || byte == 0x7F) return "must not hold control characters.";
  }
  return std::nullopt;
}

}  // namespace

ObjectReader::ObjectReader(const json& value, std::string path, FindingList& findings,
                           UnknownKeys unknown, std::span<const KeyHint> hints)
    : object_(value.is_object() ? &value : nullptr),
      path_(std::move(path)),
      findings_(&findings),
      unknown_(unknown),
      hints_(hints) {
  if (!object_) findings_->add(path_, shorten(value), "must be an object {...}.");
}

ObjectReader::ObjectReader(ObjectReader&& other) noexcept
    : object_(std::exchange(other.object_, nullptr)),
      path_(std::move(other.path_)),
      findings_(other.findings_),
      unknown_(other.unknown_),
      hints_(other.hints_),
      known_(std::move(other.known_)) {}

ObjectReader::~ObjectReader() {
  if (object_ && unknown_ == UnknownKeys::kReject) report_unknown_keys();
}

void ObjectReader::report_unknown_keys() {
  const std::vector<std::string_view> known(known_.begin(), known_.end());
  for (const auto& [key, value] : object_->items()) {
    if (std::ranges::find(known, key) != known.end()) continue;
    std::string message = "is not a known key";
    std::string_view meant;
    for (const KeyHint& hint : hints_) {
      if (hint.written == key) meant = hint.meant;
    }
    if (meant.empty() && !findings_->full()) meant = did_you_mean(key, known);
    message += meant.empty() ? "; remove it." : "; did you mean " + in_quotes(meant) + "?";
    findings_->add(json_path(path_, key), shorten(value), std::move(message));
  }
}

bool ObjectReader::has(std::string_view key) const {
  return object_ && object_->find(std::string(key)) != object_->end();
}

std::string ObjectReader::path_of(std::string_view key) const { return json_path(path_, key); }

const json* ObjectReader::find(std::string_view key) {
  known_.emplace_back(key);
  if (!object_) return nullptr;
  const auto it = object_->find(known_.back());
  return it == object_->end() ? nullptr : &*it;
}

const json* ObjectReader::raw(std::string_view key) { return find(key); }

void ObjectReader::add_finding(std::string_view key, std::string message) {
  const json* value = find(key);
  findings_->add(path_of(key), value ? shorten(*value) : "", std::move(message));
}

bool ObjectReader::require(std::string_view key, std::string_view what) {
  if (!object_ || find(key)) return true;  // a value that is no object has its own finding
  findings_->add(path_of(key), "", "is missing: write " + std::string(what) + ".");
  return false;
}

bool ObjectReader::text(std::string_view key, std::string& out, TextRule rule) {
  const json* value = find(key);
  if (!value) return false;
  if (!value->is_string()) {
    add_finding(key, "must be a text in double quotes.");
    return false;
  }
  const auto& text = value->get_ref<const std::string&>();
  if (auto fault = text_fault(text, rule)) {
    add_finding(key, *fault);
    return false;
  }
  out = text;
  return true;
}

bool ObjectReader::text(std::string_view key, std::optional<std::string>& out, TextRule rule) {
  std::string value;
  if (!text(key, value, rule)) return false;
  out = std::move(value);
  return true;
}

bool ObjectReader::id(std::string_view key, std::string& out) {
  std::string value;
  if (!text(key, value)) return false;
  if (!is_valid_id(value)) {
    add_finding(key, "must be an id: 1 to 128 of a-z A-Z 0-9 . _ -, not starting with a dot.");
    return false;
  }
  out = std::move(value);
  return true;
}

bool ObjectReader::number(std::string_view key, double& out, NumberRange range) {
  const json* value = find(key);
  if (!value) return false;
  if (!value->is_number() || !in_range(value->get<double>(), range)) {
    add_finding(key, allowed_text(range));
    return false;
  }
  out = value->get<double>();
  return true;
}

bool ObjectReader::number(std::string_view key, std::optional<double>& out, NumberRange range) {
  double value = 0;
  if (!number(key, value, range)) return false;
  out = value;
  return true;
}

bool ObjectReader::number_or_nan(std::string_view key, double& out) {
  const json* value = find(key);
  if (!value || !value->is_null()) return number(key, out);
  out = std::numeric_limits<double>::quiet_NaN();
  return true;
}

bool ObjectReader::integer(std::string_view key, std::int64_t& out, IntegerRange range) {
  const json* value = find(key);
  if (!value) return false;
  // The parser yields number_unsigned for everything that is not negative; above 2^63 it would
  // wrap.
  constexpr std::uint64_t kLargest = std::numeric_limits<std::int64_t>::max();
  const bool wraps = value->is_number_unsigned() && value->get<std::uint64_t>() > kLargest;
  const bool fits = value->is_number_integer() && !wraps;
  if (!fits || value->get<std::int64_t>() < range.min || value->get<std::int64_t>() > range.max) {
    add_finding(key, allowed_text(range));
    return false;
  }
  out = value->get<std::int64_t>();
  return true;
}

bool ObjectReader::integer(std::string_view key, std::optional<std::int64_t>& out,
                           IntegerRange range) {
  std::int64_t value = 0;
  if (!integer(key, value, range)) return false;
  out = value;
  return true;
}

bool ObjectReader::boolean(std::string_view key, bool& out) {
  const json* value = find(key);
  if (!value) return false;
  if (!value->is_boolean()) {
    add_finding(key, "must be true or false, without quotes.");
    return false;
  }
  out = value->get<bool>();
  return true;
}

bool ObjectReader::texts(std::string_view key, std::vector<std::string>& out, std::size_t max_count,
                         TextRule rule) {
  const json* value = find(key);
  if (!value) return false;
  if (!value->is_array() || value->size() > max_count) {
    add_finding(key, "must be an array of at most " + std::to_string(max_count) + " texts.");
    return false;
  }
  std::vector<std::string> texts;
  bool good = true;
  for (std::size_t i = 0; i < value->size(); ++i) {
    const json& element = (*value)[i];
    std::optional<std::string> fault = "must be a text in double quotes.";
    if (element.is_string()) fault = text_fault(element.get_ref<const std::string&>(), rule);
    if (fault) {
      findings_->add(json_path(path_of(key), i), shorten(element), *fault);
      good = false;
    } else {
      texts.push_back(element.get<std::string>());
    }
  }
  if (good) out = std::move(texts);
  return good;
}

bool ObjectReader::word_text(std::string_view key, std::string& out) {
  const json* value = find(key);
  if (!value) return false;
  // Anything but a text falls through to the list of words, which says all there is to say.
  out = value->is_string() ? value->get<std::string>() : std::string();
  return true;
}

void ObjectReader::add_word_finding(std::string_view key, const std::string& allowed,
                                    const std::string& text,
                                    std::span<const std::string_view> words) {
  const std::string_view meant = did_you_mean(text, words);
  std::string message = "must be " + allowed;
  message += meant.empty() ? "." : "; did you mean " + in_quotes(meant) + "?";
  add_finding(key, std::move(message));
}

std::optional<ObjectReader> ObjectReader::object(std::string_view key) {
  const json* value = find(key);
  if (!value) return std::nullopt;
  return ObjectReader(*value, path_of(key), *findings_, unknown_, hints_);
}

std::vector<ObjectReader> ObjectReader::objects(std::string_view key, std::size_t max_count) {
  std::vector<ObjectReader> readers;
  const json* value = find(key);
  if (!value) return readers;
  if (!value->is_array() || value->size() > max_count) {
    add_finding(key, "must be an array of at most " + std::to_string(max_count) + " objects.");
    return readers;
  }
  readers.reserve(value->size());
  for (std::size_t i = 0; i < value->size(); ++i) {
    readers.emplace_back((*value)[i], json_path(path_of(key), i), *findings_, unknown_, hints_);
  }
  return readers;
}

void get_bytes(ObjectReader& in, std::string_view key, Bytes& out) {
  std::int64_t count = 0;
  if (in.integer(key, count, kCount)) out = Bytes(count);
}

}  // namespace ratchet
