#pragma once

// The API as data: every route with what it needs, what it answers and its examples. The dispatcher
// (api.h) follows this table and /v1/openapi.json is made from it.

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "controlplane/api/call.h"
#include "controlplane/api/context.h"

namespace ratchet::control {

// A handler is one of three kinds. What it answers is sent by the dispatcher.
//   read    blocks on store and disk, on a worker thread; nothing of the loop
//   act     on the loop's thread, may wait
//   stream  as act, and takes the exchange itself; answers nothing once it has begun to send
using Read = Answer (*)(const Context& context, const Call& call);
using Act = asio::awaitable<Answer> (*)(Context& context, const Call& call);
using Stream = asio::awaitable<std::optional<Answer>> (*)(Context& context, const Call& call,
                                                          net::Exchange& exchange);

struct Parameter {
  std::string_view name;
  std::string_view type;  // "string", "integer", "boolean"
  std::string_view meaning;
  std::string_view in = "query";  // or "header"
  bool required = false;
};

struct Answered {
  int status = 200;
  std::string_view schema;   // component; empty: no body
  std::string_view meaning;  //
  std::string_view type = "application/json";
};

enum class Creates { kNo, kWithKey };  // kWithKey: takes an Idempotency-Key

struct Route {
  net::Method method;
  std::string_view path;       // "/v1/jobs/{id}"; "{path}" at the end holds slashes
  std::string_view operation;  // "showJob"
  std::string_view summary;
  Access access;
  Read read = nullptr;
  Act act = nullptr;
  Stream stream = nullptr;
  std::size_t max_body = 0;  // 0: a body is not read
  Creates creates = Creates::kNo;
  std::string_view request_schema;  // component; empty: no body is asked for
  std::string_view request_example;
  std::vector<Parameter> parameters;
  std::vector<Answered> answers;
  std::vector<ApiErrorCode> errors;  // beside those of every route
};

std::span<const Route> route_table();

constexpr std::size_t kSmallBody = 64 * 1024;
constexpr std::size_t kJobBody = 2 * 1024 * 1024;
constexpr std::size_t kManifestBody = 8 * 1024 * 1024;

}  // namespace ratchet::control
