#include <nlohmann/json.hpp>

#include "controlplane/api/api.h"
#include "controlplane/api/bodies.h"
#include "controlplane/api/forms.h"
#include "controlplane/api/handlers.h"
#include "controlplane/api/jobs.h"
#include "controlplane/api/rejections.h"
#include "controlplane/service/inputs.h"
#include "controlplane/service/secrets.h"
#include "proto/job_spec.h"

namespace ratchet::control {

using nlohmann::json;

namespace {

constexpr std::int64_t kMaxPriority = 1000000;
constexpr std::int64_t kMaxGpuMemory = std::int64_t{1} << 50;

struct Wish {  // what the body asks for
  JobRow job;
  JobSpec spec;
  std::vector<Finding> findings;  // of spec and inputs
};

// Findings of a part of the body, at the part's own place.
void add_below(std::string_view prefix, std::vector<Finding> part, std::vector<Finding>& out) {
  for (auto& finding : part) {
    if (finding.path.starts_with('$')) finding.path = std::string(prefix) + finding.path.substr(1);
    out.push_back(std::move(finding));
  }
}

void read_spec(const json* spec, Wish& wish) {
  if (spec == nullptr) return;
  auto decoded = decode_job_spec(to_text(*spec));
  if (!decoded.ok()) {
    add_below("$.spec", std::move(decoded.findings), wish.findings);
    return;
  }
  wish.spec = *std::move(decoded.value);
  wish.job.spec_json = encode_job_spec(wish.spec);
  wish.job.name = wish.spec.name;
  wish.job.needs.kind = wish.spec.devices.kind;
  wish.job.needs.count = wish.spec.devices.count;
  wish.job.needs.price = wish.spec.price_class;
}

void read_inputs(const json* inputs, bool node_paths, Wish& wish) {
  if (inputs != nullptr) {
    auto decoded = decode_job_inputs(to_text(*inputs));
    if (!decoded) {
      wish.findings.push_back({"$.inputs", "", decoded.error().message});
      return;
    }
    wish.job.inputs = *std::move(decoded);
  }
  if (wish.job.spec_json.empty()) return;  // the spec is faulty: what it needs is not known
  if (node_paths) fill_from_node_paths(wish.spec, wish.job.inputs);
  for (auto& finding : compare_inputs(wish.spec, wish.job.inputs)) {
    wish.findings.push_back(std::move(finding));
  }
}

std::variant<Wish, ApiError> read_wish(const Call& call, bool node_paths) {
  Wish wish;
  std::optional<std::int64_t> starts_at;
  std::int64_t memory = 0;
  std::string parent;
  Body body(call.body, {.max_bytes = kJobBody});
  {
    auto root = body.root();
    root.require("spec", "the JobSpec");
    read_spec(root.raw("spec"), wish);
    read_inputs(root.raw("inputs"), node_paths, wish);
    root.text("gpu_type", wish.job.needs.gpu_type, {.max_length = 100});
    root.integer("gpu_memory_bytes", memory, {0, kMaxGpuMemory});
    root.integer("priority", wish.job.priority, {-kMaxPriority, kMaxPriority});
    root.integer("starts_at_ms", starts_at, {0});
    if (root.has("parent")) root.id("parent", parent);
  }
  if (auto refused = body.refused()) return *std::move(refused);
  wish.job.needs.gpu_memory = Bytes(memory);
  if (starts_at) wish.job.starts_at = UnixMillis(*starts_at);
  wish.job.parent = JobId(parent);
  return wish;
}

struct Looked {
  InputsVerdict inputs;
  RunId run_id;  // of the parent
  std::optional<ApiError> refused;
};

// Holds the wish against what is stored; lifts tombstones of its artifacts, so that none is
// collected between this look and the commit of the job.
Looked look(const Context& context, const JobRow& job) {
  Looked out;
  out.inputs = inspect_inputs(context.artifacts, job.tenant, job.inputs,
                              context.node_paths ? NodePaths::kAllowed : NodePaths::kRefused);
  if (out.inputs.findings.empty()) {
    const auto ids = input_artifacts(job.inputs);
    if (const auto kept = context.artifacts.keep(ids, job.tenant); !kept) {
      out.refused = problem_of(kept.error(), ApiErrorCode::kArtifactNotFound);
    }
  }
  if (!job.parent.empty()) {
    const auto parent = context.store.jobs().job(job.parent, job.tenant);
    if (parent) {
      out.run_id = parent->row.run_id;
    } else if (parent.error().code == Code::kNotFound) {
      out.inputs.findings.push_back(
          {"$.parent", "\"" + job.parent.str() + "\"", "names no job of yours."});
    } else {
      out.refused = problem_of(parent.error());
    }
  }
  return out;
}

// The job's row after the core has taken it.
const JobRow* row_of(const Outcome& outcome, const JobId& id) {
  for (const auto& row : outcome.rows) {
    if (const auto* job = std::get_if<JobRow>(&row); job != nullptr && job->id == id) return job;
  }
  return nullptr;
}

std::string new_job_text(const JobRow& row) {
  JobParts parts;
  parts.view.row = row;
  parts.view.state = user_state(row.phase, true, false);
  return to_text(job_form(parts, row.created_at));
}

asio::awaitable<Answer> shown(Context& context, const Call& call, int status) {
  auto answer = co_await show_job(context, call);
  if (auto* reply = std::get_if<Reply>(&answer)) reply->status = status;
  co_return answer;
}

// Commands on live jobs go to the core; of ended ones only the store knows.
asio::awaitable<Answer> command(Context& context, const Call& call, Input input, JobPhase already) {
  std::function<std::variant<JobView, ApiError>()> find = [&context, &call] {
    return find_job(context.store, call);
  };
  auto found = co_await run_in(context.pool, std::move(find));
  if (auto* refused = std::get_if<ApiError>(&found)) co_return std::move(*refused);
  const auto phase = std::get<JobView>(found).row.phase;
  if (is_terminal(phase)) {
    if (phase == already) co_return co_await shown(context, call, 202);
    co_return problem(ApiErrorCode::kJobTerminal,
                      "The job is " + std::string(to_word(std::get<JobView>(found).state)) +
                          "; its state is final.");
  }
  const auto applied = co_await context.service.apply(std::move(input));
  if (!applied) co_return problem_of(applied.error());
  if (applied->outcome.rejection) co_return problem_of(*applied->outcome.rejection);
  co_return co_await shown(context, call, 202);
}

}  // namespace

asio::awaitable<Answer> create_job(Context& context, const Call& call) {
  auto read = read_wish(call, context.node_paths);
  if (auto* refused = std::get_if<ApiError>(&read)) co_return std::move(*refused);
  auto& wish = std::get<Wish>(read);
  wish.job.tenant = call.who.tenant;
  wish.job.created_by = call.who.name;
  std::function<Looked()> work = [&context, job = wish.job] { return look(context, job); };
  auto looked = co_await run_in(context.pool, std::move(work));
  if (looked.refused) co_return *std::move(looked.refused);
  for (auto& finding : looked.inputs.findings) wish.findings.push_back(std::move(finding));
  if (!wish.findings.empty()) {
    co_return problem_of(std::move(wish.findings), ApiErrorCode::kInvalidSpec);
  }
  const auto now = Service::now().wall;
  auto job = std::move(wish.job);
  job.id = JobId(new_id("job"));
  job.run_id = looked.run_id.empty() ? RunId(new_id("run")) : looked.run_id;
  job.phase = looked.inputs.complete ? JobPhase::kQueued : JobPhase::kValidating;
  job.created_at = now;
  job.updated_at = now;
  std::string text;
  Service::Augment keep = [&call, &text, id = job.id, now](const Outcome& outcome, Batch& batch) {
    if (const auto* row = row_of(outcome, id)) text = new_job_text(*row);
    if (auto kept = idempotency_row(call, 201, text, now)) {
      batch.writes.emplace_back(*std::move(kept));
    }
  };
  Reply reply{.status = 201, .body = "", .headers = {}};
  reply.headers.set("Location", "/v1/jobs/" + job.id.str());
  const bool waits = !looked.inputs.complete;
  Input input = SubmitJob{std::move(job)};
  const auto applied = co_await context.service.apply(std::move(input), std::move(keep));
  if (!applied) co_return problem_of(applied.error());
  if (applied->outcome.rejection) co_return problem_of(*applied->outcome.rejection);
  // The last file may have been sealed after the look.
  if (waits) context.service.inputs_changed();
  reply.body = std::move(text);
  co_return reply;
}

asio::awaitable<Answer> pause_job(Context& context, const Call& call) {
  Input input = PauseJob{JobId(call.parameter("id"))};
  co_return co_await command(context, call, std::move(input), JobPhase::kPaused);
}

asio::awaitable<Answer> resume_job(Context& context, const Call& call) {
  Input input = ResumeJob{JobId(call.parameter("id"))};
  co_return co_await command(context, call, std::move(input), JobPhase::kRunning);
}

asio::awaitable<Answer> cancel_job(Context& context, const Call& call) {
  Input input = CancelJob{JobId(call.parameter("id"))};
  co_return co_await command(context, call, std::move(input), JobPhase::kCancelled);
}

}  // namespace ratchet::control
