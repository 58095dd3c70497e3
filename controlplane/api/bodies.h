#pragma once

// Bodies of requests, strictly: unknown keys and every other fault are findings.
//
//   Body body(call.body);
//   { auto root = body.root(); root.text("name", name); }
//   if (auto refused = body.refused()) return *refused;

#include <memory>
#include <optional>
#include <string>

#include "controlplane/api/call.h"
#include "proto/document.h"

namespace ratchet::control {

class Body {
 public:
  // An empty text reads as {}.
  explicit Body(const std::string& text, DocumentLimits limits = {});
  [[nodiscard]] ObjectReader root();
  [[nodiscard]] const Document* document() const { return document_.get(); }
  FindingList& findings() { return findings_; }
  // Once, when all readers are gone.
  std::optional<ApiError> refused();

 private:
  FindingList findings_;
  std::unique_ptr<Document> document_;
  std::unique_ptr<Document> empty_;
  bool is_json_ = true;
};

}  // namespace ratchet::control
