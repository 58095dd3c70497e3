#include "controlplane/service/sweeper.h"

#include "controlplane/service/blocking.h"
#include "controlplane/service/log.h"
#include "controlplane/service/service.h"

namespace ratchet::control {

namespace {

constexpr std::int64_t kDayMs = 24LL * 3600 * 1000;
constexpr int kMaxPortions = 1000;  // of one sweep; the next goes on

// A log lives as long as the events of its job.
void sweep_logs(const Store& store, LogFiles& logs) {
  for (const auto& id : logs.jobs()) {
    const auto job = store.jobs().job(id, "");
    if (job && !is_terminal(job->row.phase)) continue;
    if (!job && job.error().code != Code::kNotFound) return;
    if (job) {
      const auto events = store.events().job_events(id, 0, 1);
      if (!events || !events->empty()) continue;
    }
    logs.remove(id);
  }
}

}  // namespace

void sweep_once(Store& store, ArtifactStore& artifacts, LogFiles& logs, const Settings& settings,
                UnixMillis now) {
  if (const auto needed = store.artifacts().needed()) {
    const auto report = artifacts.collect(*needed);
    if (!report) {
      log_line(LogLevel::kWarning, "collect_failed", {{"message", report.error().message}});
    } else if (report->removed > 0) {
      log_line(LogLevel::kInfo, "artifacts_removed",
               {{"count", std::to_string(report->removed)},
                {"bytes", std::to_string(report->removed_bytes)}});
    }
  }
  RetentionRequest request;
  request.events_before = now - UnixMillis(settings.events_kept_days * kDayMs);
  request.deliveries_before = request.events_before;
  request.errors_before = request.events_before;
  request.idempotency_before = now - kIdempotencyLife;
  for (int i = 0; i < kMaxPortions; ++i) {
    const auto report = store.retain(request);
    if (!report) {
      log_line(LogLevel::kWarning, "retention_failed", {{"message", report.error().message}});
      return;
    }
    if (!report->more) break;
  }
  sweep_logs(store, logs);
}

boost::asio::awaitable<void> sweep(Sweeper sweeper) {
  const auto every = std::chrono::seconds(sweeper.settings.sweep_every_s);
  const auto seen = sweeper.stop.version();
  for (;;) {
    co_await sweeper.stop.wait(seen, Signal::Clock::now() + every);
    if (sweeper.stop.version() != seen) co_return;
    std::function<bool()> work = [sweeper] {
      sweep_once(sweeper.store, sweeper.artifacts, sweeper.logs, sweeper.settings,
                 Service::now().wall);
      return true;
    };
    co_await run_in(sweeper.pool, std::move(work));
  }
}

}  // namespace ratchet::control
