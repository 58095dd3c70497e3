#pragma once

// The dispatcher: every request goes route -> token -> budget -> body -> handler -> answer, with
// one request id, one log line and one form of errors. On the loop's thread.

#include <set>
#include <span>
#include <string>
#include <utility>

#include "controlplane/api/context.h"
#include "controlplane/api/route.h"

namespace ratchet::control {

struct Matched {
  const Route* route = nullptr;  // null: no route has this path
  std::map<std::string, std::string, std::less<>> parameters;
  std::string allowed;  // methods of the path when only the method is wrong: "GET, POST"
};

// Pure. `raw_path` is escaped; parameters are not.
Matched match_route(std::span<const Route> routes, net::Method method, std::string_view raw_path);

class Api {
 public:
  explicit Api(Context& context) : context_(context) {}
  asio::awaitable<void> handle(net::Exchange& exchange);

 private:
  struct Pass;  // what is known of a request so far
  asio::awaitable<std::optional<Answer>> answer(net::Exchange& exchange, Pass& pass);
  asio::awaitable<std::optional<ApiError>> admit(Pass& pass);
  asio::awaitable<std::optional<Answer>> run(net::Exchange& exchange, Pass& pass);
  asio::awaitable<std::optional<Answer>> create_once(net::Exchange& exchange, Pass& pass);
  asio::awaitable<std::optional<Answer>> call_handler(net::Exchange& exchange, Pass& pass);
  void keep_error(const Pass& pass, const std::string& message);
  void add_headers(const Pass& pass, net::Headers& headers) const;

  Context& context_;
  std::set<std::pair<std::string, std::string>> creating_;  // tenant and Idempotency-Key
};

// The headers that every answer carries; streams add them by themselves.
net::Headers common_headers(const Context& context, const Call& call);

// To be committed together with what was created, so that a repeated request gets the same answer.
std::optional<IdempotencyRow> idempotency_row(const Call& call, int status,
                                              const std::string& answer, UnixMillis now);

}  // namespace ratchet::control
