#include "controlplane/api/openapi.h"

#include <cctype>
#include <nlohmann/json.hpp>
#include <set>

#include "proto/api_error.h"

namespace ratchet::control {

using nlohmann::json;

namespace {

json reference(std::string_view schema) {
  return {{"$ref", "#/components/schemas/" + std::string(schema)}};
}

json parameters_of(const Route& route) {
  auto out = json::array();
  std::string_view rest = route.path;
  while (true) {
    const auto begin = rest.find('{');
    if (begin == std::string_view::npos) break;
    const auto end = rest.find('}', begin);
    const auto name = rest.substr(begin + 1, end - begin - 1);
    const bool number = name == "attempt_no";
    out.push_back({{"name", name},
                   {"in", "path"},
                   {"required", true},
                   {"schema", number ? json{{"type", "integer"}, {"minimum", 1}}
                                     : json{{"type", "string"}, {"minLength", 1}}}});
    rest.remove_prefix(end + 1);
  }
  for (const auto& parameter : route.parameters) {
    out.push_back({{"name", parameter.name},
                   {"in", parameter.in},
                   {"required", parameter.required},
                   {"description", parameter.meaning},
                   {"schema", {{"type", parameter.type}}}});
  }
  if (route.creates == Creates::kWithKey) {
    out.push_back({{"name", "Idempotency-Key"},
                   {"in", "header"},
                   {"required", false},
                   {"description", "The same key and body again gets the same answer for a day"},
                   {"schema", {{"type", "string"}, {"maxLength", 255}}}});
  }
  return out;
}

// What any route may answer beside its own errors.
std::vector<ApiErrorCode> common_errors(const Route& route) {
  std::vector<ApiErrorCode> out{ApiErrorCode::kInvalidRequest, ApiErrorCode::kInternal,
                                ApiErrorCode::kStoreUnavailable, ApiErrorCode::kNotReady};
  if (route.access != Access::kOpen) {
    out.push_back(ApiErrorCode::kUnauthenticated);
    out.push_back(ApiErrorCode::kForbidden);
    out.push_back(ApiErrorCode::kRateLimited);
  }
  if (route.max_body > 0) {
    out.push_back(ApiErrorCode::kBodyTooLarge);
    out.push_back(ApiErrorCode::kRequestTimeout);
    out.push_back(ApiErrorCode::kUnsupportedMediaType);
    out.push_back(ApiErrorCode::kStorageFull);
  }
  return out;
}

json responses_of(const Route& route) {
  auto out = json::object();
  for (const auto& answered : route.answers) {
    json one{{"description", answered.meaning}};
    if (!answered.schema.empty()) {
      one["content"][std::string(answered.type)]["schema"] = reference(answered.schema);
    }
    out[std::to_string(answered.status)] = std::move(one);
  }
  std::map<int, std::set<std::string>> codes;
  auto errors = common_errors(route);
  errors.insert(errors.end(), route.errors.begin(), route.errors.end());
  for (const auto code : errors) {
    codes[api_error_row(code).http_status].insert(std::string(to_word(code)));
  }
  for (const auto& [status, words] : codes) {
    std::string text;
    for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
    out[std::to_string(status)] = {
        {"description", text},
        {"content", {{"application/json", {{"schema", reference("Error")}}}}}};
  }
  return out;
}

std::string_view scope_word(Access access) {
  switch (access) {
    case Access::kUser:
      return "user or admin";
    case Access::kAdmin:
      return "admin";
    case Access::kTransfer:
      return "user, admin or agent";
    case Access::kAgent:
      return "agent";
    case Access::kJoin:
      return "join or agent";
    case Access::kOpen:
      break;
  }
  return "";
}

json operation_of(const Route& route) {
  json out{{"operationId", route.operation},
           {"summary", route.summary},
           {"parameters", parameters_of(route)},
           {"responses", responses_of(route)}};
  if (route.access == Access::kOpen) {
    out["security"] = json::array();
  } else {
    out["security"] = json::array({{{"bearer", json::array()}}});
    out["description"] = "Scope: " + std::string(scope_word(route.access)) + ".";
  }
  if (!route.request_schema.empty()) {
    json media{{"schema", reference(route.request_schema)}};
    auto example = json::parse(route.request_example, nullptr, false);
    if (!example.is_discarded()) media["example"] = std::move(example);
    out["requestBody"] = {{"required", true}, {"content", {{"application/json", media}}}};
  } else if (route.method == net::Method::kPut) {
    out["requestBody"] = {
        {"required", true},
        {"content", {{"application/octet-stream", {{"schema", reference("Binary")}}}}}};
  }
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  for (const char c : text) out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

json error_codes() {
  auto out = json::array();
  for (const auto& row : api_error_table()) {
    out.push_back({{"code", to_word(row.code)},
                   {"http_status", row.http_status},
                   {"class", to_word(row.error_class)},
                   {"message", row.message},
                   {"next_step", row.next_step}});
  }
  return out;
}

}  // namespace

std::string openapi_document(std::span<const Route> routes) {
  json out{{"openapi", "3.1.0"},
           {"info",
            {{"title", "ratchet"},
             {"version", "1"},
             {"description",
              "Fine-tuning jobs that survive every death on their way. Bodies are JSON; times are "
              "unix milliseconds (*_at_ms); lists are {items, next_cursor}; errors have one form. "
              "Requests of a token are limited: RateLimit-Limit, and Retry-After on 429."}}},
           {"x-error-codes", error_codes()}};
  out["components"] = {{"securitySchemes", {{"bearer", {{"type", "http"}, {"scheme", "bearer"}}}}},
                       {"schemas", json::parse(openapi_schemas())}};
  out["paths"] = json::object();
  for (const auto& route : routes) {
    out["paths"][std::string(route.path)][lower(net::method_name(route.method))] =
        operation_of(route);
  }
  return out.dump();
}

}  // namespace ratchet::control
