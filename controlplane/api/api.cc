#include "controlplane/api/api.h"

#include <algorithm>
#include <chrono>

#include "controlplane/api/auth.h"
#include "controlplane/api/metrics.h"
#include "controlplane/service/log.h"
#include "controlplane/service/secrets.h"
#include "proto/ids.h"
#include "proto/net/url.h"

namespace ratchet::control {

namespace {

using std::chrono::steady_clock;

constexpr std::size_t kMaxIdempotencyKey = 255;

// Takes the first part of a path, without its slash, from `rest`.
std::string_view take_segment(std::string_view& rest) {
  rest.remove_prefix(1);
  const auto end = std::min(rest.find('/'), rest.size());
  const auto segment = rest.substr(0, end);
  rest.remove_prefix(end);
  return segment;
}

bool is_parameter(std::string_view segment) { return segment.starts_with('{'); }

std::string_view parameter_name(std::string_view segment) {
  return segment.substr(1, segment.size() - 2);
}

// {path} takes the rest, whatever its slashes.
bool fits(std::string_view pattern, std::string_view path,
          std::map<std::string, std::string, std::less<>>& parameters) {
  while (!pattern.empty() && !path.empty()) {
    const bool all = pattern == "/{path}";
    const auto wanted = take_segment(pattern);
    const auto rest = path.substr(1);
    const auto given = take_segment(path);
    if (!is_parameter(wanted)) {
      if (wanted != given) return false;
      continue;
    }
    const auto raw = all ? rest : given;
    std::string value;
    if (raw.empty() || !net::url_unescape(raw, value)) return false;
    parameters[std::string(parameter_name(wanted))] = value;
    if (all) path = {};
  }
  return pattern.empty() && path.empty();
}

std::string request_id_of(const net::Request& request) {
  const auto given = request.headers.get("X-Request-Id");
  return is_valid_id(given) ? std::string(given) : random_digits(8);
}

bool is_json(std::string_view content_type) {
  return content_type.empty() || content_type.starts_with("application/json");
}

ApiError problem_of_body(const Error& error, std::size_t max_body) {
  if (error.code == Code::kInvalidArgument) {
    return problem(ApiErrorCode::kBodyTooLarge,
                   "The body has more than " + std::to_string(max_body) + " bytes.");
  }
  if (error.code == Code::kUnavailable) return problem(ApiErrorCode::kRequestTimeout);
  return problem(ApiErrorCode::kInvalidRequest, error.message);
}

const std::string* allowed_origin(const Context& context, const net::Request& request) {
  const auto origin = request.headers.get("Origin");
  const auto& allowed = context.settings.allowed_origins;
  const auto found = std::find(allowed.begin(), allowed.end(), origin);
  return origin.empty() || found == allowed.end() ? nullptr : &*found;
}

}  // namespace

struct Api::Pass {
  Call call;
  Matched matched;
  RateState rate;
  steady_clock::time_point began = steady_clock::now();
};

Matched match_route(std::span<const Route> routes, net::Method method, std::string_view raw_path) {
  Matched out;
  for (const auto& route : routes) {
    std::map<std::string, std::string, std::less<>> parameters;
    if (!fits(route.path, raw_path, parameters)) continue;
    if (route.method == method) {
      out.route = &route;
      out.parameters = std::move(parameters);
      return out;
    }
    out.allowed += (out.allowed.empty() ? "" : ", ") + std::string(net::method_name(route.method));
  }
  return out;
}

net::Headers common_headers(const Context& context, const Call& call) {
  net::Headers out;
  out.set("X-Request-Id", call.request_id);
  out.set("X-Content-Type-Options", "nosniff");
  out.set("X-Frame-Options", "DENY");
  out.set("Referrer-Policy", "no-referrer");
  out.set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
  out.set("Cache-Control", "no-store");
  if (call.request->tls) out.set("Strict-Transport-Security", "max-age=31536000");
  if (const auto* origin = allowed_origin(context, *call.request)) {
    out.set("Access-Control-Allow-Origin", *origin);
    out.set("Access-Control-Expose-Headers",
            "X-Request-Id, Upload-Offset, RateLimit-Limit, Retry-After, Log-Next-Offset");
    out.set("Vary", "Origin");
  }
  return out;
}

std::optional<IdempotencyRow> idempotency_row(const Call& call, int status,
                                              const std::string& answer, UnixMillis now) {
  if (!call.idempotency) return std::nullopt;
  return IdempotencyRow{.tenant = call.who.tenant,
                        .key = call.idempotency->key,
                        .body_sha256 = call.idempotency->body_sha256,
                        .status = status,
                        .answer = answer,
                        .created_at = now};
}

void Api::add_headers(const Pass& pass, net::Headers& headers) const {
  const auto common = common_headers(context_, pass.call);
  for (const auto& field : common.fields()) {
    if (!headers.has(field.name)) headers.set(field.name, field.value);
  }
  if (pass.rate.limit > 0) {
    headers.set("RateLimit-Limit", std::to_string(pass.rate.limit));
  }
  if (!headers.has("Content-Type")) headers.set("Content-Type", "application/json");
}

asio::awaitable<void> Api::handle(net::Exchange& exchange) {
  Pass pass;
  pass.call.request = &exchange.request();
  pass.call.request_id = request_id_of(exchange.request());
  auto answered = co_await answer(exchange, pass);
  int status = 0;
  std::string code;
  std::string message;
  if (answered) {
    net::Response response;
    if (auto* error = std::get_if<ApiError>(&*answered)) {
      error->request_id = pass.call.request_id;
      code = error->code;
      message = error->message;
      response.status = http_status_of(error->code);
      response.body = encode_api_error(*error);
      if (response.status == 405) response.headers.set("Allow", pass.matched.allowed);
      if (response.status == 401) response.headers.set("WWW-Authenticate", "Bearer");
      if (pass.rate.wait_s > 0) {
        response.headers.set("Retry-After", std::to_string(pass.rate.wait_s));
      } else if (response.status == 503) {
        response.headers.set("Retry-After", "1");
      }
    } else {
      auto& reply = std::get<Reply>(*answered);
      response.status = reply.status;
      response.body = std::move(reply.body);
      response.headers = std::move(reply.headers);
    }
    add_headers(pass, response.headers);
    status = response.status;
    [[maybe_unused]] const auto sent = co_await exchange.send(std::move(response));
  }
  const auto seconds = std::chrono::duration<double>(steady_clock::now() - pass.began).count();
  const std::string_view route =
      pass.matched.route != nullptr ? pass.matched.route->path : "unknown";
  context_.metrics.request(route, net::method_name(pass.call.request->method), status, seconds);
  if (status == 500) keep_error(pass, message);
  // Heartbeats and polls are most of all requests and say nothing when they succeed.
  const bool usual = status < 400 && pass.call.who.access == Access::kAgent;
  const auto level =
      status >= 500 ? LogLevel::kError : (usual ? LogLevel::kDebug : LogLevel::kInfo);
  if (!is_logged(level)) co_return;
  log_line(level, "request",
           {{"request_id", pass.call.request_id},
            {"method", std::string(net::method_name(pass.call.request->method))},
            {"path", pass.call.request->path},
            {"status", std::to_string(status)},
            {"code", code},
            {"ms", std::to_string(static_cast<std::int64_t>(seconds * 1000))},
            {"tenant", pass.call.who.tenant},
            {"token", pass.call.who.token_id},
            {"remote", pass.call.request->remote_address}});
}

// ERR-04: faults of our own outlive the log.
void Api::keep_error(const Pass& pass, const std::string& message) {
  ErrorLogRow row;
  row.error_id = "err-" + pass.call.request_id + "-" + random_digits(4);
  row.tenant = pass.call.who.tenant;
  row.error_type = "api";
  row.message = message;
  row.user = pass.call.who.name;
  row.severity = "error";
  context_.service.keep_fault(std::move(row));
}

asio::awaitable<std::optional<Answer>> Api::answer(net::Exchange& exchange, Pass& pass) {
  const auto& request = *pass.call.request;
  pass.matched = match_route(route_table(), request.method, request.raw_path);
  if (pass.matched.route == nullptr) {
    if (request.method == net::Method::kOptions && allowed_origin(context_, request) != nullptr) {
      Reply preflight{.status = 204, .body = "", .headers = {}};
      preflight.headers.set("Access-Control-Allow-Methods", pass.matched.allowed);
      preflight.headers.set("Access-Control-Allow-Headers",
                            "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, "
                            "Upload-Offset, Range, X-Request-Id");
      preflight.headers.set("Access-Control-Max-Age", "600");
      co_return Answer(std::move(preflight));
    }
    if (!pass.matched.allowed.empty()) {
      co_return Answer(problem(ApiErrorCode::kMethodNotAllowed,
                               "This address answers " + pass.matched.allowed + "."));
    }
    co_return Answer(problem(ApiErrorCode::kRouteNotFound));
  }
  pass.call.parameters = pass.matched.parameters;
  if (auto refused = co_await admit(pass)) co_return Answer(*std::move(refused));
  const auto& route = *pass.matched.route;
  if (route.max_body > 0) {
    if (!is_json(request.headers.get("Content-Type"))) {
      co_return Answer(problem(ApiErrorCode::kUnsupportedMediaType));
    }
    auto body = co_await exchange.read_body(route.max_body);
    if (!body) co_return Answer(problem_of_body(body.error(), route.max_body));
    pass.call.body = *std::move(body);
  }
  co_return co_await run(exchange, pass);
}

asio::awaitable<std::optional<ApiError>> Api::admit(Pass& pass) {
  const auto& route = *pass.matched.route;
  if (route.access == Access::kOpen) co_return std::nullopt;
  const auto now = Service::now().wall;
  std::string token(net::bearer_token(pass.call.request->headers));
  auto who = co_await context_.tokens.identify(std::move(token), now);
  if (auto* refused = std::get_if<ApiError>(&who)) co_return std::move(*refused);
  pass.call.who = std::get<Identity>(std::move(who));
  if (!may(pass.call.who.access, route.access)) {
    co_return problem(ApiErrorCode::kForbidden, "The token's scope does not reach this.");
  }
  pass.rate = context_.tokens.take(pass.call.who);
  if (pass.rate.wait_s > 0) co_return problem(ApiErrorCode::kRateLimited);
  if (context_.tokens.use_is_due(pass.call.who.token_id, now)) {
    Batch batch;
    batch.writes.emplace_back(TokenUse{pass.call.who.token_id, now});
    context_.store.commit(std::move(batch), [](const Result<CommitInfo>& /*info*/) {});
  }
  co_return std::nullopt;
}

asio::awaitable<std::optional<Answer>> Api::run(net::Exchange& exchange, Pass& pass) {
  const auto key = pass.call.request->headers.get("Idempotency-Key");
  if (pass.matched.route->creates == Creates::kNo || key.empty()) {
    co_return co_await call_handler(exchange, pass);
  }
  if (key.size() > kMaxIdempotencyKey) {
    co_return Answer(problem(ApiErrorCode::kInvalidRequest,
                             "The Idempotency-Key is longer than 255 characters."));
  }
  pass.call.idempotency =
      IdempotencyKey{std::string(key), sha256_hex(pass.call.request->path + "\n" + pass.call.body)};
  const std::pair<std::string, std::string> own(pass.call.who.tenant, key);
  if (!creating_.insert(own).second) {
    co_return Answer(problem(ApiErrorCode::kNotReady,
                             "Another request with this Idempotency-Key is under way.",
                             "Send it again soon: it then gets the same answer."));
  }
  struct Leave {
    std::set<std::pair<std::string, std::string>>& creating;
    const std::pair<std::string, std::string>& own;
    ~Leave() { creating.erase(own); }
  } leave{creating_, own};
  co_return co_await create_once(exchange, pass);
}

asio::awaitable<std::optional<Answer>> Api::create_once(net::Exchange& exchange, Pass& pass) {
  std::function<Result<std::optional<IdempotencyRow>>()> find =
      [this, tenant = pass.call.who.tenant, key = pass.call.idempotency->key] {
        return context_.store.accounts().idempotency(tenant, key, Service::now().wall);
      };
  auto before = co_await run_in(context_.pool, std::move(find));
  if (!before) co_return Answer(problem_of(before.error()));
  if (!*before) co_return co_await call_handler(exchange, pass);
  const auto& row = **before;
  if (row.body_sha256 != pass.call.idempotency->body_sha256) {
    co_return Answer(problem(ApiErrorCode::kIdempotencyConflict));
  }
  Reply reply{.status = row.status, .body = row.answer, .headers = {}};
  reply.headers.set("Idempotent-Replay", "true");
  co_return Answer(std::move(reply));
}

asio::awaitable<std::optional<Answer>> Api::call_handler(net::Exchange& exchange, Pass& pass) {
  const auto& route = *pass.matched.route;
  if (route.read != nullptr) {
    std::function<Answer()> work = [this, &route, &call = pass.call] {
      return route.read(context_, call);
    };
    co_return co_await run_in(context_.pool, std::move(work));
  }
  if (route.act != nullptr) co_return co_await route.act(context_, pass.call);
  co_return co_await route.stream(context_, pass.call, exchange);
}

}  // namespace ratchet::control
