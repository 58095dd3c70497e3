#include <nlohmann/json.hpp>

#include "controlplane/api/api.h"
#include "controlplane/api/auth.h"
#include "controlplane/api/bodies.h"
#include "controlplane/api/forms.h"
#include "controlplane/api/handlers.h"
#include "controlplane/service/secrets.h"
#include "proto/ids.h"

namespace ratchet::control {

using nlohmann::json;

asio::awaitable<Answer> create_token(Context& context, const Call& call) {
  TokenRow row;
  std::string scope;
  std::int64_t expires_at = 0;
  row.tenant = call.who.tenant;
  const auto now = Service::now().wall;
  Body body(call.body);
  {
    auto root = body.root();
    root.require("scope", "user, admin or join");
    root.text("scope", scope);
    root.text("name", row.name, {.max_length = 128});
    root.text("tenant", row.tenant, {.min_length = 1, .max_length = kMaxIdLength});
    root.integer("expires_at_ms", expires_at, {now.count()});
    if (!scope.empty() && scope != "user" && scope != "admin" && scope != "join") {
      root.add_finding("scope", "must be user, admin or join.");
    }
    if (!is_valid_id(row.tenant)) root.add_finding("tenant", "must be an id.");
  }
  if (auto refused = body.refused()) co_return *std::move(refused);
  // Only the operator, an administrator of the first tenant, opens the door to others.
  if (row.tenant != call.who.tenant && call.who.tenant != kDefaultTenant) {
    co_return problem(ApiErrorCode::kForbidden,
                      "Tokens of another tenant are made by the operator.");
  }
  const auto secret = new_token(scope);
  row.id = new_id("tok");
  row.sha256 = sha256_hex(secret);
  row.scopes = {scope};
  row.created_at = now;
  if (expires_at > 0) row.expires_at = UnixMillis(expires_at);
  auto form = token_form(row);
  Batch batch;
  batch.writes.emplace_back(TenantRow{.id = row.tenant, .name = row.tenant, .created_at = now});
  batch.writes.emplace_back(row);
  // A secret is never stored: a repeated request gets the answer without it.
  form["token"] = nullptr;
  if (auto kept = idempotency_row(call, 201, to_text(form), now)) {
    batch.writes.emplace_back(*std::move(kept));
  }
  const auto done = co_await context.service.commit(std::move(batch));
  if (!done) co_return problem_of(done.error());
  context.tokens.put(row);
  form["token"] = secret;
  co_return Reply{.status = 201, .body = to_text(form), .headers = {}};
}

Answer list_tokens(const Context& context, const Call& call) {
  const auto args = page_query(call);
  if (!args) return problem(ApiErrorCode::kInvalidRequest, args.error().message);
  const auto page = context.store.accounts().tokens(call.who.tenant, {args->limit, args->cursor});
  if (!page && page.error().code == Code::kInvalidArgument) {
    return problem(ApiErrorCode::kInvalidCursor);
  }
  if (!page) return problem_of(page.error());
  auto items = json::array();
  for (const auto& row : page->items) items.push_back(token_form(row));
  return Reply{.status = 200,
               .body = to_text(list_form(std::move(items), page->next_cursor)),
               .headers = {}};
}

asio::awaitable<Answer> revoke_token(Context& context, const Call& call) {
  std::function<Result<TokenRow>()> find = [&context, &call] {
    return context.store.accounts().token(call.parameter("id"), call.who.tenant);
  };
  auto row = co_await run_in(context.pool, std::move(find));
  if (!row) co_return problem_of(row.error(), ApiErrorCode::kTokenNotFound);
  if (!row->revoked_at) {
    row->revoked_at = Service::now().wall;
    // At once here; the commit makes it last.
    context.tokens.put(*row);
    Batch batch;
    batch.writes.emplace_back(*row);
    const auto done = co_await context.service.commit(std::move(batch));
    if (!done) co_return problem_of(done.error());
  }
  co_return Reply{.status = 204, .body = "", .headers = {}};
}

}  // namespace ratchet::control
