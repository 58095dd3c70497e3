#include "proto/document.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <utility>

#include "proto/ids.h"

namespace ratchet {

using nlohmann::json;

namespace {

constexpr std::size_t kShownBytes = 60;
constexpr std::size_t kShownKeyBytes = 64;
constexpr std::size_t kMaxComparedKey = 64;  // longer keys are not typos of ours

// At most `limit` bytes of `text`, cut between UTF-8 sequences, with a mark when cut.
std::string clip(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return std::string(text);
  std::size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return std::string(text.substr(0, end)) + "...";
}

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string json_text(std::string_view text) { return dump(json(std::string(text))); }

bool is_plain_key(std::string_view key) {
  return !key.empty() && key.size() <= kShownKeyBytes && std::ranges::all_of(key, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

// Line and column (both from 1, in bytes) of an offset, for messages about broken JSON.
std::string place_of(std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  const auto line = std::ranges::count(before, '\n') + 1;
  const std::size_t start = before.rfind('\n');
  const std::size_t column = before.size() - (start == std::string_view::npos ? 0 : start + 1);
  return "line " + std::to_string(line) + ", column " +
         std::to_string(std::max<std::size_t>(column, 1));
}

// The parser's own words without its prefix "[json.exception.parse_error.101] parse error at ...:
// ".
std::string parser_reason(std::string_view what) {
  const std::size_t bracket = what.find("] ");
  if (bracket != std::string_view::npos) what.remove_prefix(bracket + 2);
  if (what.starts_with("parse error at ")) {
    const std::size_t colon = what.find(": ");
    if (colon != std::string_view::npos) what.remove_prefix(colon + 2);
  }
  std::string clean;
  for (char c : clip(what, 200)) clean += (static_cast<unsigned char>(c) < 0x20) ? ' ' : c;
  return clean;
}

// Builds the tree from the parser's events, because only events show duplicate keys and depth
// before the memory for them is spent.
class TreeBuilder final : public nlohmann::json_sax<json> {
 public:
  TreeBuilder(std::string_view text, DocumentLimits limits, FindingList& findings)
      : text_(text), limits_(limits), findings_(findings) {}

  json& root() { return root_; }
  [[nodiscard]] bool failed() const { return failed_; }

  bool null() override { return put(json(nullptr)); }
  bool boolean(bool value) override { return put(json(value)); }
  bool number_integer(number_integer_t value) override { return put(json(value)); }
  bool number_unsigned(number_unsigned_t value) override { return put(json(value)); }
  bool number_float(number_float_t value, const string_t&) override { return put(json(value)); }
  bool string(string_t& value) override { return put(json(std::move(value))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& value) override {
    Level& level = levels_.back();
    if (level.container->contains(value)) {
      findings_.add(json_path(level.path, value), "", "is written twice in its object; keep one.");
      failed_ = true;
      if (findings_.full()) return false;
    }
    level.key = std::move(value);
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    failed_ = true;
    findings_.add("$", "",
                  "is not valid JSON at " + place_of(text_, position) + ": " +
                      parser_reason(error.what()) + ".");
    return false;
  }

 private:
  struct Level {
    json* container;  // stable: a container's children are not moved while one of them is open
    std::string path;
    std::string key;
  };

  json* attach(json value) {
    if (levels_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Level& level = levels_.back();
    if (level.container->is_array()) {
      level.container->push_back(std::move(value));
      return &level.container->back();
    }
    return &((*level.container)[level.key] = std::move(value));
  }

  bool put(json value) {
    attach(std::move(value));
    return true;
  }

  bool open(json value) {
    std::string path = "$";
    if (!levels_.empty()) {
      const Level& level = levels_.back();
      path = level.container->is_array() ? json_path(level.path, level.container->size())
                                         : json_path(level.path, level.key);
    }
    if (levels_.size() >= limits_.max_depth) {
      failed_ = true;
      findings_.add(clip(path, 200), "",
                    "is nested deeper than " + std::to_string(limits_.max_depth) + " levels.");
      return false;
    }
    json* container = attach(std::move(value));
    levels_.push_back({container, std::move(path), {}});
    return true;
  }

  bool close() {
    levels_.pop_back();
    return true;
  }

  std::string_view text_;
  DocumentLimits limits_;
  FindingList& findings_;
  json root_;
  std::vector<Level> levels_;
  bool failed_ = false;
};

std::string number_text(double value) { return dump(json(value)); }

std::string allowed_text(IntegerRange range) {
  const bool below = range.min == std::numeric_limits<std::int64_t>::min();
  const bool above = range.max == std::numeric_limits<std::int64_t>::max();
  if (below && above) return "must be an integer.";
  if (above) return "must be an integer, " + std::to_string(range.min) + " or more.";
  return "must be an integer from " + std::to_string(range.min) + " to " +
         std::to_string(range.max) + ".";
}

std::string allowed_text(NumberRange range) {
  const bool below = range.min == std::numeric_limits<double>::lowest();
  const bool above = range.max == std::numeric_limits<double>::max();
  std::string out = "must be a number";
  if (!below) {
    out += range.lower == Bound::kExclusive ? " above " : " from ";
    out += number_text(range.min);
  }
  if (!above) {
    out += below ? "" : (range.lower == Bound::kExclusive ? " and " : " ");
    if (range.upper == Bound::kExclusive) {
      out += "below " + number_text(range.max);
    } else {
      out += range.lower == Bound::kExclusive || below ? "at most " : "to ";
      out += number_text(range.max);
    }
  }
  return out + ".";
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
    const auto byte = static_cast<unsigned char>(c);
    const bool line = rule.multiline && (c == '\n' || c == '\t' || c == '\r');
    if ((byte < 0x20 && !line) || byte == 0x7F) return "must not hold control characters.";
  }
  return std::nullopt;
}

// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

void FindingList::add(std::string path, std::string value, std::string message) {
  if (full()) {
    ++more_;
    return;
  }
  findings_.push_back({std::move(path), std::move(value), std::move(message)});
}

std::vector<Finding> FindingList::take() {
  if (more_ > 0) {
    findings_.push_back({"$", "", "has " + std::to_string(more_) + " more findings."});
    more_ = 0;
  }
  return std::exchange(findings_, {});
}

std::string shorten(const json& value) {
  if (value.is_object()) return "an object of " + std::to_string(value.size()) + " keys";
  if (value.is_array()) {
    const bool small = value.size() <= 8 && std::ranges::none_of(value, [](const json& element) {
                         return element.is_structured();
                       });
    if (!small) return "an array of " + std::to_string(value.size());
  }
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (text.size() > kShownBytes) return json_text(clip(text, kShownBytes));
  }
  return clip(dump(value), kShownBytes + 2);
}

std::string json_path(std::string_view parent, std::string_view key) {
  if (is_plain_key(key)) return std::string(parent) + "." + std::string(key);
  return std::string(parent) + "[" + json_text(clip(key, kShownKeyBytes)) + "]";
}

std::string json_path(std::string_view parent, std::size_t index) {
  return std::string(parent) + "[" + std::to_string(index) + "]";
}

std::string_view did_you_mean(std::string_view written, std::span<const std::string_view> known) {
  if (written.empty() || written.size() > kMaxComparedKey) return {};
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(1, written.size() / 3) + 1;
  for (std::string_view candidate : known) {
    const std::size_t distance = edit_distance(written, candidate);
    if (distance < best_distance && distance < candidate.size()) {
      best = candidate;
      best_distance = distance;
    }
  }
  if (!best.empty()) return best;
  for (std::string_view candidate : known) {
    const bool part = candidate.starts_with(written) || candidate.ends_with(written) ||
                      (candidate.size() >= 4 && written.find(candidate) != std::string_view::npos);
    if (part) return candidate;
  }
  return {};
}

Document::Document(std::unique_ptr<json> tree) : tree_(std::move(tree)) {}
Document::~Document() = default;

std::unique_ptr<Document> Document::parse(std::string_view text, DocumentLimits limits,
                                          FindingList& findings) {
  if (text.size() > limits.max_bytes) {
    findings.add("$", "",
                 "has " + std::to_string(text.size()) + " bytes; at most " +
                     std::to_string(limits.max_bytes) + " are read.");
    return nullptr;
  }
  TreeBuilder builder(text, limits, findings);
  if (!json::sax_parse(text, &builder) || builder.failed()) return nullptr;
  return std::unique_ptr<Document>(new Document(std::make_unique<json>(std::move(builder.root()))));
}

ObjectReader Document::root(FindingList& findings, UnknownKeys unknown,
                            std::span<const KeyHint> hints) const {
  return ObjectReader(*tree_, "$", findings, unknown, hints);
}

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
    message += meant.empty() ? "; remove it." : "; did you mean " + json_text(meant) + "?";
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
  const bool fits =
      value->is_number_integer() &&
      !(value->is_number_unsigned() &&
        value->get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()});
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
  message += meant.empty() ? "." : "; did you mean " + json_text(meant) + "?";
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

}  // namespace ratchet
