#pragma once

// A request on its way through the API, and its answer. Values.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "proto/api_error.h"
#include "proto/finding.h"
#include "proto/net/http_server.h"
#include "proto/result.h"
#include "proto/units.h"

namespace ratchet::control {

// kUser: admins too. kTransfer: users, admins and nodes. kJoin: join tokens and nodes.
enum class Access { kOpen, kUser, kAdmin, kTransfer, kAgent, kJoin };

// Whose token it is. A token without a scope that fits never reaches a handler.
struct Identity {
  std::string token_id;
  std::string name;
  std::string tenant;
  std::string node_id;  // of a node's token
  Access access = Access::kOpen;
};

struct IdempotencyKey {
  std::string key;
  std::string body_sha256;  // of method, path and body
};

struct Call {
  const net::Request* request = nullptr;                       // lent until the answer was sent
  std::map<std::string, std::string, std::less<>> parameters;  // of the path
  std::string body;
  Identity who;
  std::string request_id;
  std::optional<IdempotencyKey> idempotency;

  [[nodiscard]] const std::string& parameter(std::string_view name) const;
  // Of the query; empty when it was not given.
  [[nodiscard]] std::string query(std::string_view name) const;
};

struct Reply {
  int status = 200;
  std::string body;  // JSON unless the headers say otherwise
  net::Headers headers;
};
using Answer = std::variant<Reply, ApiError>;

ApiError problem(ApiErrorCode code, std::string message = {}, std::string next_step = {});
// What a store or an artifact store answered; `missing` is the code for kNotFound.
ApiError problem_of(const Error& error, ApiErrorCode missing = ApiErrorCode::kRouteNotFound);
// invalid_request, invalid_spec or invalid_json with every finding in details.findings.
ApiError problem_of(std::vector<Finding> findings,
                    ApiErrorCode code = ApiErrorCode::kInvalidRequest);

// An integer of the query, within bounds; nothing when it is not there.
Result<std::optional<std::int64_t>> integer_query(const Call& call, std::string_view name,
                                                  std::int64_t min, std::int64_t max);
// `limit` (1 to 1000, 100 when not given) and `cursor`.
struct PageArgs {
  std::int64_t limit = 100;
  std::string cursor;
};
Result<PageArgs> page_query(const Call& call);

}  // namespace ratchet::control
