#include <nlohmann/json.hpp>

#include "controlplane/api/bodies.h"
#include "controlplane/api/forms.h"
#include "controlplane/api/forms_json.h"
#include "controlplane/api/handlers.h"
#include "controlplane/api/rejections.h"
#include "proto/words.h"

namespace ratchet::control {

using nlohmann::json;

namespace {

constexpr std::int64_t kMaxLeadMs = 24 * 3600 * 1000;

json gpu_form(const GpuFacts& gpu) {
  return {{"uuid", gpu.uuid},
          {"name", gpu.name},
          {"memory_total_bytes", gpu.memory_total.count()},
          {"memory_used_bytes", gpu.memory_used.count()},
          {"xids", gpu.xids}};
}

json facts_form(const NodeFacts& facts) {
  auto gpus = json::array();
  for (const auto& gpu : facts.gpus) gpus.push_back(gpu_form(gpu));
  return {{"name", facts.name},
          {"provider", facts.provider},
          {"price", to_word(facts.price)},
          {"usd_per_hour", facts.usd_per_hour},
          {"gpus", std::move(gpus)},
          {"slots", facts.slots},
          {"cpu_cores", facts.cpu_cores},
          {"memory_total_bytes", facts.memory_total.count()},
          {"disk_free_bytes", facts.disk_free.count()},
          {"cache_used_bytes", facts.cache_used.count()},
          {"disk_full", facts.disk_full},
          {"preflight",
           {{"done", facts.preflight.done},
            {"passed", facts.preflight.passed},
            {"kernel_ms", number_form(facts.preflight.kernel_ms)},
            {"message", facts.preflight.message}}},
          {"agent_version", facts.agent_version},
          {"trainer_version", facts.trainer_version}};
}

json notice_form(const ReclaimNotice& notice) {
  return {{"source", notice.source},
          {"kind", to_word(notice.kind)},
          {"action", notice.action},
          {"event_id", notice.event_id},
          {"lead_ms", notice.lead.count()}};
}

// A node that is gone is known only by its row.
struct Found {
  std::optional<NodeView> view;
  std::optional<ApiError> refused;
};

asio::awaitable<Found> find_node(Context& context, const Call& call) {
  Found out;
  const auto id = call.parameter("id");
  out.view = context.service.node(id);
  if (out.view && out.view->row.tenant != call.who.tenant) out.view.reset();
  if (out.view) co_return out;
  std::function<Result<NodeRow>()> find = [&context, id, tenant = call.who.tenant] {
    return context.store.jobs().node(id, tenant);
  };
  auto row = co_await run_in(context.pool, std::move(find));
  if (!row) {
    out.refused = problem_of(row.error(), ApiErrorCode::kNodeNotFound);
  } else {
    out.view = NodeView{.row = *std::move(row),
                        .liveness = Liveness::kSilent,
                        .silent_for = Millis(0),
                        .jobs = {},
                        .free_slots = 0};
  }
  co_return out;
}

asio::awaitable<Answer> command(Context& context, const Call& call, Input input) {
  auto found = co_await find_node(context, call);
  if (found.refused) co_return *std::move(found.refused);
  if (found.view->row.gone_at) co_return problem(ApiErrorCode::kNodeGone);
  const auto applied = co_await context.service.apply(std::move(input));
  if (!applied) co_return problem_of(applied.error());
  if (applied->outcome.rejection) co_return problem_of(*applied->outcome.rejection);
  const auto view = context.service.node(call.parameter("id"));
  co_return Reply{
      .status = 202, .body = to_text(node_form(view ? *view : *found.view)), .headers = {}};
}

}  // namespace

json node_form(const NodeView& view) {
  const auto& row = view.row;
  auto jobs = json::array();
  for (const auto& job : view.jobs) jobs.push_back(job.str());
  json out{{"id", row.id},
           {"facts", facts_form(row.facts)},
           {"provider_state", to_word(row.provider)},
           {"liveness", to_word(view.liveness)},
           {"schedulable", to_word(row.schedulable)},
           {"schedulable_reason", text_or_null(row.schedulable_reason)},
           {"silent_for_ms", view.silent_for.count()},
           {"jobs", std::move(jobs)},
           {"free_slots", view.free_slots}};
  out["intent"] = text_or_null(row.intent);
  out["notice"] = row.notice ? notice_form(*row.notice) : json(nullptr);
  out["created_at_ms"] = row.created_at.count();
  out["last_seen_at_ms"] = row.last_seen.count();
  out["gone_at_ms"] = time_form(row.gone_at);
  out["gone_proof"] = text_or_null(row.gone_proof);
  return out;
}

asio::awaitable<Answer> list_nodes(Context& context, const Call& call) {
  auto items = json::array();
  for (const auto& view : context.service.nodes()) {
    if (view.row.tenant == call.who.tenant) items.push_back(node_form(view));
  }
  if (call.query("gone") == "true") {
    std::function<Result<std::vector<NodeRow>>()> find = [&context, tenant = call.who.tenant] {
      return context.store.jobs().nodes(tenant, true);
    };
    auto rows = co_await run_in(context.pool, std::move(find));
    if (!rows) co_return problem_of(rows.error());
    for (auto& row : *rows) {
      if (!row.gone_at) continue;
      items.push_back(node_form({.row = std::move(row),
                                 .liveness = Liveness::kSilent,
                                 .silent_for = Millis(0),
                                 .jobs = {},
                                 .free_slots = 0}));
    }
  }
  co_return Reply{.status = 200, .body = to_text(list_form(std::move(items), "")), .headers = {}};
}

asio::awaitable<Answer> show_node(Context& context, const Call& call) {
  auto found = co_await find_node(context, call);
  if (found.refused) co_return *std::move(found.refused);
  co_return Reply{.status = 200, .body = to_text(node_form(*found.view)), .headers = {}};
}

asio::awaitable<Answer> drain_node(Context& context, const Call& call) {
  DrainNode drain{.node_id = call.parameter("id"), .deadline = std::nullopt, .reason = ""};
  std::optional<std::int64_t> deadline;
  Body body(call.body);
  {
    auto root = body.root();
    root.integer("deadline_ms", deadline, {0, kMaxLeadMs});
    root.text("reason", drain.reason, {.max_length = 500});
  }
  if (auto refused = body.refused()) co_return *std::move(refused);
  if (deadline) drain.deadline = Millis(*deadline);
  if (drain.reason.empty()) drain.reason = "Drained by " + call.who.name + ".";
  Input input = std::move(drain);
  co_return co_await command(context, call, std::move(input));
}

asio::awaitable<Answer> undrain_node(Context& context, const Call& call) {
  Input input = UndrainNode{call.parameter("id")};
  co_return co_await command(context, call, std::move(input));
}

asio::awaitable<Answer> simulate_reclaim(Context& context, const Call& call) {
  std::int64_t lead = 30000;
  Body body(call.body);
  {
    auto root = body.root();
    root.integer("lead_ms", lead, {0, kMaxLeadMs});
  }
  if (auto refused = body.refused()) co_return *std::move(refused);
  Input input = SimulateReclaim{call.parameter("id"), Millis(lead)};
  co_return co_await command(context, call, std::move(input));
}

}  // namespace ratchet::control
