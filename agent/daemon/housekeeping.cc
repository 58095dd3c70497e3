// The node itself: facts, device check, disk, logs, status page.

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "agent/daemon/daemon_impl.h"
#include "agent/daemon/files.h"
#include "agent/daemon/off_loop.h"
#include "proto/version.h"

namespace ratchet::agent {
namespace {

constexpr Millis kRound{2000};
constexpr Millis kGpuLimit{3000};       // for one answer of the driver
constexpr std::int64_t kGpuRounds = 8;  // rounds between two looks at the GPUs
constexpr std::int64_t kWarmRounds = 8;
constexpr std::int64_t kTrimRounds = 15;
constexpr Millis kFactsEvery{30000};  // disk and memory figures; the rest is told when it changes

// The facts without the figures that always move.
NodeFacts steady(NodeFacts facts) {
  facts.disk_free = Bytes(0);
  facts.cache_used = Bytes(0);
  for (GpuFacts& gpu : facts.gpus) gpu.memory_used = Bytes(0);
  return facts;
}

}  // namespace

NodeFacts Daemon::Impl::first_facts() const {
  NodeFacts out;
  out.name = settings.name.empty() ? host_name() : settings.name;
  out.provider = settings.provider;
  out.price = settings.price;
  out.usd_per_hour = settings.usd_per_hour;
  out.cpu_cores = usable_cores();
  out.memory_total = memory_total();
  out.agent_version = kVersion;
  out.cache_used = transfers->cache().used();
  if (const auto disk = disk_space(state.root())) out.disk_free = disk->free;
  return out;
}

asio::awaitable<void> Daemon::Impl::read_gpus() {
  ++loops;
  const auto read = [this] { return gpu_probe.read(kGpuLimit); };
  auto gpus = co_await off_loop(pool, read);
  --loops;
  kernel_log.poll();
  if (!gpus) {
    if (gpu_trouble != gpus.error().message) log(gpus.error().message);
    gpu_trouble = gpus.error().message;
    co_return;
  }
  gpu_trouble.clear();
  facts.gpus = gpu_facts(*gpus, kernel_log);
  facts.slots = std::max<std::int64_t>(1, static_cast<std::int64_t>(facts.gpus.size()));
  std::vector<std::string> uuids;
  for (const GpuFacts& gpu : facts.gpus) uuids.push_back(gpu.uuid);
  trainers->set_gpus(std::move(uuids));
}

asio::awaitable<void> Daemon::Impl::check_device() {
  ++loops;
  if (trainers->alive() > 0) {
    // A trainer that runs proves more than a small product would, and the device is its own.
    facts.preflight = {true, true, 0, ""};
  } else {
    std::vector<std::string> gpus{""};
    if (!facts.gpus.empty()) gpus.clear();
    for (const GpuFacts& gpu : facts.gpus) gpus.push_back(gpu.uuid);
    const std::filesystem::path output = state.root() / "preflight.log";
    Preflight result;
    for (const std::string& gpu : gpus) {
      result = co_await run_preflight(settings.trainer, gpu, output);
      if (!result.facts.passed) break;
    }
    facts.preflight = result.facts;
    facts.trainer_version = result.build;
    log(result.facts.passed ? "Preflight passed on " + result.device + "."
                            : "Preflight failed: " + result.facts.message);
  }
  if (!left) tell_facts();
  --loops;
}

asio::awaitable<void> Daemon::Impl::keep_house() {
  ++loops;
  link->warm_up();
  for (std::int64_t round = 1; co_await pause_for(kRound); ++round) {
    check_disk();
    kernel_log.poll();
    if (core.in_contact(boot_time())) trainers->forward_logs(link->http(), log_cancel);
    if (round % kWarmRounds == 0) link->warm_up();
    if (round % kTrimRounds == 0) trainers->trim_logs();
    if (round % kGpuRounds == 0) co_await read_gpus();
    if (left) break;
    const bool due = boot_time() >= told_facts_at + kFactsEvery;
    if (due || !(steady(facts) == steady(told_facts))) tell_facts();
  }
  --loops;
}

void Daemon::Impl::tell_facts() {
  if (!gpu_trouble.empty()) {
    facts.preflight.passed = false;
    facts.preflight.message = gpu_trouble;
  }
  told_facts = facts;
  told_facts_at = boot_time();
  post(FactsSeen{facts});
}

void Daemon::Impl::check_disk() {
  const auto space = disk_space(state.root());
  if (!space) return;
  DiskFigures figures{space->free, checkpoint_size, settings.disk_reserve};
  DiskVerdict verdict = judge_disk(figures, disk_full);
  if (verdict != DiskVerdict::kRoom) {
    const Bytes gone = transfers->make_room(disk_shortage(figures));
    if (gone.count() > 0) {
      log("The disk is nearly full: gave back " + std::to_string(gone.count()) +
          " bytes of inputs that nothing uses.");
      if (const auto now = disk_space(state.root())) figures.free = now->free;
      verdict = judge_disk(figures, disk_full);
    }
  }
  facts.disk_free = figures.free;
  facts.cache_used = transfers->cache().used();
  const bool full = verdict == DiskVerdict::kFull;
  facts.disk_full = full;
  if (full == disk_full) return;
  disk_full = full;
  if (full) {
    log("The disk of '" + state.root().string() +
        "' is full: training pauses until there is room.");
    post(DiskFull{});
  } else {
    log("There is room on the disk again: training goes on.");
    post(DiskHasRoom{});
  }
}

void Daemon::Impl::update_metrics() {
  const Millis now = boot_time();
  NodeFigures figures;
  figures.cache = facts.cache_used;
  figures.disk_free = facts.disk_free;
  figures.outbox_events = trainers->lines_waiting();
  figures.trainers = trainers->alive();
  figures.lease_age_s =
      answered_at.count() == 0 ? 0 : static_cast<double>((now - answered_at).count()) / 1000;
  figures.in_contact = core.in_contact(now);
  figures.has_authority = core.has_authority(now);
  figures.disk_full = disk_full;
  figures.gpus = facts.gpus;
  metrics.update(figures);
}

asio::awaitable<void> Daemon::Impl::serve_status(net::Exchange& exchange) {
  net::Response response;
  const std::string path = exchange.request().path;
  if (exchange.request().method != net::Method::kGet) {
    response.status = 405;
    response.headers.set("Allow", "GET");
  } else if (path == "/metrics") {
    update_metrics();
    response.headers.set("Content-Type", "text/plain; version=0.0.4");
    response.body = metrics.text();
  } else if (path == "/healthz") {
    const Millis now = boot_time();
    const nlohmann::json object = {{"status", "ok"},
                                   {"node_id", core.node_id()},
                                   {"in_contact", core.in_contact(now)},
                                   {"has_authority", core.has_authority(now)},
                                   {"trainers", trainers->alive()},
                                   {"disk_full", disk_full},
                                   {"preflight_passed", facts.preflight.passed}};
    response.headers.set("Content-Type", "application/json");
    response.body = object.dump() + "\n";
  } else {
    response.status = 404;
    response.body = "Only /metrics and /healthz are here.\n";
  }
  static_cast<void>(co_await exchange.send(std::move(response)));
}

}  // namespace ratchet::agent
