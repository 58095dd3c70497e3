#include "controlplane/cli/json_values.h"

#include <memory>

#include "proto/document.h"

namespace ratchet::control::cli {

constexpr std::size_t kMaxDepth = 64;

Json parse_json(std::string_view text, std::size_t max_bytes) {
  FindingList findings;
  const auto document =
      Document::parse(text, {.max_bytes = max_bytes, .max_depth = kMaxDepth}, findings);
  return document ? document->value() : Json();
}

}  // namespace ratchet::control::cli
