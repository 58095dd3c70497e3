#include <algorithm>

#include "controlplane/api/auth.h"
#include "controlplane/api/handlers.h"
#include "controlplane/api/metrics.h"
#include "controlplane/api/rejections.h"
#include "controlplane/service/secrets.h"

namespace ratchet::control {

namespace {

using std::chrono::steady_clock;

constexpr Millis kSyncWait{25000};
constexpr Millis kLook{1000};  // how soon a peer that is gone is noticed
constexpr std::string_view kIntentPrefix = "intent:";

Reply text_reply(std::string text) {
  return {.status = 200, .body = std::move(text), .headers = {}};
}

ApiError wrong_node() {
  return problem(ApiErrorCode::kForbidden, "The token belongs to another node.",
                 "Let each agent use its own state folder.");
}

ApiError bad_message(const Error& error) {
  return problem(ApiErrorCode::kInvalidRequest, error.message,
                 "Install the same version of agent and control plane.");
}

struct Joining {
  std::string node_id;
  bool new_token = false;
};

// With a join token a node gets a new name, unless it asks again for the one that it was given in
// an answer that it never saw.
std::variant<Joining, ApiError> name_node(const Context& context, const Call& call,
                                          const HelloRequest& hello) {
  if (call.who.access == Access::kAgent) {
    if (!hello.node_id.empty() && hello.node_id != call.who.node_id) return wrong_node();
    return Joining{.node_id = call.who.node_id, .new_token = false};
  }
  const bool for_intent = call.who.name.starts_with(kIntentPrefix);
  const auto intent = for_intent ? call.who.name.substr(kIntentPrefix.size()) : std::string();
  if (hello.intent != intent) {
    return problem(ApiErrorCode::kForbidden, "The join token is for another intent.");
  }
  for (const auto& view : context.service.nodes()) {
    const auto& row = view.row;
    const bool same = row.incarnation == hello.incarnation || (for_intent && row.intent == intent);
    if (same && row.tenant == call.who.tenant && row.intent == intent) {
      return Joining{.node_id = row.id, .new_token = true};
    }
  }
  return Joining{.node_id = new_id("node"), .new_token = true};
}

TokenRow node_token_row(const Call& call, const std::string& node_id, const std::string& token) {
  TokenRow row;
  row.id = new_id("tok");
  row.tenant = call.who.tenant;
  row.name = "node:" + node_id;
  row.sha256 = sha256_hex(token);
  row.scopes = {"agent"};
  row.node_id = node_id;
  row.created_at = Service::now().wall;
  return row;
}

HeartbeatResponse heartbeat_of(const Context& context, const std::string& node_id) {
  const auto& core = context.service.core_settings();
  return {.boot_id = context.service.boot_id(),
          .desired_rev = context.service.desired_rev(node_id),
          .contact_ttl = core.contact_ttl,
          .authority_ttl = core.authority_ttl};
}

struct LinesCheck {
  std::vector<TrainerLine> lines;     // of jobs of the node's tenant
  std::vector<LineCursor> passed_by;  // acknowledged without being kept
};

// Runs on a worker: jobs that this tenant has not are nobody's.
LinesCheck check_lines(const Store& store, const std::string& tenant,
                       std::vector<TrainerLine> lines) {
  LinesCheck out;
  std::map<JobId, bool> known;
  for (auto& line : lines) {
    auto [entry, is_new] = known.try_emplace(line.job_id, false);
    if (is_new) entry->second = store.jobs().job(line.job_id, tenant).has_value();
    if (entry->second) {
      out.lines.push_back(std::move(line));
      continue;
    }
    const auto same = [&](const LineCursor& cursor) {
      return cursor.job_id == line.job_id && cursor.attempt_no == line.attempt_no;
    };
    const auto at = std::find_if(out.passed_by.begin(), out.passed_by.end(), same);
    if (at == out.passed_by.end()) {
      out.passed_by.push_back({line.job_id, line.attempt_no, line.seq});
    } else {
      at->seq = std::max(at->seq, line.seq);
    }
  }
  return out;
}

bool has_news(const SyncResponse& response, const SyncRequest& request) {
  return response.desired_rev > request.desired_rev || response.boot_id != request.boot_id ||
         !response.verdicts.empty() || !response.acked_lines.empty() ||
         !response.acked_ends.empty();
}

// Takes the request in, durably; what came of it is the beginning of the answer.
asio::awaitable<std::variant<SyncResponse, ApiError>> take_sync(Context& context, const Call& call,
                                                                SyncRequest& request) {
  LinesCheck checked;
  if (!request.lines.empty()) {
    std::function<LinesCheck()> check = [&context, &call, &request] {
      return check_lines(context.store, call.who.tenant, std::move(request.lines));
    };
    checked = co_await run_in(context.pool, std::move(check));
    request.lines.clear();
  }
  const auto ingested = ingest_lines(checked.lines);
  Service::Augment add = [&checked, &ingested](const Outcome& outcome, Batch& batch) {
    if (outcome.needs_hello) return;
    batch.lines = std::move(checked.lines);
    batch.metrics = ingested.metrics;
    batch.evaluations = ingested.evaluations;
  };
  Input input = SyncInput{request};
  auto applied = co_await context.service.apply(std::move(input), std::move(add));
  if (!applied) co_return problem_of(applied.error());
  if (applied->outcome.rejection) co_return problem_of(*applied->outcome.rejection);
  if (applied->outcome.needs_hello || !applied->desired) {
    co_return problem(ApiErrorCode::kNeedsHello);
  }
  context.service.note_steps(ingested.last);
  auto response = *std::move(applied->desired);
  response.verdicts = std::move(applied->outcome.verdicts);
  response.acked_ends = std::move(applied->outcome.acked_ends);
  response.acked_lines = std::move(applied->info.acked_lines);
  for (auto& cursor : checked.passed_by) response.acked_lines.push_back(std::move(cursor));
  co_return response;
}

}  // namespace

asio::awaitable<Answer> agent_hello(Context& context, const Call& call) {
  auto hello = decode_hello_request(call.body);
  if (!hello) co_return bad_message(hello.error());
  auto named = name_node(context, call, *hello);
  if (auto* refused = std::get_if<ApiError>(&named)) co_return std::move(*refused);
  const auto joining = std::get<Joining>(named);
  std::string token;
  std::optional<TokenRow> row;
  if (joining.new_token) {
    token = new_token("node");
    row = node_token_row(call, joining.node_id, token);
  }
  Service::Augment add = [row](const Outcome& /*outcome*/, Batch& batch) {
    if (row) batch.writes.emplace_back(*row);
  };
  Input input = HelloInput{
      .message = *std::move(hello), .tenant = call.who.tenant, .node_id = joining.node_id};
  const auto applied = co_await context.service.apply(std::move(input), std::move(add));
  if (!applied) co_return problem_of(applied.error());
  if (applied->outcome.rejection) co_return problem_of(*applied->outcome.rejection);
  if (row) context.tokens.put(*row);
  const auto& core = context.service.core_settings();
  const HelloResponse response{.node_id = joining.node_id,
                               .node_token = token,
                               .boot_id = context.service.boot_id(),
                               .heartbeat = core.heartbeat,
                               .contact_ttl = core.contact_ttl,
                               .authority_ttl = core.authority_ttl,
                               .sync_wait = kSyncWait};
  co_return text_reply(encode(response));
}

asio::awaitable<Answer> agent_heartbeat(Context& context, const Call& call) {
  auto beat = decode_heartbeat_request(call.body);
  if (!beat) co_return bad_message(beat.error());
  if (beat->node_id != call.who.node_id) co_return wrong_node();
  Input input = HeartbeatInput{*std::move(beat)};
  const auto applied = co_await context.service.apply(std::move(input));
  if (!applied) co_return problem_of(applied.error());
  if (applied->outcome.rejection) co_return problem_of(*applied->outcome.rejection);
  if (applied->outcome.needs_hello) co_return problem(ApiErrorCode::kNeedsHello);
  co_return text_reply(encode(heartbeat_of(context, call.who.node_id)));
}

asio::awaitable<std::optional<Answer>> agent_sync(Context& context, const Call& call,
                                                  net::Exchange& exchange) {
  auto request = decode_sync_request(call.body);
  if (!request) co_return Answer(bad_message(request.error()));
  if (request->node_id != call.who.node_id) co_return Answer(wrong_node());
  auto& signal = context.service.node_signal(call.who.node_id);
  // A poll of this node that still hangs is of no use any more.
  signal.notify();
  const auto mine = context.service.begin_poll(call.who.node_id);
  auto taken = co_await take_sync(context, call, *request);
  if (auto* refused = std::get_if<ApiError>(&taken)) co_return Answer(std::move(*refused));
  auto response = std::get<SyncResponse>(std::move(taken));
  const auto until = steady_clock::now() + std::min(request->wait, kSyncWait);
  while (!has_news(response, *request) && steady_clock::now() < until && !exchange.should_end() &&
         context.service.is_newest_poll(call.who.node_id, mine)) {
    const auto version = signal.version();
    co_await signal.wait(version, std::min(until, steady_clock::now() + kLook));
    if (signal.version() == version) continue;
    auto desired = co_await context.service.desired(call.who.node_id);
    if (!desired) co_return Answer(problem_of(desired.error()));
    response = *std::move(desired);
  }
  co_return Answer(text_reply(encode(response)));
}

asio::awaitable<Answer> agent_notice(Context& context, const Call& call) {
  auto notice = decode_notice_request(call.body);
  if (!notice) co_return bad_message(notice.error());
  if (notice->node_id != call.who.node_id) co_return wrong_node();
  const auto lead = notice->notice.lead;
  Input input = NoticeInput{*std::move(notice)};
  const auto applied = co_await context.service.apply(std::move(input));
  if (!applied) co_return problem_of(applied.error());
  if (applied->outcome.rejection) co_return problem_of(*applied->outcome.rejection);
  if (applied->outcome.needs_hello) co_return problem(ApiErrorCode::kNeedsHello);
  if (!applied->outcome.rows.empty() && lead.count() >= 0) {
    context.metrics.notice(static_cast<double>(lead.count()) / 1000);
  }
  co_return text_reply(encode(heartbeat_of(context, call.who.node_id)));
}

}  // namespace ratchet::control
