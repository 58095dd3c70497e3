#include "trainer/data/layout_guess.h"

#include <nlohmann/json.hpp>
#include <string>

#include "trainer/data/json_tree.h"

namespace ratchet::trainer {
namespace {

bool looks_like_utf16(std::string_view head) {
  if (head.starts_with("\xff\xfe") || head.starts_with("\xfe\xff")) return true;
  if (head.size() < 4) return false;
  const bool odd_zero = head[1] == 0 && head[3] == 0 && head[0] != 0 && head[2] != 0;
  const bool even_zero = head[0] == 0 && head[2] == 0 && head[1] != 0 && head[3] != 0;
  return odd_zero || even_zero;
}

// Watches for $.conversations[0] and the first telling key inside it. Stops the parse when it
// knows.
class DocumentProbe {
 public:
  [[nodiscard]] bool is_document() const { return is_document_; }

  bool null() { return true; }
  bool boolean(bool /*value*/) { return true; }
  bool number_integer(std::int64_t /*value*/) { return true; }
  bool number_unsigned(std::uint64_t /*value*/) { return true; }
  bool number_float(double /*value*/, const std::string& /*literal*/) { return true; }
  bool string(std::string& /*value*/) { return true; }
  bool binary(nlohmann::json::binary_t& /*value*/) { return true; }
  bool start_object(std::size_t /*size*/) { return ++depth_ < kDepthMax; }
  bool end_object() {
    --depth_;
    return depth_ > 2 || !inside_;  // the first element ended without a telling key
  }
  bool start_array(std::size_t /*size*/) {
    if (depth_ == 1 && key_is_rows_) inside_ = true;
    return ++depth_ < kDepthMax;
  }
  bool end_array() {
    --depth_;
    return !(inside_ && depth_ == 1);
  }
  bool key(std::string& name) {
    if (depth_ == 1) key_is_rows_ = name == "conversations";
    if (!inside_ || depth_ != 3) return true;
    if (name == "from" || name == "value" || name == "role" || name == "content") return false;
    is_document_ = name == "conversation_id" || name == "training_pairs" || name == "messages" ||
                   name == "persona" || name == "emotional_arc";
    return !is_document_;
  }
  bool parse_error(std::size_t /*position*/, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) {
    return false;
  }

 private:
  static constexpr int kDepthMax = 64;
  int depth_ = 0;
  bool key_is_rows_ = false;
  bool inside_ = false;
  bool is_document_ = false;
};

bool is_array_file(std::string_view head, std::size_t start) {
  const std::size_t newline = head.find('\n', start);
  if (newline == std::string_view::npos && head.size() - start > (512U << 10U)) return true;
  JsonTree tree;
  if (!tree.parse(head.substr(start, newline - start))) return true;
  const bool more = newline != std::string_view::npos &&
                    head.find_first_not_of(" \t\r\n", newline) != std::string_view::npos;
  if (more) return false;
  const JsonNode* element = tree.first(tree.root());
  return element != nullptr && element->type == JsonType::kObject &&
         tree.find(*element, "from") == nullptr && tree.find(*element, "role") == nullptr;
}

}  // namespace

LayoutGuess guess_layout(std::string_view head) {
  LayoutGuess guess;
  guess.utf16 = looks_like_utf16(head);
  const std::size_t start = head.find_first_not_of(" \t\r\n");
  if (guess.utf16 || start == std::string_view::npos) return guess;
  if (head[start] == '[' && is_array_file(head, start)) guess.layout = DataLayout::kJsonArray;
  if (head[start] == '{') {
    DocumentProbe probe;
    const std::string_view rest = head.substr(start);
    (void)nlohmann::json::sax_parse(rest.begin(), rest.end(), &probe);
    if (probe.is_document()) guess.layout = DataLayout::kConversationDocument;
  }
  return guess;
}

}  // namespace ratchet::trainer
