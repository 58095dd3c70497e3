#pragma once

// Strict reading of untrusted JSON documents: every fault at once, each with its JSON path.
//
//   FindingList findings;
//   auto document = Document::parse(text, {}, findings);
//   if (document) {
//     ObjectReader root = document->root(findings, UnknownKeys::kReject);
//     root.require("name");
//     root.text("name", spec.name, {.min_length = 1, .max_length = 128});
//     if (auto lora = root.object("lora")) lora->integer("rank", spec.rank, {1, 1024});
//   }
//
// A read of an absent key leaves its target as it was and returns false; a faulty one besides adds
// a finding. Unknown keys are reported when a reader is destroyed. Not thread-safe; a reader must
// not outlive its document and findings.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/finding.h"
#include "proto/words.h"

namespace ratchet {

// Keeps the first kMax findings and counts the rest, so that a hostile document stays cheap.
class FindingList {
 public:
  static constexpr std::size_t kMax = 100;
  void add(std::string path, std::string value, std::string message);
  [[nodiscard]] bool empty() const { return findings_.empty(); }
  [[nodiscard]] bool full() const { return findings_.size() >= kMax; }
  // Ends with one finding that says how many more there were, when there were.
  [[nodiscard]] std::vector<Finding> take();

 private:
  std::vector<Finding> findings_;
  std::size_t more_ = 0;
};

enum class UnknownKeys {
  kReject,    // documents that a person writes
  kTolerate,  // messages of a peer that may be newer
};

struct IntegerRange {
  std::int64_t min = std::numeric_limits<std::int64_t>::min();
  std::int64_t max = std::numeric_limits<std::int64_t>::max();
};

enum class Bound { kInclusive, kExclusive };

struct NumberRange {
  double min = std::numeric_limits<double>::lowest();
  double max = std::numeric_limits<double>::max();
  Bound lower = Bound::kInclusive;
  Bound upper = Bound::kInclusive;
};

struct TextRule {
  std::size_t min_length = 0;  // bytes
  std::size_t max_length = 4096;
  bool multiline = false;  // newline and tab are allowed; other control characters never are
};

// A key that people write for another one: {"lora_alpha", "alpha"}.
struct KeyHint {
  std::string_view written;
  std::string_view meant;
};

class ObjectReader {
 public:
  // `value` may be of any kind; anything but an object is one finding and reads as empty.
  ObjectReader(const nlohmann::json& value, std::string path, FindingList& findings,
               UnknownKeys unknown, std::span<const KeyHint> hints);
  ObjectReader(ObjectReader&& other) noexcept;
  ObjectReader& operator=(ObjectReader&&) = delete;
  ObjectReader(const ObjectReader&) = delete;
  ~ObjectReader();

  [[nodiscard]] bool has(std::string_view key) const;
  [[nodiscard]] std::string path_of(std::string_view key) const;

  // Adds a finding when the key is absent. `what` completes "is missing: write ...".
  bool require(std::string_view key, std::string_view what);

  bool text(std::string_view key, std::string& out, TextRule rule = {});
  bool text(std::string_view key, std::optional<std::string>& out, TextRule rule = {});
  bool id(std::string_view key, std::string& out);
  bool number(std::string_view key, double& out, NumberRange range = {});
  bool number(std::string_view key, std::optional<double>& out, NumberRange range = {});
  bool number_or_nan(std::string_view key, double& out);  // null reads as NaN
  bool integer(std::string_view key, std::int64_t& out, IntegerRange range = {});
  bool integer(std::string_view key, std::optional<std::int64_t>& out, IntegerRange range = {});
  bool boolean(std::string_view key, bool& out);
  bool texts(std::string_view key, std::vector<std::string>& out, std::size_t max_count,
             TextRule rule = {});

  template <class E>
  bool word(std::string_view key, E& out) {
    std::string text;
    if (!word_text(key, text)) return false;
    if (const auto value = from_word<E>(text)) {
      out = *value;
      return true;
    }
    std::vector<std::string_view> words;
    for (const auto& entry : word_table(E{})) words.push_back(entry.word);
    add_word_finding(key, list_words<E>(), text, words);
    return false;
  }

  std::optional<ObjectReader> object(std::string_view key);
  // One reader an element; an element that is no object is a finding. Nothing when absent.
  std::vector<ObjectReader> objects(std::string_view key, std::size_t max_count);

  // The raw value, marked as known; null when absent. For keys that take more than one kind.
  const nlohmann::json* raw(std::string_view key);
  // A finding at a key, with the value written there.
  void add_finding(std::string_view key, std::string message);

 private:
  const nlohmann::json* find(std::string_view key);
  bool word_text(std::string_view key, std::string& out);
  void add_word_finding(std::string_view key, const std::string& allowed, const std::string& text,
                        std::span<const std::string_view> words);
  void report_unknown_keys();

  const nlohmann::json* object_;  // null after a move or when the value is no object
  std::string path_;
  FindingList* findings_;
  UnknownKeys unknown_;
  std::span<const KeyHint> hints_;
  std::vector<std::string> known_;
};

struct DocumentLimits {
  std::size_t max_bytes = 1 << 20;
  std::size_t max_depth = 32;  // of objects and arrays within each other
};

class Document {
 public:
  // Null when the text is no JSON, too long or too deep, or writes a key twice: then there are
  // findings.
  static std::unique_ptr<Document> parse(std::string_view text, DocumentLimits limits,
                                         FindingList& findings);
  ~Document();
  Document(const Document&) = delete;
  Document& operator=(const Document&) = delete;

  [[nodiscard]] ObjectReader root(FindingList& findings, UnknownKeys unknown,
                                  std::span<const KeyHint> hints = {}) const;
  [[nodiscard]] const nlohmann::json& value() const { return *tree_; }

 private:
  explicit Document(std::unique_ptr<nlohmann::json> tree);
  std::unique_ptr<nlohmann::json> tree_;
};

// JSON text of a value, at most ~60 characters; objects and long arrays by their size.
std::string shorten(const nlohmann::json& value);

// "$" + "lora" -> "$.lora"; keys that are no plain words become $["the key"], shortened.
std::string json_path(std::string_view parent, std::string_view key);
std::string json_path(std::string_view parent, std::size_t index);

// The closest of `known` when it is close enough to be what was meant; empty otherwise.
std::string_view did_you_mean(std::string_view written, std::span<const std::string_view> known);

}  // namespace ratchet
