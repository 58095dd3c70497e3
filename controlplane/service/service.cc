#include "controlplane/service/service.h"

#include <algorithm>

#include <time.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "controlplane/service/blocking.h"
#include "controlplane/service/inputs.h"
#include "controlplane/service/log.h"
#include "controlplane/service/secrets.h"
#include "proto/api_error.h"

namespace ratchet::control {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kReloadPause{500};
constexpr milliseconds kMaxTick{500};
constexpr milliseconds kMinTick{5};
constexpr milliseconds kTellPause{1000};
constexpr std::size_t kMaxUntaken = 10000;  // durations that nobody asked for

bool is_empty(const Batch& batch) {
  return batch.rows.empty() && batch.events.empty() && batch.lines.empty() &&
         batch.metrics.empty() && batch.evaluations.empty() && batch.writes.empty();
}

asio::awaitable<void> sleep_for(asio::any_io_executor executor, milliseconds time) {
  asio::steady_timer timer(executor);
  timer.expires_after(time);
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

std::int64_t milliseconds_of(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return static_cast<std::int64_t>(time.tv_sec) * 1000 + time.tv_nsec / 1000000;
}

// Nobody revoked a token for a node that never came: it ends by itself.
TokenRow intent_token(const CreateNode& wish, const std::string& tenant, const std::string& token,
                      UnixMillis now, Millis life) {
  TokenRow row;
  row.id = new_id("token");
  row.tenant = tenant;
  row.name = "intent:" + wish.intent_key;
  row.sha256 = sha256_hex(token);
  row.scopes = {"join"};
  row.created_at = now;
  row.expires_at = now + life;
  return row;
}

}  // namespace

Now Service::now() {
  return {.mono = Millis(milliseconds_of(CLOCK_BOOTTIME)),
          .wall = UnixMillis(milliseconds_of(CLOCK_REALTIME))};
}

Service::Service(Parts parts)
    : parts_(std::move(parts)),
      tick_timer_(parts_.io),
      event_signal_(parts_.io.get_executor()),
      delivery_signal_(parts_.io.get_executor()) {}

Service::~Service() = default;

Result<std::unique_ptr<Service>> Service::open(Parts parts) {
  std::unique_ptr<Service> service(new Service(std::move(parts)));
  if (const auto loaded = service->reload(); !loaded) return loaded.error();
  return service;
}

Status Service::reload() {
  auto rows = parts_.store.load();
  if (!rows) return rows.error();
  ++chain_;
  boot_id_ = parts_.store.boot_id() + "." + std::to_string(chain_);
  take(*rows);
  std::uint64_t seed = 0;
  for (const char c : random_digits(8)) seed = seed * 31 + static_cast<unsigned char>(c);
  core_ = std::make_unique<ControlCore>(parts_.core, parts_.providers, boot_id_, *std::move(rows),
                                        now(), seed);
  reload_at_.reset();
  return ok();
}

void Service::take(const LoadedRows& rows) {
  intents_.clear();
  validating_.clear();
  for (const auto& intent : rows.intents) {
    intents_[intent.key] = intent;
    if (!intent.node_id.empty()) intent_nodes_[intent.key] = intent.node_id;
  }
  for (const auto& node : rows.nodes) {
    if (!node.intent.empty()) intent_nodes_[node.intent] = node.id;
  }
  for (const auto& job : rows.jobs) {
    if (job.phase == JobPhase::kValidating) validating_.insert(job.id);
  }
}

void Service::fail(std::int64_t chain, const Error& error) {
  last_failure_ = error;
  unproven_ = true;
  if (chain != chain_ || !core_) return;
  log_line(LogLevel::kError, "store_commit_failed",
           {{"code", code_name(error.code)}, {"message", error.message}});
  core_.reset();
  ++counters_.core_reloads;
  reload_at_ = steady_clock::now() + kReloadPause;
  for (auto& [id, signal] : node_signals_) signal->notify();
}

void Service::keep_fault(ErrorLogRow row) {
  if (row.error_id.empty()) row.error_id = new_id("err");
  if (row.tenant.empty()) row.tenant = std::string(kDefaultTenant);
  row.error_code = to_word(ApiErrorCode::kInternal);
  row.context_json = "{}";
  row.time = now().wall;
  Batch batch;
  batch.writes.emplace_back(std::move(row));
  parts_.store.commit(std::move(batch), [](const Result<CommitInfo>& /*info*/) {});
}

void Service::keep_fault(std::string type, std::string severity, std::string message) {
  ErrorLogRow row;
  row.error_type = std::move(type);
  row.severity = std::move(severity);
  row.message = std::move(message);
  keep_fault(std::move(row));
}

asio::awaitable<Result<CommitInfo>> Service::commit(Batch batch) {
  auto start = [this](auto handler, Batch work) {
    auto executor = asio::prefer(asio::get_associated_executor(handler),
                                 asio::execution::outstanding_work.tracked);
    // std::function wants a copy; the handler can only be moved.
    auto held = std::make_shared<decltype(handler)>(std::move(handler));
    parts_.store.commit(std::move(work), [held, executor](Result<CommitInfo> info) {
      auto finish = [held, info = std::move(info)]() mutable {
        auto once = std::move(*held);
        std::move(once)(std::move(info));
      };
      asio::post(executor, std::move(finish));
    });
  };
  Result<CommitInfo> info =
      co_await asio::async_initiate<const asio::use_awaitable_t<>&, void(Result<CommitInfo>)>(
          std::move(start), asio::use_awaitable, std::move(batch));
  if (info) {
    if (!info->events.empty()) event_signal_.notify();
    if (info->deliveries > 0) delivery_signal_.notify();
  }
  co_return info;
}

asio::awaitable<Result<Applied>> Service::apply(Input input, Augment augment) {
  if (!core_ && (!reload_at_ || steady_clock::now() < *reload_at_)) co_return last_failure_;
  if (!core_) {
    if (const auto loaded = reload(); !loaded) {
      last_failure_ = loaded.error();
      reload_at_ = steady_clock::now() + kReloadPause;
      co_return last_failure_;
    }
    log_line(LogLevel::kWarning, "store_recovered", {{"message", last_failure_.message}});
    keep_fault("store", "error", last_failure_.message);
  }
  Applied applied;
  const Now time = now();
  applied.outcome = core_->handle(input, time);
  if (const Millis step = applied.outcome.clock_step; step != Millis{0}) {
    log_line(LogLevel::kWarning, "wall_clock_set", {{"by_ms", std::to_string(step.count())}});
  }
  if (applied.outcome.rejection) co_return applied;
  if (const auto* sync = std::get_if<SyncInput>(&input)) {
    applied.desired = core_->desired_for(sync->message.node_id, time);
  }
  Batch batch;
  batch.chain = chain_;
  batch.rows = applied.outcome.rows;
  batch.events = applied.outcome.events;
  if (augment) augment(applied.outcome, batch);
  // An empty batch behind others still waits for them: what the caller saw may rest on them. After
  // a failure it shows whether the store can write again. The answer to a heartbeat tells leases
  // and a revision, which only memory has.
  const bool rests = pending_ > 0 && !std::holds_alternative<HeartbeatInput>(input);
  if (!is_empty(batch) || rests || unproven_) {
    note(batch);
    ++pending_;
    const auto chain = chain_;
    auto info = co_await commit(std::move(batch));
    --pending_;
    if (!info) {
      fail(chain, info.error());
      co_return info.error();
    }
    unproven_ = false;
    applied.info = *std::move(info);
  }
  after_commit(applied);
  co_return applied;
}

asio::awaitable<Result<SyncResponse>> Service::desired(std::string node_id) {
  if (!core_) co_return last_failure_;
  SyncResponse out = core_->desired_for(node_id, now());
  if (pending_ > 0) {
    Batch barrier;
    barrier.chain = chain_;
    const auto chain = chain_;
    ++pending_;
    const auto info = co_await commit(std::move(barrier));
    --pending_;
    if (!info) {
      fail(chain, info.error());
      co_return info.error();
    }
  }
  co_return out;
}

// Before the commit: these maps follow the core's memory, and are made anew with it.
void Service::note(const Batch& batch) {
  for (const auto& row : batch.rows) {
    if (const auto* job = std::get_if<JobRow>(&row)) {
      if (job->phase == JobPhase::kValidating) {
        validating_.insert(job->id);
      } else {
        validating_.erase(job->id);
      }
    } else if (const auto* intent = std::get_if<IntentRow>(&row)) {
      intents_[intent->key] = *intent;
      if (intent->state == IntentState::kDone && intent->node_id.empty()) {
        intents_.erase(intent->key);
      }
    } else if (const auto* node = std::get_if<NodeRow>(&row)) {
      if (node->intent.empty()) continue;
      if (node->provider == ProviderState::kGone) {
        intent_nodes_.erase(node->intent);
        intents_.erase(node->intent);
      } else {
        intent_nodes_[node->intent] = node->id;
      }
    }
  }
}

void Service::after_commit(const Applied& applied) {
  for (const auto& event : applied.info.events) {
    ++counters_.events[event.row.type];
    if (const auto found = job_signals_.find(event.row.job_id); found != job_signals_.end()) {
      if (const auto signal = found->second.lock()) {
        signal->notify();
      } else {
        job_signals_.erase(found);
      }
    }
  }
  for (const auto& row : applied.outcome.rows) {
    if (const auto* attempt = std::get_if<AttemptRow>(&row)) {
      if (attempt->state == AttemptState::kEnded && attempt->cause) {
        ++counters_.attempts_ended[*attempt->cause];
      }
    } else if (const auto* interruption = std::get_if<InterruptionRow>(&row)) {
      count(*interruption);
    } else if (const auto* job = std::get_if<JobRow>(&row)) {
      if (is_terminal(job->phase)) {
        last_steps_.erase(job->id);
        recovered_.erase(job->id);
      }
    }
  }
  for (const auto& verdict : applied.outcome.verdicts) {
    if (verdict.verdict == PublishVerdict::kRejected ||
        verdict.verdict == PublishVerdict::kOrphan) {
      ++counters_.fenced_writes;
    }
  }
  for (const auto& node : applied.outcome.wake) node_signal(node).notify();
  for (const auto& command : applied.outcome.commands) run(command);
  // What was decided may be due before the next look.
  if (!applied.outcome.rows.empty() && core_) {
    const auto next = core_->next_timer(now());
    if (next && *next < tick_due_) tick_timer_.cancel();
  }
}

void Service::count(const InterruptionRow& row) {
  if (!row.resumed_at || recovered_[row.job_id] >= row.number) return;
  recovered_[row.job_id] = row.number;
  counters_.steps_recomputed += static_cast<std::uint64_t>(row.replayed_steps);
  for (std::size_t i = 0; i < row.stages.size(); ++i) {
    const auto& stage = row.stages.at(i);
    if (!stage.began || !stage.ended || counters_.recovery_seconds.size() >= kMaxUntaken) continue;
    counters_.recovery_seconds.emplace_back(
        static_cast<RecoveryStage>(i),
        static_cast<double>((*stage.ended - *stage.began).count()) / 1000);
  }
}

void Service::start() {
  std::map<std::string, std::vector<IntentRow>> known;
  for (const auto& [key, intent] : intents_) known[intent.provider].push_back(intent);
  // A node that has joined keeps its process watched although its intent is done.
  for (const auto& view : nodes()) {
    if (view.row.intent.empty() || intents_.contains(view.row.intent)) continue;
    IntentRow joined;
    joined.key = view.row.intent;
    joined.provider = view.row.facts.provider;
    joined.state = IntentState::kCreated;
    known[joined.provider].push_back(joined);
  }
  for (auto& [name, provisioner] : parts_.provisioners) {
    provisioner->start(known[name], [this](ProvisionFact fact) { on_fact(std::move(fact)); });
  }
  for (const auto& [key, intent] : intents_) {
    if (intent.state != IntentState::kPlanned) continue;
    const auto* job = core_->job(intent.job_id);
    run(CreateNode{key, intent.provider, job != nullptr ? job->needs : Requirements{}});
  }
  spawn(tick());
  inputs_changed();
}

void Service::stop() {
  stopping_ = true;
  tick_timer_.cancel();
  for (auto& [name, provisioner] : parts_.provisioners) provisioner->stop();
  for (auto& [id, signal] : node_signals_) signal->notify();
  for (auto& [id, weak] : job_signals_) {
    if (const auto signal = weak.lock()) signal->notify();
  }
  event_signal_.notify();
  delivery_signal_.notify();
}

void Service::spawn(asio::awaitable<void> work) {
  asio::co_spawn(parts_.io, std::move(work), [this](std::exception_ptr failure) {
    if (!failure) return;
    try {
      std::rethrow_exception(failure);
    } catch (const std::exception& error) {
      log_line(LogLevel::kCritical, "internal_error", {{"message", error.what()}});
      keep_fault("service", "critical", error.what());
    }
  });
}

asio::awaitable<void> Service::tick() {
  while (!stopping_) {
    Tick tick_input;
    const auto applied = co_await apply(tick_input);
    milliseconds wait = kMaxTick;
    if (applied && core_) {
      const Now time = now();
      if (const auto next = core_->next_timer(time)) {
        wait = std::clamp(milliseconds(*next - time.mono), kMinTick, kMaxTick);
      }
    }
    tick_due_ = now().mono + wait;
    if (stopping_) co_return;
    tick_timer_.expires_after(wait);
    co_await tick_timer_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

void Service::run(const Command& command) {
  if (const auto* create = std::get_if<CreateNode>(&command)) {
    if (!stopping_) spawn(create_node(*create));
    return;
  }
  const auto& release = std::get<ReleaseNode>(command);
  const auto found = parts_.provisioners.find(release.provider);
  if (found == parts_.provisioners.end() || release.intent_key.empty()) return;
  ++counters_.provider_requests[{release.provider, "release", "ok"}];
  found->second->release(release.intent_key);
}

asio::awaitable<void> Service::create_node(CreateNode wish) {
  const auto found = parts_.provisioners.find(wish.provider);
  if (found == parts_.provisioners.end()) {
    const IntentAnswered refused{wish.intent_key, IntentState::kRefused,
                                 "No provisioner is called " + wish.provider + "."};
    co_await tell_core(refused);
    co_return;
  }
  std::string tenant(kDefaultTenant);
  if (const auto intent = intents_.find(wish.intent_key); intent != intents_.end() && core_) {
    if (const auto* job = core_->job(intent->second.job_id)) tenant = job->tenant;
  }
  const auto token = new_token("join");
  const auto row = intent_token(wish, tenant, token, now().wall, parts_.core.boot_deadline * 2);
  Augment add_token = [row](const Outcome& /*outcome*/, Batch& batch) {
    batch.writes.emplace_back(row);
  };
  // I6: that it is asked for is durable before it is asked for.
  IntentSent sent{wish.intent_key};
  const auto applied = co_await apply(sent, std::move(add_token));
  if (!applied || applied->outcome.rejection || stopping_) co_return;
  found->second->create(wish, token);
}

void Service::on_fact(ProvisionFact fact) {
  if (stopping_) return;
  if (auto* answer = std::get_if<IntentAnswered>(&fact)) {
    const auto intent = intents_.find(answer->key);
    const std::string provider = intent == intents_.end() ? "" : intent->second.provider;
    ++counters_.provider_requests[{provider, "create", std::string(to_word(answer->state))}];
    spawn(tell_core(*answer));
    return;
  }
  const auto& gone = std::get<ProvisionedGone>(fact);
  if (const auto node = intent_nodes_.find(gone.intent_key); node != intent_nodes_.end()) {
    spawn(tell_core(NodeGone{node->second, gone.proof}));
  } else {
    spawn(tell_core(IntentGone{gone.intent_key, gone.proof}));
  }
}

// A fact stays true while the store is in trouble, and nobody else will tell it.
asio::awaitable<void> Service::tell_core(Input input) {
  while (!stopping_) {
    const auto applied = co_await apply(input);
    if (applied) co_return;
    co_await sleep_for(parts_.io.get_executor(), kTellPause);
  }
}

void Service::inputs_changed() {
  check_again_ = true;
  if (!checking_inputs_ && !stopping_) spawn(check_inputs());
}

asio::awaitable<void> Service::check_inputs() {
  checking_inputs_ = true;
  while (check_again_ && !stopping_) {
    check_again_ = false;
    const std::vector<JobId> waiting(validating_.begin(), validating_.end());
    for (const auto& id : waiting) {
      const auto* row = job(id);
      if (row == nullptr || row->phase != JobPhase::kValidating) continue;
      std::function<InputsVerdict()> look = [this, tenant = row->tenant, inputs = row->inputs] {
        return inspect_inputs(parts_.artifacts, tenant, inputs, NodePaths::kAllowed);
      };
      const auto verdict = co_await run_in(parts_.pool, std::move(look));
      if (verdict.findings.empty() && !verdict.complete) continue;
      InputsReady ready{id, std::nullopt};
      if (!verdict.findings.empty()) {
        Failure failure;
        failure.error_type = "inputs";
        failure.message =
            "The inputs of the job cannot be used:\n" + format_findings(verdict.findings);
        failure.next_step = "Upload what is named above and submit the job again.";
        failure.stage = "validation";
        failure.time = now().wall;
        ready.failure = std::move(failure);
      }
      Input input = std::move(ready);
      const auto applied = co_await apply(std::move(input));
      if (applied) continue;
      // The job would wait for ever: nobody else says again that its inputs are there.
      log_line(LogLevel::kWarning, "inputs_ready_failed", {{"job_id", id.str()}});
      check_again_ = true;
      co_await sleep_for(parts_.io.get_executor(), kTellPause);
    }
  }
  checking_inputs_ = false;
}

std::int64_t Service::desired_rev(const std::string& node_id) const {
  return core_ ? core_->desired_rev(node_id) : 0;
}

Signal& Service::node_signal(const std::string& node_id) {
  auto& signal = node_signals_[node_id];
  if (!signal) signal = std::make_unique<Signal>(parts_.io.get_executor());
  return *signal;
}

bool Service::is_newest_poll(const std::string& node_id, std::uint64_t number) const {
  const auto found = polls_.find(node_id);
  return found != polls_.end() && found->second == number;
}

std::shared_ptr<Signal> Service::job_signal(const JobId& id) {
  auto& weak = job_signals_[id];
  if (auto signal = weak.lock()) return signal;
  auto signal = std::make_shared<Signal>(parts_.io.get_executor());
  weak = signal;
  return signal;
}

std::optional<LastStep> Service::last_step(const JobId& id) const {
  const auto found = last_steps_.find(id);
  return found == last_steps_.end() ? std::nullopt : std::optional(found->second);
}

void Service::note_steps(const std::map<JobId, LastStep>& steps) {
  for (const auto& [id, step] : steps) {
    if (job(id) == nullptr) continue;
    last_steps_[id] = step;
    const auto found = job_signals_.find(id);
    if (found == job_signals_.end()) continue;
    if (const auto signal = found->second.lock()) signal->notify();
  }
}

const JobRow* Service::job(const JobId& id) const { return core_ ? core_->job(id) : nullptr; }

std::vector<NodeView> Service::nodes() const {
  return core_ ? core_->nodes(now()) : std::vector<NodeView>{};
}

std::optional<NodeView> Service::node(const std::string& id) const {
  return core_ ? core_->node(id, now()) : std::nullopt;
}

std::optional<std::string> Service::node_of_intent(const std::string& key) const {
  const auto found = intent_nodes_.find(key);
  return found == intent_nodes_.end() ? std::nullopt : std::optional(found->second);
}

std::int64_t Service::unconfirmed_nodes() const {
  return std::count_if(intents_.begin(), intents_.end(), [](const auto& entry) {
    const auto state = entry.second.state;
    return state == IntentState::kSent || state == IntentState::kCreated ||
           state == IntentState::kAmbiguous;
  });
}

bool Service::inventory_open() const { return core_ && core_->inventory_open(now()); }

std::vector<ProvisionerHealth> Service::provisioners() const {
  std::vector<ProvisionerHealth> out;
  for (const auto& [name, provisioner] : parts_.provisioners) out.push_back(provisioner->health());
  return out;
}

}  // namespace ratchet::control
