#pragma once

// Strict reading of JSON objects: every fault at once, each with its JSON path.
//
//   root.require("name", "a short name");
//   root.text("name", spec.name, {.min_length = 1, .max_length = 128});
//   if (auto lora = root.object("lora")) lora->integer("rank", spec.rank, {1, 1024});
//
// A read of an absent key leaves its target as it was and returns false; a faulty one besides adds
// a finding. Unknown keys are reported when a reader is destroyed. Not thread-safe; a reader must
// not outlive its document, its findings and its hints.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/finding.h"
#include "proto/units.h"
#include "proto/words.h"

namespace ratchet {

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

enum class TextKind {
  kLine,        // no control characters
  kParagraphs,  // newline and tab besides
  kAny,         // what a peer reports may quote anything
};

struct TextRule {
  std::size_t min_length = 0;  // bytes
  std::size_t max_length = 4096;
  TextKind kind = TextKind::kLine;
};

inline constexpr IntegerRange kCount{0, std::numeric_limits<std::int64_t>::max()};
inline constexpr TextRule kPathRule{.min_length = 1, .max_length = 4096};
inline constexpr TextRule kLongText{.max_length = 65'536, .kind = TextKind::kAny};

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

// A count of bytes, from 0.
void get_bytes(ObjectReader& in, std::string_view key, Bytes& out);

}  // namespace ratchet
