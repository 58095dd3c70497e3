#include "bench/cluster/simulated_agent.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <stdexcept>

#include "proto/events.h"

namespace ratchet::bench {

namespace {

using std::chrono::steady_clock;

// Of agent/core/agent_core.h and agent/daemon: the same rhythm.
constexpr Millis kHeartbeatTimeout{5000};
constexpr Millis kSyncTimeout{10000};  // beyond its wait
constexpr Millis kAfterSync{50};
constexpr Millis kProgressGap{2000};
constexpr Millis kWarmUp{16000};
constexpr Millis kAfterFailure{1000};
constexpr std::int64_t kTotalSteps = 1'000'000;

double ms_since(steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(steady_clock::now() - begin).count();
}

std::unique_ptr<net::HttpClient> client_of(const asio::any_io_executor& executor,
                                           const AgentSettings& settings) {
  net::ClientOptions options;
  options.tls.ca_file = settings.ca_file;
  options.user_agent = "ratchet-agent";
  options.bearer_token = settings.join_token;
  auto made = net::HttpClient::create(executor, settings.url, std::move(options));
  if (!made) throw std::runtime_error(made.error().message);
  return *std::move(made);
}

std::string step_line(const DesiredAttempt& desired, std::int64_t step) {
  StepEvent event;
  event.step = step;
  event.total_steps = kTotalSteps;
  event.loss = 2.0;
  event.grad_norm = 1.0;
  event.lr = 1e-4;
  event.tokens = 8192;
  event.trained_tokens = 8192;
  event.tokens_per_s = 8192;
  event.times.total_ms = 1000;
  EventHeader header;
  header.seq = static_cast<std::uint64_t>(step);
  header.time =
      std::chrono::duration_cast<UnixMillis>(std::chrono::system_clock::now().time_since_epoch());
  header.job_id = desired.job_id;
  header.attempt_no = desired.attempt_no;
  header.epoch = desired.epoch;
  return encode_event(Event{header, event});
}

}  // namespace

SimulatedAgent::SimulatedAgent(asio::any_io_executor executor, const AgentSettings& settings,
                               std::size_t number, FleetFigures& figures)
    : executor_(std::move(executor)),
      number_(number),
      figures_(figures),
      control_(client_of(executor_, settings)),
      notices_(client_of(executor_, settings)),
      incarnation_("bench-" + std::to_string(number)) {}

NodeFacts SimulatedAgent::facts() const {
  NodeFacts facts;
  facts.name = "node-" + std::to_string(number_);
  facts.provider = "static";
  facts.slots = 1;
  facts.cpu_cores = 16;
  facts.memory_total = gibibytes(64);
  facts.disk_free = gibibytes(500);
  facts.preflight = {.done = true, .passed = true, .kernel_ms = 1.0, .message = ""};
  facts.agent_version = "bench";
  facts.trainer_version = "bench";
  return facts;
}

asio::awaitable<Result<net::ClientResponse>> SimulatedAgent::post(std::string target,
                                                                  std::string body,
                                                                  Millis timeout) {
  net::ClientRequest request;
  request.method = net::Method::kPost;
  request.target = target;
  request.body = std::move(body);
  request.headers.set("Content-Type", "application/json");
  request.total_timeout = timeout;
  auto answer = co_await control_->send(std::move(request));
  if (!answer || answer->status != 200) note_failure(target, answer);
  co_return answer;
}

void SimulatedAgent::note_failure(std::string_view target,
                                  const Result<net::ClientResponse>& answer) {
  if (++figures_.failures > 1) return;
  figures_.first_failure =
      std::string(target) + ": " + (answer ? answer->body : answer.error().message);
}

asio::awaitable<bool> SimulatedAgent::join() {
  const HelloRequest hello{"", incarnation_, "", facts(), {}};
  const auto answer = co_await post("/v1/agent/hello", encode(hello), kSyncTimeout);
  if (!answer || answer->status != 200) co_return false;
  const auto welcome = decode_hello_response(answer->body);
  if (!welcome) co_return false;
  node_id_ = welcome->node_id;
  boot_id_ = welcome->boot_id;
  heartbeat_ = welcome->heartbeat;
  sync_wait_ = welcome->sync_wait;
  control_->set_bearer_token(welcome->node_token);
  notices_->set_bearer_token(welcome->node_token);
  co_return true;
}

void SimulatedAgent::live(Millis phase) {
  asio::co_spawn(executor_, beat(phase), asio::detached);
  asio::co_spawn(executor_, hold_sync(), asio::detached);
  asio::co_spawn(executor_, keep_notices_open(), asio::detached);
}

asio::awaitable<void> SimulatedAgent::beat(Millis phase) {
  asio::steady_timer timer(executor_);
  auto due = steady_clock::now() + phase;
  while (true) {
    timer.expires_at(due);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    figures_.late_ms.push_back(ms_since(due));
    const HeartbeatRequest beat{node_id_, incarnation_, ++heartbeat_seq_};
    const auto began = steady_clock::now();
    const auto answer = co_await post("/v1/agent/heartbeat", encode(beat), kHeartbeatTimeout);
    if (answer && answer->status == 200 && decode_heartbeat_response(answer->body)) {
      figures_.heartbeat_ms.push_back(ms_since(began));
    }
    due = std::max(due + heartbeat_, steady_clock::now());
  }
}

asio::awaitable<void> SimulatedAgent::hold_sync() {
  asio::steady_timer timer(executor_);
  while (true) {
    const SyncRequest request = sync_request();
    const auto answer =
        co_await post("/v1/agent/sync", encode(request), request.wait + kSyncTimeout);
    ++figures_.syncs;
    Millis pause = kAfterFailure;
    if (answer && answer->status == 200) {
      if (const auto response = decode_sync_response(answer->body)) {
        take(*response);
        pause = kAfterSync;
      }
    }
    timer.expires_after(pause);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

asio::awaitable<void> SimulatedAgent::keep_notices_open() {
  asio::steady_timer timer(executor_);
  while (true) {
    net::ClientRequest request;
    request.target = "/healthz";
    const auto answer = co_await notices_->send(std::move(request));
    if (!answer) note_failure("/healthz", answer);
    timer.expires_after(kWarmUp);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

SyncRequest SimulatedAgent::sync_request() {
  SyncRequest request;
  request.node_id = node_id_;
  request.incarnation = incarnation_;
  request.seq = ++sync_seq_;
  request.boot_id = boot_id_;
  request.desired_rev = desired_rev_;
  request.wait = attempts_.empty() ? sync_wait_ : kProgressGap;
  request.facts = facts();
  for (auto& [id, attempt] : attempts_) {
    train(attempt);
    AttemptReport report;
    report.job_id = id;
    report.attempt_no = attempt.desired.attempt_no;
    report.epoch = attempt.desired.epoch;
    report.state = AttemptState::kRunning;
    report.stage = "training";
    report.step = attempt.step;
    report.total_steps = kTotalSteps;
    report.resumed_from_step = 0;
    request.attempts.push_back(std::move(report));
    for (const TrainerLine& line : attempt.unacknowledged) request.lines.push_back(line);
    figures_.lines += static_cast<std::int64_t>(attempt.unacknowledged.size());
  }
  return request;
}

void SimulatedAgent::train(Attempt& attempt) {
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(steady_clock::now() - attempt.began).count();
  while (attempt.step < seconds) {
    ++attempt.step;
    const DesiredAttempt& desired = attempt.desired;
    attempt.unacknowledged.push_back({desired.job_id, desired.attempt_no, desired.epoch,
                                      static_cast<std::uint64_t>(attempt.step),
                                      step_line(desired, attempt.step)});
  }
}

void SimulatedAgent::take(const SyncResponse& response) {
  boot_id_ = response.boot_id;
  desired_rev_ = response.desired_rev;
  for (const DesiredAttempt& desired : response.desired) {
    if (attempts_.contains(desired.job_id)) continue;
    attempts_[desired.job_id] = Attempt{desired, steady_clock::now(), 0, {}};
  }
  for (const LineCursor& cursor : response.acked_lines) {
    const auto found = attempts_.find(cursor.job_id);
    if (found == attempts_.end()) continue;
    auto& lines = found->second.unacknowledged;
    while (!lines.empty() && lines.front().seq <= cursor.seq) lines.pop_front();
  }
}

}  // namespace ratchet::bench
