#include <nlohmann/json.hpp>

#include "controlplane/api/forms.h"
#include "controlplane/api/handlers.h"
#include "controlplane/api/metrics.h"
#include "proto/words.h"

namespace ratchet::control {

using nlohmann::json;

namespace {

Reply plain(std::string text, const char* type) {
  Reply out{.status = 200, .body = std::move(text), .headers = {}};
  out.headers.set("Content-Type", type);
  return out;
}

struct OnDisk {  // what only the disk knows
  StoreHealth store;
  Result<ArtifactSpace> space = ArtifactSpace{};
  std::map<JobState, std::int64_t> counts;
  std::int64_t backlog = 0;
  double store_ms = 0;
};

OnDisk look_at_disk(const Context& context, const std::string& tenant) {
  OnDisk out;
  const auto began = std::chrono::steady_clock::now();
  out.store = context.store.health();
  out.store_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count();
  out.space = context.artifacts.space();
  if (const auto counts = context.store.jobs().counts(tenant)) out.counts = *counts;
  if (const auto backlog = context.store.webhooks().backlog()) out.backlog = *backlog;
  return out;
}

json queue_form(const std::map<JobState, std::int64_t>& counts) {
  auto out = json::object();
  for (const auto& entry : word_table(JobState{})) {
    const auto found = counts.find(entry.value);
    out[std::string(entry.word)] = found == counts.end() ? 0 : found->second;
  }
  return out;
}

json nodes_form(const Context& context, const std::string& tenant) {
  auto out = json::object();
  for (const auto& entry : word_table(Liveness{})) out[std::string(entry.word)] = 0;
  for (const auto& view : context.service.nodes()) {
    if (view.row.tenant != tenant) continue;
    auto& count = out[std::string(to_word(view.liveness))];
    count = count.get<std::int64_t>() + 1;
  }
  return out;
}

json artifacts_health(const OnDisk& looked) {
  if (!looked.space) return {{"ok", false}, {"message", looked.space.error().message}};
  const bool full = looked.space->full();
  return {{"ok", !full},
          {"message", full ? "The disk is full: uploads are refused until there is room." : ""},
          {"free_bytes", looked.space->free.count()},
          {"reserve_bytes", looked.space->reserve.count()}};
}

}  // namespace

asio::awaitable<Answer> live(Context& /*context*/, const Call& /*call*/) {
  co_return plain("ok\n", "text/plain");
}

asio::awaitable<Answer> ready(Context& context, const Call& /*call*/) {
  if (!context.service.ready()) co_return problem(ApiErrorCode::kNotReady);
  co_return plain("ready\n", "text/plain");
}

asio::awaitable<Answer> show_health(Context& context, const Call& call) {
  std::function<OnDisk()> work = [&context, tenant = call.who.tenant] {
    return look_at_disk(context, tenant);
  };
  const auto looked = co_await run_in(context.pool, std::move(work));
  auto provisioners = json::array();
  bool well = looked.store.ok && context.service.ready();
  for (const auto& health : context.service.provisioners()) {
    provisioners.push_back({{"name", health.name},
                            {"ok", health.ok},
                            {"message", health.message},
                            {"nodes", health.nodes},
                            {"nodes_max", health.nodes_max}});
    well = well && health.ok;
  }
  const auto artifacts = artifacts_health(looked);
  well = well && artifacts["ok"].get<bool>();
  auto store = store_health_form(looked.store);
  store["latency_ms"] = looked.store_ms;
  const auto now = Service::now().wall;
  const json out{{"ok", well},
                 {"boot_id", context.service.boot_id()},
                 {"started_at_ms", context.started_at.count()},
                 {"checked_at_ms", now.count()},
                 {"inventory_open", context.service.inventory_open()},
                 {"store", std::move(store)},
                 {"artifacts", artifacts},
                 {"provisioners", std::move(provisioners)},
                 {"queue", queue_form(looked.counts)},
                 {"nodes", nodes_form(context, call.who.tenant)},
                 {"webhooks", {{"backlog", looked.backlog}}}};
  co_return Reply{.status = 200, .body = to_text(out), .headers = {}};
}

asio::awaitable<Answer> show_metrics(Context& context, const Call& /*call*/) {
  std::function<Metrics::Stored()> work = [&context] { return Metrics::read(context); };
  const auto stored = co_await run_in(context.pool, std::move(work));
  co_return plain(context.metrics.text(context, stored), "text/plain; version=0.0.4");
}

Answer list_errors(const Context& context, const Call& call) {
  const auto args = page_query(call);
  if (!args) return problem(ApiErrorCode::kInvalidRequest, args.error().message);
  const auto page =
      context.store.accounts().error_logs(call.who.tenant, {args->limit, args->cursor});
  if (!page && page.error().code == Code::kInvalidArgument) {
    return problem(ApiErrorCode::kInvalidCursor);
  }
  if (!page) return problem_of(page.error());
  auto items = json::array();
  for (const auto& row : page->items) items.push_back(fault_form(row));
  return Reply{.status = 200,
               .body = to_text(list_form(std::move(items), page->next_cursor)),
               .headers = {}};
}

Answer show_openapi(const Context& context, const Call& /*call*/) {
  return Reply{.status = 200, .body = context.openapi, .headers = {}};
}

Answer list_settings(const Context& context, const Call& /*call*/) {
  auto items = json::array();
  const auto table = setting_table();
  for (std::size_t i = 0; i < table.size(); ++i) {
    items.push_back({{"key", table[i].key},
                     {"value", context.effective_settings.at(i).second},
                     {"default", table[i].fallback},
                     {"meaning", table[i].meaning}});
  }
  return Reply{.status = 200, .body = to_text(list_form(std::move(items), "")), .headers = {}};
}

}  // namespace ratchet::control
