#include <nlohmann/json.hpp>

#include "controlplane/api/forms.h"
#include "controlplane/api/handlers.h"
#include "controlplane/api/jobs.h"
#include "proto/ids.h"

namespace ratchet::control {

using nlohmann::json;

namespace {

constexpr std::int64_t kMaxSeq = std::int64_t{1} << 60;

Answer ok_list(json items, const std::string& next = "") {
  return Reply{.status = 200, .body = to_text(list_form(std::move(items), next)), .headers = {}};
}

Answer bad_query(const Error& error) {
  return problem(ApiErrorCode::kInvalidRequest, error.message);
}

struct JobsFound {
  std::vector<JobParts> jobs;
  std::string next_cursor;
  std::optional<ApiError> refused;
};

JobsFound find_jobs(const Store& store, const JobQuery& query) {
  JobsFound out;
  auto page = store.jobs().jobs(query);
  if (!page) {
    out.refused = page.error().code == Code::kInvalidArgument
                      ? problem(ApiErrorCode::kInvalidCursor)
                      : problem_of(page.error());
    return out;
  }
  out.next_cursor = page->next_cursor;
  for (auto& view : page->items) {
    auto parts = job_parts(store, std::move(view));
    if (!parts) {
      out.refused = problem_of(parts.error());
      return out;
    }
    out.jobs.push_back(*std::move(parts));
  }
  return out;
}

json job_items(const Context& context, std::vector<JobParts>& jobs) {
  auto items = json::array();
  const auto now = Service::now().wall;
  for (auto& parts : jobs) {
    if (auto last = context.service.last_step(parts.view.row.id)) parts.last_step = last;
    items.push_back(job_form(parts, now));
  }
  return items;
}

std::variant<JobQuery, ApiError> job_query(const Call& call) {
  JobQuery query;
  const auto args = page_query(call);
  if (!args) return problem(ApiErrorCode::kInvalidRequest, args.error().message);
  query.tenant = call.who.tenant;
  query.page = {args->limit, args->cursor};
  query.name = call.query("name");
  query.tag = call.query("tag");
  query.run_id = RunId(call.query("run_id"));
  if (const auto state = call.query("state"); !state.empty()) {
    query.state = from_word<JobState>(state);
    if (!query.state) {
      return problem(ApiErrorCode::kInvalidRequest,
                     "The query parameter state must be " + list_words<JobState>() + ".");
    }
  }
  const auto sort = call.query("sort");
  if (sort == "created_at") {
    query.order = Order::kOldestFirst;
  } else if (!sort.empty() && sort != "-created_at") {
    return problem(ApiErrorCode::kInvalidRequest,
                   "The query parameter sort must be created_at or -created_at.");
  }
  return query;
}

}  // namespace

Result<JobParts> job_parts(const Store& store, JobView view) {
  JobParts out;
  const auto id = view.row.id;
  const bool interrupted = view.interruptions > 0;
  out.view = std::move(view);
  auto attempts = store.jobs().attempts(id);
  if (!attempts) return attempts.error();
  out.attempts = *std::move(attempts);
  if (interrupted) {
    auto interruptions = store.jobs().interruptions(id);
    if (!interruptions) return interruptions.error();
    if (!interruptions->empty()) out.last_interruption = interruptions->back();
  }
  if (out.attempts.empty()) return out;
  const auto last = store.events().last_metric(id);
  if (!last) return last.error();
  if (*last) out.last_step = last_step_of(**last);
  return out;
}

std::variant<JobView, ApiError> find_job(const Store& store, const Call& call) {
  auto view = store.jobs().job(JobId(call.parameter("id")), call.who.tenant);
  if (!view) return problem_of(view.error(), ApiErrorCode::kJobNotFound);
  return *std::move(view);
}

asio::awaitable<Answer> list_jobs(Context& context, const Call& call) {
  auto query = job_query(call);
  if (auto* refused = std::get_if<ApiError>(&query)) co_return std::move(*refused);
  std::function<JobsFound()> find = [&context, query = std::get<JobQuery>(query)] {
    return find_jobs(context.store, query);
  };
  auto found = co_await run_in(context.pool, std::move(find));
  if (found.refused) co_return *std::move(found.refused);
  co_return ok_list(job_items(context, found.jobs), found.next_cursor);
}

asio::awaitable<Answer> show_job(Context& context, const Call& call) {
  std::function<std::variant<JobParts, ApiError>()> find =
      [&context, &call]() -> std::variant<JobParts, ApiError> {
    auto view = find_job(context.store, call);
    if (auto* refused = std::get_if<ApiError>(&view)) return std::move(*refused);
    auto parts = job_parts(context.store, std::get<JobView>(std::move(view)));
    if (!parts) return problem_of(parts.error());
    return *std::move(parts);
  };
  auto found = co_await run_in(context.pool, std::move(find));
  if (auto* refused = std::get_if<ApiError>(&found)) co_return std::move(*refused);
  auto& parts = std::get<JobParts>(found);
  if (auto last = context.service.last_step(parts.view.row.id)) parts.last_step = last;
  co_return Reply{
      .status = 200, .body = to_text(job_form(parts, Service::now().wall)), .headers = {}};
}

asio::awaitable<Answer> show_run(Context& context, const Call& call) {
  JobQuery query;
  query.tenant = call.who.tenant;
  query.run_id = RunId(call.parameter("run_id"));
  query.order = Order::kOldestFirst;
  query.page.limit = kMaxPage;
  std::function<JobsFound()> find = [&context, query] { return find_jobs(context.store, query); };
  auto found = co_await run_in(context.pool, std::move(find));
  if (found.refused) co_return *std::move(found.refused);
  if (found.jobs.empty()) co_return problem(ApiErrorCode::kRunNotFound);
  double usd = 0;
  auto jobs = job_items(context, found.jobs);
  for (const auto& job : jobs) usd += job["cost"]["usd"].get<double>();
  const json out{
      {"run_id", call.parameter("run_id")}, {"jobs", std::move(jobs)}, {"cost", {{"usd", usd}}}};
  co_return Reply{.status = 200, .body = to_text(out), .headers = {}};
}

Answer list_attempts(const Context& context, const Call& call) {
  const auto job = find_job(context.store, call);
  if (const auto* refused = std::get_if<ApiError>(&job)) return *refused;
  const auto rows = context.store.jobs().attempts(std::get<JobView>(job).row.id);
  if (!rows) return problem_of(rows.error());
  auto items = json::array();
  const auto now = Service::now().wall;
  for (const auto& row : *rows) items.push_back(attempt_form(row, now));
  return ok_list(std::move(items));
}

Answer list_checkpoints(const Context& context, const Call& call) {
  const auto job = find_job(context.store, call);
  if (const auto* refused = std::get_if<ApiError>(&job)) return *refused;
  const auto& view = std::get<JobView>(job);
  const auto rows = context.store.jobs().checkpoints(view.row.id);
  if (!rows) return problem_of(rows.error());
  auto items = json::array();
  for (const auto& row : *rows) items.push_back(checkpoint_form(row, view.row.total_steps));
  return ok_list(std::move(items));
}

Answer list_interruptions(const Context& context, const Call& call) {
  const auto job = find_job(context.store, call);
  if (const auto* refused = std::get_if<ApiError>(&job)) return *refused;
  const auto rows = context.store.jobs().interruptions(std::get<JobView>(job).row.id);
  if (!rows) return problem_of(rows.error());
  auto items = json::array();
  for (const auto& row : *rows) items.push_back(interruption_form(row));
  return ok_list(std::move(items));
}

Answer list_job_events(const Context& context, const Call& call) {
  const auto after = integer_query(call, "after", 0, kMaxSeq);
  if (!after) return bad_query(after.error());
  const auto limit = integer_query(call, "limit", 1, kMaxPage);
  if (!limit) return bad_query(limit.error());
  const auto job = find_job(context.store, call);
  if (const auto* refused = std::get_if<ApiError>(&job)) return *refused;
  const auto rows = context.store.events().job_events(std::get<JobView>(job).row.id,
                                                      after->value_or(0), limit->value_or(100));
  if (!rows) return problem_of(rows.error());
  auto items = json::array();
  for (const auto& row : *rows) items.push_back(event_form(row));
  return ok_list(std::move(items));
}

Answer list_job_metrics(const Context& context, const Call& call) {
  const auto after = integer_query(call, "after_step", -1, kMaxSeq);
  if (!after) return bad_query(after.error());
  const auto limit = integer_query(call, "limit", 1, kMaxPage);
  if (!limit) return bad_query(limit.error());
  const auto job = find_job(context.store, call);
  if (const auto* refused = std::get_if<ApiError>(&job)) return *refused;
  const auto& id = std::get<JobView>(job).row.id;
  const auto rows =
      context.store.events().metrics(id, after->value_or(-1), limit->value_or(kMaxPage));
  if (!rows) return problem_of(rows.error());
  const auto evaluations = context.store.events().evaluations(id);
  if (!evaluations) return problem_of(evaluations.error());
  auto items = json::array();
  for (const auto& row : *rows) items.push_back(metric_form(row));
  auto out = list_form(std::move(items), "");
  out["evaluations"] = json::array();
  for (const auto& row : *evaluations) out["evaluations"].push_back(evaluation_form(row));
  return Reply{.status = 200, .body = to_text(out), .headers = {}};
}

Answer list_events(const Context& context, const Call& call) {
  const auto after = integer_query(call, "after", 0, kMaxSeq);
  if (!after) return bad_query(after.error());
  const auto limit = integer_query(call, "limit", 1, kMaxPage);
  if (!limit) return bad_query(limit.error());
  EventQuery query;
  query.tenant = call.who.tenant;
  query.after = after->value_or(0);
  query.type = call.query("type");
  query.limit = limit->value_or(query.limit);
  const auto rows = context.store.events().events(query);
  if (!rows) return problem_of(rows.error());
  auto items = json::array();
  for (const auto& row : *rows) items.push_back(event_form(row));
  const bool more = static_cast<std::int64_t>(rows->size()) == query.limit;
  return ok_list(std::move(items), more ? std::to_string(rows->back().id) : "");
}

}  // namespace ratchet::control
