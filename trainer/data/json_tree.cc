#include "trainer/data/json_tree.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>

#include "trainer/data/utf8.h"
#include "trainer/model/file_io.h"

namespace ratchet::trainer {
namespace {

constexpr std::uint32_t kPairwiseKeysMax = 8;  // objects up to this size compare keys pair by pair

// Offset of the bracket that opens a level beyond kJsonDepthMax.
std::size_t too_deep_offset(std::string_view text) {
  std::uint32_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kJsonDepthMax) return i;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return text.size();
}

// What a reader most likely did wrong, for the commonest ways to write almost-JSON.
std::string_view likely_cause(std::string_view text, std::size_t offset) {
  const std::string_view rest = text.substr(std::min(offset, text.size()));
  if (rest.starts_with('\'')) return " JSON strings have double quotes; this looks like Python.";
  for (const std::string_view word : {"None", "True", "False"}) {
    if (rest.starts_with(word)) return " This looks like Python: write null, true or false.";
  }
  if (rest.starts_with('}') || rest.starts_with(']')) {
    const std::size_t before = text.substr(0, offset).find_last_not_of(" \t\r\n");
    if (before != std::string_view::npos && text[before] == ',') {
      return " A comma stands before the closing bracket.";
    }
  }
  return "";
}

// The parser stops at the first letter of NaN and Infinity, behind their sign.
bool stands_at_nan(std::string_view text, std::size_t offset) {
  const std::string_view rest = text.substr(std::min(offset, text.size()));
  return rest.starts_with("NaN") || rest.starts_with("Infinity");
}

std::string place_text(std::size_t offset) {
  return cat("byte ", offset, " of the row (column ", offset + 1, ")");
}

}  // namespace

// Receives nlohmann's events; lives for one parse.
class JsonTreeBuilder {
 public:
  using Json = nlohmann::json;

  JsonTreeBuilder(JsonTree& tree, std::string_view text) : tree_(tree), text_(text) {}

  bool null() { return leaf(JsonType::kNull); }
  bool boolean(bool value) {
    if (!leaf(JsonType::kBool)) return false;
    tree_.nodes_.back().truth = value;
    return true;
  }
  bool number_integer(Json::number_integer_t value) {
    return leaf(JsonType::kInteger, std::to_string(value));
  }
  bool number_unsigned(Json::number_unsigned_t value) {
    return leaf(JsonType::kInteger, std::to_string(value));
  }
  bool number_float(Json::number_float_t /*value*/, const std::string& literal) {
    return leaf(JsonType::kFloat, literal);
  }
  bool string(std::string& value) { return leaf(JsonType::kString, value); }
  bool binary(Json::binary_t& /*value*/) { return false; }
  bool start_object(std::size_t /*size*/) { return open(JsonType::kObject); }
  bool start_array(std::size_t /*size*/) { return open(JsonType::kArray); }
  bool end_array() {
    tree_.open_.pop_back();
    return true;
  }
  bool end_object() {
    const JsonNode object = tree_.nodes_[tree_.open_.back().node];
    tree_.open_.pop_back();
    return keys_differ(object);
  }
  bool key(std::string& value) {
    key_begin_ = size32();
    tree_.bytes_ += value;
    key_end_ = size32();
    return true;
  }

  bool parse_error(std::size_t position, const std::string& /*last_token*/,
                   const nlohmann::detail::exception& error) {
    // nlohmann counts the byte that did not fit.
    const std::size_t offset = position == 0 ? 0 : position - 1;
    classify(offset, error);
    return false;
  }

 private:
  std::uint32_t size32() const { return static_cast<std::uint32_t>(tree_.bytes_.size()); }

  bool leaf(JsonType type, std::string_view text = {}) {
    JsonNode& node = attach(type);
    node.text_begin = size32();
    tree_.bytes_ += text;
    node.text_end = size32();
    return true;
  }

  bool open(JsonType type) {
    if (tree_.open_.size() >= kJsonDepthMax) {
      const std::size_t offset = too_deep_offset(text_);
      return fail(Rule::kTooDeep, offset,
                  cat("The value at ", place_text(offset), " is nested deeper than ", kJsonDepthMax,
                      " levels."));
    }
    attach(type);
    tree_.open_.push_back({static_cast<std::uint32_t>(tree_.nodes_.size() - 1), 0});
    return true;
  }

  JsonNode& attach(JsonType type) {
    const auto index = static_cast<std::uint32_t>(tree_.nodes_.size());
    JsonNode& node = tree_.nodes_.emplace_back();
    node.type = type;
    if (!tree_.open_.empty()) {
      JsonTree::OpenNode& parent = tree_.open_.back();
      JsonNode& parent_node = tree_.nodes_[parent.node];
      if (parent_node.type == JsonType::kObject) {
        node.key_begin = key_begin_;
        node.key_end = key_end_;
      }
      ++parent_node.children;
      if (parent.last_child == 0) {
        parent_node.first_child = index;
      } else {
        tree_.nodes_[parent.last_child].next = index;
      }
      parent.last_child = index;
    }
    return node;
  }

  bool keys_differ(const JsonNode& object) {
    if (object.children < 2) return true;
    if (object.children <= kPairwiseKeysMax) {
      for (const JsonNode* a = tree_.first(object); a != nullptr; a = tree_.next(*a)) {
        for (const JsonNode* b = tree_.next(*a); b != nullptr; b = tree_.next(*b)) {
          if (tree_.key(*a) == tree_.key(*b)) return duplicate(tree_.key(*a));
        }
      }
      return true;
    }
    auto& by_hash = tree_.by_hash_;
    by_hash.clear();
    for (std::uint32_t i = object.first_child; i != 0; i = tree_.nodes_[i].next) {
      by_hash.emplace_back(std::hash<std::string_view>{}(tree_.key(tree_.nodes_[i])), i);
    }
    std::sort(by_hash.begin(), by_hash.end(), [this](const auto& a, const auto& b) {
      if (a.first != b.first) return a.first < b.first;
      return tree_.key(tree_.nodes_[a.second]) < tree_.key(tree_.nodes_[b.second]);
    });
    for (std::size_t i = 1; i < by_hash.size(); ++i) {
      const std::string_view key = tree_.key(tree_.nodes_[by_hash[i].second]);
      if (key == tree_.key(tree_.nodes_[by_hash[i - 1].second])) return duplicate(key);
    }
    return true;
  }

  bool duplicate(std::string_view key) {
    return fail(Rule::kDuplicateKey, 0,
                cat("The key '", shorten_value(key), "' occurs twice in one object."));
  }

  bool fail(Rule rule, std::size_t offset, std::string message) {
    tree_.fault_ = {rule, offset, std::move(message)};
    return false;
  }

  void classify(std::size_t offset, const nlohmann::detail::exception& error) {
    const std::string at = place_text(offset);
    const std::size_t bad = find_invalid_utf8(text_);
    if (bad <= offset) {
      fail(Rule::kInvalidUtf8, bad,
           cat("The byte ", shorten_value(text_.substr(bad, 1)), " at ", place_text(bad),
               " is not UTF-8."));
      return;
    }
    const std::string_view why = error.what();
    const bool in_string = why.find("invalid string") != std::string_view::npos;
    if (error.id == 406) {
      fail(Rule::kNumberRange, offset, cat("The number that ends at ", at, " is out of range."));
    } else if (in_string && why.find("surrogate") != std::string_view::npos) {
      fail(Rule::kLoneSurrogate, offset,
           cat("The \\u escape before ", at, " is one half of a character (a lone surrogate)."));
    } else if (offset >= text_.size()) {
      fail(Rule::kUnclosedJson, offset,
           cat("The row ends at ", at, " before its ", in_string ? "string" : "value",
               " is closed."));
    } else if (in_string && static_cast<unsigned char>(text_[offset]) < 0x20) {
      fail(Rule::kControlCharacter, offset,
           cat("A string holds the control character ", shorten_value(text_.substr(offset, 1)),
               " at ", at, "."));
    } else if (stands_at_nan(text_, offset)) {
      fail(Rule::kNonStandardNumber, offset, cat("NaN or Infinity stands at ", at, "."));
    } else if (tree_.nodes_.size() > 1 && tree_.open_.empty()) {
      fail(Rule::kTrailingContent, offset, cat("More text stands behind the value, at ", at, "."));
    } else {
      fail(Rule::kMalformedJson, offset,
           cat("The JSON breaks at ", at, ", at '", shorten_value(text_.substr(offset, 20)), "'.",
               likely_cause(text_, offset)));
    }
  }

  JsonTree& tree_;
  std::string_view text_;
  std::uint32_t key_begin_ = 0;
  std::uint32_t key_end_ = 0;
};

std::string_view json_type_word(JsonType type) {
  switch (type) {
    case JsonType::kNull:
      return "null";
    case JsonType::kBool:
      return "a boolean";
    case JsonType::kInteger:
    case JsonType::kFloat:
      return "a number";
    case JsonType::kString:
      return "a string";
    case JsonType::kArray:
      return "a list";
    case JsonType::kObject:
      return "an object";
  }
  return "null";
}

bool JsonTree::parse(std::string_view text) {
  nodes_.clear();
  nodes_.emplace_back();
  bytes_.clear();
  open_.clear();
  fault_ = {};
  if (text.starts_with(kByteOrderMark)) {
    fault_ = {Rule::kUnexpectedBom, 0, "The row starts with a byte-order mark."};
    return false;
  }
  // nlohmann takes a NUL for the end of its input and would not see what follows.
  if (const void* nul = text.empty() ? nullptr : std::memchr(text.data(), 0, text.size())) {
    const auto offset = static_cast<std::size_t>(static_cast<const char*>(nul) - text.data());
    fault_ = {Rule::kNulByte, offset, cat("A NUL byte stands at ", place_text(offset), ".")};
    return false;
  }
  JsonTreeBuilder builder(*this, text);
  return nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
}

std::string_view JsonTree::key(const JsonNode& node) const {
  return std::string_view(bytes_).substr(node.key_begin, node.key_end - node.key_begin);
}

std::string_view JsonTree::text(const JsonNode& node) const {
  return std::string_view(bytes_).substr(node.text_begin, node.text_end - node.text_begin);
}

const JsonNode* JsonTree::find(const JsonNode& object, std::string_view key) const {
  if (object.type != JsonType::kObject) return nullptr;
  for (const JsonNode* child = first(object); child != nullptr; child = next(*child)) {
    if (this->key(*child) == key) return child;
  }
  return nullptr;
}

const JsonNode* JsonTree::first(const JsonNode& parent) const {
  return parent.first_child == 0 ? nullptr : &nodes_[parent.first_child];
}

const JsonNode* JsonTree::next(const JsonNode& node) const {
  return node.next == 0 ? nullptr : &nodes_[node.next];
}

void JsonTree::write(const JsonNode& node, std::string& out) const {
  switch (node.type) {
    case JsonType::kNull:
      out += "null";
      return;
    case JsonType::kBool:
      out += node.truth ? "true" : "false";
      return;
    case JsonType::kInteger:
    case JsonType::kFloat:
      out += text(node);
      return;
    case JsonType::kString:
      append_json_string(text(node), out);
      return;
    case JsonType::kArray:
    case JsonType::kObject:
      break;
  }
  const bool object = node.type == JsonType::kObject;
  out += object ? '{' : '[';
  for (const JsonNode* child = first(node); child != nullptr; child = next(*child)) {
    if (child != first(node)) out += ',';
    if (object) {
      append_json_string(key(*child), out);
      out += ':';
    }
    write(*child, out);
  }
  out += object ? '}' : ']';
}

void append_json_string(std::string_view text, std::string& out) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4U];
      out += kHex[byte & 0xfU];
    } else {
      out += c;
    }
  }
  out += '"';
}

}  // namespace ratchet::trainer
