#include "controlplane/api/rejections.h"

#include <array>

namespace ratchet::control {

namespace {

// Words of the core that say more than the API's codes do.
constexpr std::array<std::pair<std::string_view, ApiErrorCode>, 5> kWords{{
    {"job_state", ApiErrorCode::kInvalidTransition},
    {"node_retired", ApiErrorCode::kNodeGone},
    {"node_silent", ApiErrorCode::kInvalidTransition},
    {"job_exists", ApiErrorCode::kIdempotencyConflict},
    {"invalid_state", ApiErrorCode::kInternal},
}};

}  // namespace

ApiError problem_of(const Rejection& rejection) {
  auto code = from_word<ApiErrorCode>(rejection.code);
  for (const auto& [word, meant] : kWords) {
    if (word == rejection.code) code = meant;
  }
  return make_api_error(code.value_or(ApiErrorCode::kInternal), rejection.message);
}

}  // namespace ratchet::control
