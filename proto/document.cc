#include "proto/document.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace ratchet {

using nlohmann::json;

namespace {

constexpr std::size_t kShownBytes = 60;
constexpr std::size_t kShownKeyBytes = 64;
constexpr std::size_t kMaxComparedKey = 64;  // longer keys are not typos of ours

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
  const std::size_t newline = before.rfind('\n');
  const std::size_t start = newline == std::string_view::npos ? 0 : newline + 1;
  return "line " + std::to_string(line) + ", column " + std::to_string(before.size() - start + 1);
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
  for (char c : clip_text(what, 200)) clean += (static_cast<unsigned char>(c) < 0x20) ? ' ' : c;
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
                  "is not valid JSON at " + place_of(text_, position == 0 ? 0 : position - 1) +
                      ": " + parser_reason(error.what()) + ".");
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
      findings_.add(clip_text(path, 200), "",
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

std::string clip_text(std::string_view text, std::size_t limit) {
  static constexpr std::string_view kMark = "...";
  if (text.size() <= limit) return std::string(text);
  if (limit < kMark.size()) return {};
  // With the mark the text fits, so clipping what is clipped changes nothing.
  std::size_t end = limit - kMark.size();
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return std::string(text.substr(0, end)) + std::string(kMark);
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
    if (text.size() > kShownBytes) return json_text(clip_text(text, kShownBytes));
  }
  return clip_text(dump(value), kShownBytes + 2);
}

std::string json_path(std::string_view parent, std::string_view key) {
  if (is_plain_key(key)) return std::string(parent) + "." + std::string(key);
  return std::string(parent) + "[" + json_text(clip_text(key, kShownKeyBytes)) + "]";
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

}  // namespace ratchet
