#include "controlplane/api/metrics.h"

#include <algorithm>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include "controlplane/api/context.h"

namespace ratchet::control {

namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Histogram;

const Histogram::BucketBoundaries kRequestBuckets{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                  0.1,   0.25,   0.5,   1,    5,     30};
const Histogram::BucketBoundaries kRecoveryBuckets{0.1, 0.5, 1,   2,   5,    10,
                                                   20,  60,  120, 300, 1200, 3600};
const Histogram::BucketBoundaries kNoticeBuckets{1, 5, 15, 30, 60, 120, 300, 900};

// Counters are counted elsewhere and only ever grow.
void raise_to(prometheus::Counter& counter, double value) {
  if (value > counter.Value()) counter.Increment(value - counter.Value());
}

}  // namespace

struct Metrics::Impl {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& requests =
      BuildCounter().Name("ratchet_http_requests_total").Help("Answers").Register(registry);
  prometheus::Family<Histogram>& request_seconds =
      BuildHistogram().Name("ratchet_http_request_seconds").Help("Durations").Register(registry);
  prometheus::Family<Histogram>& recovery = BuildHistogram()
                                                .Name("ratchet_recovery_seconds")
                                                .Help("Stages of recoveries")
                                                .Register(registry);
  prometheus::Family<Histogram>& deliveries = BuildHistogram()
                                                  .Name("ratchet_webhook_delivery_seconds")
                                                  .Help("Tries of deliveries")
                                                  .Register(registry);
  prometheus::Histogram& notices = BuildHistogram()
                                       .Name("ratchet_reclaim_notice_seconds")
                                       .Help("Lead of reclaim notices as received")
                                       .Register(registry)
                                       .Add({}, kNoticeBuckets);
  prometheus::Family<prometheus::Counter>& ended = BuildCounter()
                                                       .Name("ratchet_attempts_ended_total")
                                                       .Help("Attempts by how they ended")
                                                       .Register(registry);
  prometheus::Family<prometheus::Counter>& events =
      BuildCounter().Name("ratchet_events_total").Help("Events by type").Register(registry);
  prometheus::Family<prometheus::Counter>& totals =
      BuildCounter().Name("ratchet_core_total").Help("Counts of the core").Register(registry);
  prometheus::Counter& steps = BuildCounter()
                                   .Name("ratchet_steps_recomputed_total")
                                   .Help("Steps that were trained again")
                                   .Register(registry)
                                   .Add({});
  prometheus::Counter& fenced = BuildCounter()
                                    .Name("ratchet_fenced_writes_total")
                                    .Help("Checkpoints of attempts that owned nothing any more")
                                    .Register(registry)
                                    .Add({});
  prometheus::Family<prometheus::Counter>& provider = BuildCounter()
                                                          .Name("ratchet_provider_requests_total")
                                                          .Help("Wishes to provisioners")
                                                          .Register(registry);
  prometheus::Family<prometheus::Gauge>& jobs =
      BuildGauge().Name("ratchet_jobs").Help("Jobs by state").Register(registry);
  prometheus::Family<prometheus::Gauge>& nodes =
      BuildGauge().Name("ratchet_nodes").Help("Nodes by liveness").Register(registry);
  prometheus::Family<prometheus::Gauge>& ages = BuildGauge()
                                                    .Name("ratchet_lease_age_seconds")
                                                    .Help("Longest silence of a node")
                                                    .Register(registry);
  prometheus::Gauge& backlog = BuildGauge()
                                   .Name("ratchet_webhook_backlog")
                                   .Help("Deliveries that wait")
                                   .Register(registry)
                                   .Add({});
  prometheus::Gauge& unconfirmed = BuildGauge()
                                       .Name("ratchet_unconfirmed_nodes")
                                       .Help("Nodes that were asked for and have not joined")
                                       .Register(registry)
                                       .Add({});
  prometheus::Gauge& up =
      BuildGauge().Name("ratchet_store_up").Help("1: the store works").Register(registry).Add({});
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

void Metrics::request(std::string_view route, std::string_view method, int status, double seconds) {
  const std::string path(route);
  impl_->requests
      .Add({{"route", path}, {"method", std::string(method)}, {"status", std::to_string(status)}})
      .Increment();
  impl_->request_seconds.Add({{"route", path}}, kRequestBuckets).Observe(seconds);
}

void Metrics::notice(double lead_seconds) { impl_->notices.Observe(lead_seconds); }

void Metrics::delivery(const DeliveryRow& row) {
  impl_->deliveries.Add({{"state", std::string(to_word(row.state))}}, kRequestBuckets)
      .Observe(static_cast<double>(row.last_ms) / 1000);
}

void Metrics::recovery(std::string_view phase, double seconds) {
  impl_->recovery.Add({{"phase", std::string(phase)}}, kRecoveryBuckets).Observe(seconds);
}

Metrics::Stored Metrics::read(const Context& context) {
  Stored out;
  const auto counts = context.store.jobs().counts("");
  const auto backlog = context.store.webhooks().backlog();
  out.store_ok = counts && backlog;
  if (counts) out.jobs = *counts;
  if (backlog) out.webhook_backlog = *backlog;
  return out;
}

std::string Metrics::text(const Context& context, const Stored& stored) {
  auto& own = *impl_;
  for (const auto& entry : word_table(JobState{})) {
    const auto found = stored.jobs.find(entry.value);
    own.jobs.Add({{"state", std::string(entry.word)}})
        .Set(found == stored.jobs.end() ? 0 : static_cast<double>(found->second));
  }
  std::map<Liveness, double> nodes;
  double silence = 0;
  for (const auto& node : context.service.nodes()) {
    nodes[node.liveness] += 1;
    silence = std::max(silence, static_cast<double>(node.silent_for.count()) / 1000);
  }
  for (const auto& entry : word_table(Liveness{})) {
    own.nodes.Add({{"liveness", std::string(entry.word)}}).Set(nodes[entry.value]);
  }
  own.ages.Add({}).Set(silence);
  own.backlog.Set(static_cast<double>(stored.webhook_backlog));
  own.up.Set(stored.store_ok && context.service.ready() ? 1 : 0);
  own.unconfirmed.Set(static_cast<double>(context.service.unconfirmed_nodes()));
  for (const auto& [stage, seconds] : context.service.take_recovery_seconds()) {
    recovery(to_word(stage), seconds);
  }
  const auto& counters = context.service.counters();
  for (const auto& [cause, count] : counters.attempts_ended) {
    raise_to(own.ended.Add({{"class", std::string(to_word(cause))}}), static_cast<double>(count));
  }
  for (const auto& [type, count] : counters.events) {
    raise_to(own.events.Add({{"type", type}}), static_cast<double>(count));
  }
  for (const auto& [what, count] : counters.provider_requests) {
    raise_to(own.provider.Add({{"provider", what.provider}, {"op", what.op}, {"code", what.code}}),
             static_cast<double>(count));
  }
  raise_to(own.totals.Add({{"what", "core_reloads"}}), static_cast<double>(counters.core_reloads));
  raise_to(own.steps, static_cast<double>(counters.steps_recomputed));
  raise_to(own.fenced, static_cast<double>(counters.fenced_writes));
  return prometheus::TextSerializer().Serialize(own.registry.Collect());
}

}  // namespace ratchet::control
