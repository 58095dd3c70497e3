#pragma once

// One JSON row, parsed strictly into reusable flat arrays: no allocation per value, so that the
// structural pass runs at the speed of the parser. nlohmann's SAX parser reads the text; this adds
// what it does not check: duplicate keys, a depth bound, NUL bytes, a byte-order mark before the
// row.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trainer/data/finding.h"

namespace ratchet::trainer {

inline constexpr std::uint32_t kJsonDepthMax = 128;

enum class JsonType : std::uint8_t { kNull, kBool, kInteger, kFloat, kString, kArray, kObject };
std::string_view json_type_word(JsonType type);  // "null", "boolean", "number", ..., as users say

struct JsonNode {
  std::uint32_t key_begin = 0, key_end = 0;    // in the tree's bytes; the key, for object members
  std::uint32_t text_begin = 0, text_end = 0;  // string value, or the literal of a number
  std::uint32_t next = 0;                      // next sibling; 0: none
  std::uint32_t first_child = 0;               // 0: none
  std::uint32_t children = 0;
  JsonType type = JsonType::kNull;
  bool truth = false;  // kBool
};

struct JsonFault {
  Rule rule = Rule::kMalformedJson;
  std::uint64_t offset = 0;  // byte in the row where reading stopped
  std::string message;       // full sentence, names byte and column
};

class JsonTree {
 public:
  // Replaces the content. True: root() is valid until the next parse. False: fault() says why.
  // `text` is at most kRowBytesMax bytes.
  bool parse(std::string_view text);
  [[nodiscard]] const JsonFault& fault() const { return fault_; }

  [[nodiscard]] const JsonNode& root() const { return nodes_[1]; }
  [[nodiscard]] std::string_view key(const JsonNode& node) const;
  [[nodiscard]] std::string_view text(const JsonNode& node) const;  // strings and number literals
  // Member of an object, or nullptr (also when `object` is no object).
  [[nodiscard]] const JsonNode* find(const JsonNode& object, std::string_view key) const;
  [[nodiscard]] const JsonNode* first(const JsonNode& parent) const;
  [[nodiscard]] const JsonNode* next(const JsonNode& node) const;

  // Appends `node` as compact JSON (members in file order, strings escaped minimally).
  void write(const JsonNode& node, std::string& out) const;

 private:
  friend class JsonTreeBuilder;
  std::vector<JsonNode> nodes_;  // [0] unused, [1] the root
  std::string bytes_;
  struct OpenNode {
    std::uint32_t node = 0;
    std::uint32_t last_child = 0;
  };
  std::vector<OpenNode> open_;                                    // builder: containers not closed
  std::vector<std::pair<std::uint64_t, std::uint32_t>> by_hash_;  // builder: keys of one object
  JsonFault fault_;
};

// Appends `text` as a JSON string literal.
void append_json_string(std::string_view text, std::string& out);

}  // namespace ratchet::trainer
