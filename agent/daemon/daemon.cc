#include "agent/daemon/daemon.h"

#include <signal.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>
#include <cstdlib>
#include <ctime>
#include <utility>

#include "agent/daemon/cgroup.h"
#include "agent/daemon/daemon_impl.h"
#include "agent/daemon/files.h"
#include "agent/daemon/off_loop.h"

namespace ratchet::agent {
namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr Millis kLookAlive{100};  // between two looks at running trainers
constexpr Millis kLookIdle{500};
constexpr Millis kLeaveGrace{2000};  // for calls under way when the agent leaves
constexpr std::size_t kMaxProcText = 1 << 20;

std::uint64_t random_seed() {
  const std::string hex = random_hex(8);
  std::uint64_t seed = 0;
  std::from_chars(hex.data(), hex.data() + hex.size(), seed, 16);
  return seed;
}

// The group under which trainers get groups of their own; none where memory is not counted.
std::optional<std::filesystem::path> trainers_cgroup() {
  const auto proc = read_file("/proc/self/cgroup", kMaxProcText);
  const auto mounts = read_file("/proc/self/mountinfo", kMaxProcText);
  if (!proc || !mounts) return std::nullopt;
  const auto group = own_cgroup(*proc, *mounts);
  return group && counts_memory(*group) ? group : std::nullopt;
}

Result<std::pair<std::string, std::uint16_t>> split_address(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  unsigned port = 0;
  if (colon != std::string::npos) {
    const char* end = text.data() + text.size();
    const auto [stop, failed] = std::from_chars(text.data() + colon + 1, end, port);
    if (failed == std::errc() && stop == end && port <= 65535) {
      return std::pair(text.substr(0, colon), static_cast<std::uint16_t>(port));
    }
  }
  return Error{Code::kInvalidArgument,
               "'" + text + "' is no address to listen on. Write HOST:PORT, as 127.0.0.1:9400."};
}

}  // namespace

Millis boot_time() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return Millis{static_cast<std::int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000};
}

asio::awaitable<bool> Daemon::Impl::pause_for(Millis time) {
  if (left) co_return false;
  asio::steady_timer timer(io, time);
  sleepers.insert(&timer);
  co_await timer.async_wait(kTuple);
  sleepers.erase(&timer);
  co_return !left;
}

Daemon::Impl::Impl(boost::asio::io_context& loop, DaemonSettings chosen, StateFolder folder)
    : io(loop),
      settings(std::move(chosen)),
      state(std::move(folder)),
      gpu_probe(nvml_reader()),
      core(settings.core),
      core_timer(loop),
      signals(loop, SIGTERM, SIGINT) {}

Result<std::unique_ptr<Daemon>> Daemon::create(boost::asio::io_context& io,
                                               DaemonSettings settings) {
  auto folder = StateFolder::open(std::filesystem::absolute(settings.state).lexically_normal());
  if (!folder) return folder.error();
  auto impl = std::make_unique<Impl>(io, std::move(settings), *std::move(folder));
  if (Status opened = impl->open(); !opened) return opened.error();
  return std::unique_ptr<Daemon>(new Daemon(std::move(impl)));
}

Daemon::Daemon(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Daemon::~Daemon() = default;

Status Daemon::Impl::open() {
  const auto report = [this](Input input) { post(std::move(input)); };
  LinkSettings link_settings;
  link_settings.url = settings.control;
  link_settings.ca_file = settings.ca_file;
  link_settings.allow_plaintext = settings.allow_plaintext;
  link_settings.join_token = settings.join_token;
  link_settings.node_token = state.identity().node_token;
  if (link_settings.join_token.empty() && link_settings.node_token.empty()) {
    return Error{Code::kInvalidArgument,
                 "This node is not registered yet and has no join token. Name a file with "
                 "--join-token-file, or set RATCHET_JOIN_TOKEN."};
  }
  auto made = ControlLink::create(io.get_executor(), std::move(link_settings), report);
  if (!made) return made.error();
  link = *std::move(made);
  Bytes limit = settings.cache_limit;
  if (limit.count() == 0) {
    if (const auto disk = disk_space(state.root())) limit = Bytes(disk->total.count() / 2);
  }
  transfers =
      std::make_unique<Transfers>(io.get_executor(), pool, link->http(), state, limit, report);
  Trainers::Settings trainer_settings;
  trainer_settings.program = settings.trainer;
  if (settings.use_cgroups) trainer_settings.cgroup = trainers_cgroup();
  trainers = std::make_unique<Trainers>(
      io.get_executor(), trainer_settings, state, kernel_log, report,
      [this](const AttemptKey& key, const Event& event, bool seen_before) {
        if (!seen_before) metrics.event_seen(key.job_id, event);
        const auto* saved = std::get_if<CheckpointEvent>(&event.body);
        if (saved != nullptr && !saved->path.empty()) checkpoint_size = saved->size;
      });
  if (settings.listen.empty()) return ok();
  const auto address = split_address(settings.listen);
  if (!address) return address.error();
  net::ServerOptions options;
  options.address = address->first;
  options.port = address->second;
  options.allow_plaintext = settings.allow_plaintext;
  options.max_connections = 64;
  auto server =
      net::HttpServer::listen(io.get_executor(), options,
                              [this](net::Exchange& exchange) { return serve_status(exchange); });
  if (!server) return server.error();
  status = *std::move(server);
  return ok();
}

Left Daemon::run() {
  Impl& impl = *impl_;
  asio::co_spawn(impl.io, impl.begin(), asio::detached);
  asio::co_spawn(impl.io, impl.wait_for_signals(), asio::detached);
  while (!impl.left && impl.io.run_one() > 0) {
  }
  // Calls under way end by being cancelled; nobody waits for a peer that hangs.
  const Millis until = boot_time() + kLeaveGrace;
  while (boot_time() < until && (impl.loops + impl.link->under_way() + impl.trainers->under_way() +
                                 impl.transfers->under_way()) > 0) {
    impl.io.run_one_for(Millis{50});
  }
  return impl.left.value_or(Left{});
}

// Facts, what is on the disk, then hello: the control plane hears of living trainers first.
asio::awaitable<void> Daemon::Impl::begin() {
  facts = first_facts();
  co_await read_gpus();
  std::vector<std::string> complaints;
  const std::vector<StoredAttempt> stored = state.load(complaints);
  for (const std::string& complaint : complaints) log(complaint);
  Start start;
  start.node_id = state.identity().node_id;
  start.incarnation = random_hex(16);
  start.intent = settings.intent;
  start.facts = facts;
  start.epoch_floor = state.identity().epoch_floor;
  start.seed = random_seed();
  for (const StoredAttempt& attempt : stored) start.attempts.push_back(attempt.recovered);
  post(std::move(start));
  for (const StoredAttempt& attempt : stored) {
    transfers->hold_inputs(attempt.recovered.desired);
    trainers->take_over(attempt);
  }
  if (trainers->alive() > 0) {
    log("Found " + std::to_string(trainers->alive()) + " living trainer(s); watching them again.");
  }
  post(RecoveryDone{});
  asio::co_spawn(io, watch_trainers(), asio::detached);
  asio::co_spawn(io, keep_house(), asio::detached);
  asio::co_spawn(io, check_device(), asio::detached);
}

void Daemon::Impl::post(Input input) {
  inputs.push_back(std::move(input));
  if (std::exchange(draining, true)) return;
  asio::post(io, [this] { drain(); });
}

void Daemon::Impl::drain() {
  while (!inputs.empty() && !left) {
    const Input input = std::move(inputs.front());
    inputs.pop_front();
    handle(input);
  }
  draining = false;
  if (!left) arm_core_timer();
}

void Daemon::Impl::handle(const Input& input) {
  const bool is_answer = std::holds_alternative<HeartbeatAnswered>(input) ||
                         std::holds_alternative<SyncAnswered>(input) ||
                         std::holds_alternative<HelloAnswered>(input);
  if (is_answer) answered_at = boot_time();
  if (std::holds_alternative<CallFailed>(input)) metrics.call_failed();
  if (std::holds_alternative<UploadFailed>(input)) metrics.upload_failed();
  if (std::holds_alternative<TrainerExited>(input)) {
    metrics.trainer_ended();
    trainers->forward_logs(link->http(), log_cancel);
  }
  if (const auto* done = std::get_if<CheckpointUploaded>(&input)) {
    metrics.upload_done(done->took, done->sent);
  }
  if (const auto* seen = std::get_if<NoticeSeen>(&input)) metrics.notice_seen(seen->notice);
  Outcome outcome = core.handle(input, boot_time());
  for (const Save& item : outcome.saves) save(item);
  for (Action& action : outcome.actions) act(action);
}

void Daemon::Impl::arm_core_timer() {
  const Millis now = boot_time();
  const auto next = core.next_timer(now);
  if (!next) return;
  core_timer.expires_after(*next - now);
  core_timer.async_wait([this](const boost::system::error_code& error) {
    if (!error && !left) post(Tick{});
  });
}

void Daemon::Impl::leave(const Leave& action) {
  if (left) return;
  log(action.message);
  left = Left{action.why, action.message};
  boost::system::error_code ignored;
  signals.cancel(ignored);
  core_timer.cancel();
  for (asio::steady_timer* timer : sleepers) timer->cancel();
  log_cancel.cancel();
  link->close();
  transfers->close();
  status.reset();
}

asio::awaitable<void> Daemon::Impl::wait_for_signals() {
  ++loops;
  while (!left) {
    const auto [error, number] = co_await signals.async_wait(kTuple);
    if (error) break;
    post(Sigterm{settings.sigterm, settings.sigterm_lead});
  }
  --loops;
}

asio::awaitable<void> Daemon::Impl::watch_trainers() {
  ++loops;
  bool any = trainers->alive() > 0;
  while (co_await pause_for(any || trainers->alive() > 0 ? kLookAlive : kLookIdle)) {
    any = trainers->look();
  }
  --loops;
}

void Daemon::notice(ReclaimNotice notice) { impl_->post(NoticeSeen{std::move(notice)}); }

bool Daemon::is_saved() const {
  if (impl_->trainers->alive() > 0) return false;
  for (const AttemptReport& report : impl_->core.reports(boot_time())) {
    if (!report.exit) return false;
    for (const SealedCheckpoint& sealed : report.sealed) {
      if (sealed.artifact_id.empty()) return false;
    }
  }
  return true;
}

std::string Daemon::status_url() const {
  return impl_->status ? impl_->status->url() : std::string();
}

}  // namespace ratchet::agent
