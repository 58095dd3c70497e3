#include "controlplane/api/bodies.h"

namespace ratchet::control {

Body::Body(const std::string& text, DocumentLimits limits) {
  document_ = Document::parse(text.empty() ? "{}" : text, limits, findings_);
  is_json_ = document_ != nullptr;
  if (!document_) {
    FindingList none;
    empty_ = Document::parse("{}", {}, none);
  }
}

ObjectReader Body::root() {
  return (document_ ? *document_ : *empty_).root(findings_, UnknownKeys::kReject);
}

std::optional<ApiError> Body::refused() {
  if (findings_.empty()) return std::nullopt;
  return problem_of(findings_.take(),
                    is_json_ ? ApiErrorCode::kInvalidRequest : ApiErrorCode::kInvalidJson);
}

}  // namespace ratchet::control
