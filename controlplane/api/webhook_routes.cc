#include <charconv>
#include <nlohmann/json.hpp>

#include "controlplane/api/api.h"
#include "controlplane/api/bodies.h"
#include "controlplane/api/forms.h"
#include "controlplane/api/handlers.h"
#include "controlplane/service/secrets.h"
#include "controlplane/webhooks/payload.h"
#include "controlplane/webhooks/signing.h"

namespace ratchet::control {

using nlohmann::json;

namespace {

constexpr std::size_t kMaxTypes = 64;
constexpr UnixMillis kOldSecret{24LL * 3600 * 1000};  // for how long it signs after a rotation
constexpr std::int64_t kMaxTime = std::int64_t{1} << 50;

// What a body may say of an endpoint, new or changed.
std::optional<ApiError> read_webhook(const Context& context, Body& body, WebhookRow& row) {
  bool refused_url = false;
  std::string why;
  {
    auto root = body.root();
    if (row.id.empty()) root.require("url", "where events are posted to");
    const bool has_url = root.text("url", row.url, {.min_length = 1, .max_length = 2000});
    root.text("description", row.description, {.max_length = 500});
    if (root.has("types")) {
      row.types.clear();
      root.texts("types", row.types, kMaxTypes, {.min_length = 1, .max_length = 100});
      for (const auto& type : row.types) {
        if (!is_event_pattern(type)) {
          root.add_finding("types",
                           "'" + type + "' is no event type, such as job.failed or job.*.");
        }
      }
    }
    root.text("format", row.format, {.max_length = 32});
    if (row.format != "standard" && row.format != "cloudevents" && row.format != "openai") {
      root.add_finding("format", "must be standard, cloudevents or openai.");
    }
    if (has_url) {
      if (const auto url = check_webhook_url(row.url, context.webhook_addresses); !url) {
        refused_url = true;
        why = url.error().message;
      }
    }
    if (root.has("disabled")) {
      bool disabled = !row.enabled;
      root.boolean("disabled", disabled);
      row.enabled = !disabled;
      row.disabled_reason = disabled ? "Disabled by its owner." : "";
    }
  }
  if (auto refused = body.refused()) return refused;
  if (refused_url) return problem(ApiErrorCode::kWebhookUrlRefused, why);
  return std::nullopt;
}

asio::awaitable<Result<WebhookRow>> find_webhook(Context& context, const Call& call) {
  std::function<Result<WebhookRow>()> find = [&context, &call] {
    return context.store.webhooks().webhook(call.parameter("id"), call.who.tenant);
  };
  co_return co_await run_in(context.pool, std::move(find));
}

asio::awaitable<Answer> commit(Context& context, Batch batch, Reply reply) {
  const auto done = co_await context.service.commit(std::move(batch));
  if (!done) co_return problem_of(done.error(), ApiErrorCode::kWebhookNotFound);
  co_return reply;
}

Reply accepted(json form) { return {.status = 202, .body = to_text(form), .headers = {}}; }

// "evt_<store>_<id>" or the bare number.
std::int64_t event_number(std::string_view text) {
  if (const auto bar = text.rfind('_'); bar != std::string_view::npos) {
    text.remove_prefix(bar + 1);
  }
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : -1;
}

}  // namespace

asio::awaitable<Answer> create_webhook(Context& context, const Call& call) {
  WebhookRow row;
  row.format = "standard";
  Body body(call.body);
  if (auto refused = read_webhook(context, body, row)) co_return *std::move(refused);
  const auto now = Service::now().wall;
  row.id = new_id("wh");
  row.tenant = call.who.tenant;
  row.created_at = now;
  row.updated_at = now;
  auto secret = make_webhook_secret();
  if (!secret) co_return problem(ApiErrorCode::kInternal, secret.error().message);
  row.secrets = {{.secret = *secret, .created_at = now, .expires_at = std::nullopt}};
  auto form = webhook_form(row);
  Batch batch;
  batch.writes.emplace_back(row);
  // A secret is never stored in an answer: a repeated request gets it without.
  form["secret"] = nullptr;
  if (auto kept = idempotency_row(call, 201, to_text(form), now)) {
    batch.writes.emplace_back(*std::move(kept));
  }
  form["secret"] = *secret;
  Reply reply{.status = 201, .body = to_text(form), .headers = {}};
  reply.headers.set("Location", "/v1/webhooks/" + row.id);
  co_return co_await commit(context, std::move(batch), std::move(reply));
}

Answer list_webhooks(const Context& context, const Call& call) {
  const auto rows = context.store.webhooks().webhooks(call.who.tenant);
  if (!rows) return problem_of(rows.error());
  auto items = json::array();
  for (const auto& row : *rows) items.push_back(webhook_form(row));
  return Reply{.status = 200, .body = to_text(list_form(std::move(items), "")), .headers = {}};
}

Answer show_webhook(const Context& context, const Call& call) {
  const auto row = context.store.webhooks().webhook(call.parameter("id"), call.who.tenant);
  if (!row) return problem_of(row.error(), ApiErrorCode::kWebhookNotFound);
  return Reply{.status = 200, .body = to_text(webhook_form(*row)), .headers = {}};
}

asio::awaitable<Answer> change_webhook(Context& context, const Call& call) {
  auto row = co_await find_webhook(context, call);
  if (!row) co_return problem_of(row.error(), ApiErrorCode::kWebhookNotFound);
  Body body(call.body);
  if (auto refused = read_webhook(context, body, *row)) co_return *std::move(refused);
  row->updated_at = Service::now().wall;
  Batch batch;
  batch.writes.emplace_back(*row);
  Reply reply{.status = 200, .body = to_text(webhook_form(*row)), .headers = {}};
  auto answer = co_await commit(context, std::move(batch), std::move(reply));
  context.service.delivery_signal().notify();
  co_return answer;
}

asio::awaitable<Answer> delete_webhook(Context& context, const Call& call) {
  const auto row = co_await find_webhook(context, call);
  if (!row) co_return problem_of(row.error(), ApiErrorCode::kWebhookNotFound);
  Batch batch;
  batch.writes.emplace_back(DeleteWebhook{row->id});
  Reply reply{.status = 204, .body = "", .headers = {}};
  co_return co_await commit(context, std::move(batch), std::move(reply));
}

asio::awaitable<Answer> rotate_webhook(Context& context, const Call& call) {
  using Found = std::pair<Result<WebhookRow>, Result<std::vector<WebhookSecret>>>;
  std::function<Found()> find = [&context, &call] {
    const auto& reads = context.store.webhooks();
    return Found(reads.webhook(call.parameter("id"), call.who.tenant),
                 reads.secrets(call.parameter("id")));
  };
  auto found = co_await run_in(context.pool, std::move(find));
  auto& [row, old] = found;
  if (!row) co_return problem_of(row.error(), ApiErrorCode::kWebhookNotFound);
  if (!old) co_return problem_of(old.error());
  const auto now = Service::now().wall;
  auto secret = make_webhook_secret();
  if (!secret) co_return problem(ApiErrorCode::kInternal, secret.error().message);
  row->updated_at = now;
  row->secrets = {{.secret = *secret, .created_at = now, .expires_at = std::nullopt}};
  if (!old->empty()) {
    auto before = old->front();
    before.expires_at = now + kOldSecret;
    row->secrets.push_back(std::move(before));
  }
  Batch batch;
  batch.writes.emplace_back(*row);
  auto form = webhook_form(*row);
  form["secret"] = *secret;
  Reply reply{.status = 200, .body = to_text(form), .headers = {}};
  co_return co_await commit(context, std::move(batch), std::move(reply));
}

asio::awaitable<Answer> test_webhook(Context& context, const Call& call) {
  const auto row = co_await find_webhook(context, call);
  if (!row) co_return problem_of(row.error(), ApiErrorCode::kWebhookNotFound);
  TestEvent test;
  test.webhook_id = row->id;
  test.event.tenant = row->tenant;
  test.event.type = "webhook.test";
  test.event.data_json = to_text(json{{"webhook_id", row->id}, {"asked_by", call.who.name}});
  test.event.time = Service::now().wall;
  Batch batch;
  batch.writes.emplace_back(std::move(test));
  const auto done = co_await context.service.commit(std::move(batch));
  if (!done) co_return problem_of(done.error(), ApiErrorCode::kWebhookNotFound);
  co_return accepted({{"deliveries", done->deliveries},
                      {"event_id", done->events.empty() ? "" : done->events.back().event_id}});
}

Answer list_deliveries(const Context& context, const Call& call) {
  const auto args = page_query(call);
  if (!args) return problem(ApiErrorCode::kInvalidRequest, args.error().message);
  DeliveryQuery query;
  query.tenant = call.who.tenant;
  query.webhook_id = call.parameter("id");
  query.page = {args->limit, args->cursor};
  if (const auto state = call.query("state"); !state.empty()) {
    query.state = from_word<DeliveryState>(state);
    if (!query.state) {
      return problem(ApiErrorCode::kInvalidRequest,
                     "The query parameter state must be " + list_words<DeliveryState>() + ".");
    }
  }
  const auto row = context.store.webhooks().webhook(query.webhook_id, query.tenant);
  if (!row) return problem_of(row.error(), ApiErrorCode::kWebhookNotFound);
  const auto page = context.store.webhooks().deliveries(query);
  if (!page && page.error().code == Code::kInvalidArgument) {
    return problem(ApiErrorCode::kInvalidCursor);
  }
  if (!page) return problem_of(page.error());
  auto items = json::array();
  for (const auto& delivery : page->items) items.push_back(delivery_form(delivery));
  return Reply{.status = 200,
               .body = to_text(list_form(std::move(items), page->next_cursor)),
               .headers = {}};
}

asio::awaitable<Answer> replay_webhook(Context& context, const Call& call) {
  std::string event_id;
  std::int64_t from = -1;
  std::int64_t to = -1;
  Body body(call.body);
  {
    auto root = body.root();
    root.text("event_id", event_id, {.max_length = 128});
    root.integer("from_ms", from, {0, kMaxTime});
    root.integer("to_ms", to, {0, kMaxTime});
    const bool by_range = from >= 0 && to >= from;
    if (event_id.empty() && !by_range) {
      root.add_finding("event_id", "give event_id, or from_ms and to_ms in this order.");
    } else if (!event_id.empty() && event_number(event_id) <= 0) {
      root.add_finding("event_id", "is no id of an event.");
    }
  }
  if (auto refused = body.refused()) co_return *std::move(refused);
  const auto row = co_await find_webhook(context, call);
  if (!row) co_return problem_of(row.error(), ApiErrorCode::kWebhookNotFound);
  ReplayEvents replay;
  replay.webhook_id = row->id;
  replay.now = Service::now().wall;
  if (event_id.empty()) {
    replay.from = UnixMillis(from);
    replay.to = UnixMillis(to);
  } else {
    replay.event = event_number(event_id);
  }
  Batch batch;
  batch.writes.emplace_back(replay);
  const auto done = co_await context.service.commit(std::move(batch));
  if (!done && done.error().code == Code::kNotFound) {
    co_return problem(ApiErrorCode::kInvalidRequest, "There is no such event of yours.");
  }
  if (!done) co_return problem_of(done.error());
  co_return accepted({{"deliveries", done->deliveries}});
}

}  // namespace ratchet::control
