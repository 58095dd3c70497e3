#pragma once

// Untrusted JSON text to a tree: bounded in size and depth, no key written twice.
//
//   FindingList findings;
//   if (const auto document = Document::parse(text, {}, findings)) {
//     ObjectReader root = document->root(findings, UnknownKeys::kReject);
//     ...                                         // proto/object_reader.h
//   }
//
// Values; not thread-safe.

#include <cstddef>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/finding.h"
#include "proto/object_reader.h"

namespace ratchet {

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

// At most `limit` bytes of UTF-8 text; when it is cut, then between characters and with "..." at
// the end. Clipping twice is clipping once.
std::string clip_text(std::string_view text, std::size_t limit);

// The closest of `known` when it is close enough to be what was meant; empty otherwise.
std::string_view did_you_mean(std::string_view written, std::span<const std::string_view> known);

}  // namespace ratchet
