#pragma once

// Strong ids: a JobId cannot be passed where a RunId is meant.
//
// An id is 1 to 128 characters of [A-Za-z0-9._-] and does not start with a dot, so that it can be a
// folder name. Id itself does not check; documents are checked with is_valid_id() when decoded.

#include <compare>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace ratchet {

template <class Tag>
class Id {
 public:
  Id() = default;
  explicit Id(std::string text) : text_(std::move(text)) {}
  [[nodiscard]] const std::string& str() const { return text_; }
  [[nodiscard]] bool empty() const { return text_.empty(); }
  auto operator<=>(const Id&) const = default;

 private:
  std::string text_;
};

using JobId = Id<struct JobTag>;
using RunId = Id<struct RunTag>;
using NodeId = Id<struct NodeTag>;
using LeaseId = Id<struct LeaseTag>;

constexpr std::size_t kMaxIdLength = 128;

inline bool is_valid_id(std::string_view text) {
  if (text.empty() || text.size() > kMaxIdLength || text.front() == '.') return false;
  for (char c : text) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!word && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

}  // namespace ratchet

template <class Tag>
struct std::hash<ratchet::Id<Tag>> {
  std::size_t operator()(const ratchet::Id<Tag>& id) const noexcept {
    return std::hash<std::string>{}(id.str());
  }
};
