#pragma once

// What the decoders of one row share: the parsed row, where it is, and where faults go. Texts of
// findings are built only for the findings that are kept, so both texts are given as callables.

#include <string>
#include <string_view>

#include "trainer/data/finding.h"
#include "trainer/data/json_tree.h"

namespace ratchet::trainer {

class RowContext {
 public:
  RowContext(const JsonTree& row, RowPlace place, FindingLog& log)
      : tree(row), place_(place), log_(log) {}

  const JsonTree& tree;

  void set_id(std::string_view id) { id_ = id; }
  [[nodiscard]] std::string_view id() const { return id_; }
  [[nodiscard]] RowPlace place() const { return place_; }
  [[nodiscard]] bool good() const { return good_; }

  // path() and message() return strings; `value` is the node shown as current value, or nullptr.
  template <class Path, class Message>
  void report(Rule rule, const Path& path, const Message& message,
              const JsonNode* value = nullptr) {
    report_as(rule, rule_info(rule).severity, path, message, value);
  }

  template <class Path, class Message>
  void report_as(Rule rule, Severity severity, const Path& path, const Message& message,
                 const JsonNode* value = nullptr) {
    if (severity == Severity::kCritical) good_ = false;
    DataFinding* finding = log_.add(rule, severity);
    if (finding == nullptr) return;
    finding->place = place_;
    finding->id = std::string(id_);
    finding->field_path = path();
    finding->message = message();
    if (value != nullptr) finding->current = shown(*value);
  }

 private:
  [[nodiscard]] std::string shown(const JsonNode& value) const {
    std::string json;
    tree.write(value, json);
    return shorten_value(json);
  }

  RowPlace place_;
  FindingLog& log_;
  std::string_view id_;
  bool good_ = true;
};

// A member that is absent or null counts as absent.
inline const JsonNode* find_present(const JsonTree& tree, const JsonNode& object,
                                    std::string_view key) {
  const JsonNode* node = tree.find(object, key);
  return node == nullptr || node->type == JsonType::kNull ? nullptr : node;
}

}  // namespace ratchet::trainer
