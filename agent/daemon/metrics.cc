#include "agent/daemon/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <map>
#include <utility>
#include <variant>

namespace ratchet::agent {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Registry;

const Histogram::BucketBoundaries kSeconds{0.001, 0.005, 0.02, 0.1, 0.5, 1,   2,
                                           5,     10,    30,   60,  120, 300, 600};
const Histogram::BucketBoundaries kLeadSeconds{1, 2, 5, 10, 30, 60, 120, 300, 900};
constexpr double kXidsCounted = 1000;

Family<Gauge>& gauges(Registry& registry, const std::string& name, const std::string& help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}

Family<Counter>& counters(Registry& registry, const std::string& name, const std::string& help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

Histogram& histogram(Registry& registry, const std::string& name, const std::string& help,
                     const Histogram::BucketBoundaries& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

double as_double(Bytes bytes) { return static_cast<double>(bytes.count()); }

}  // namespace

struct AgentMetrics::Impl {
  struct JobSeries {
    Gauge* step;
    Counter* tokens;
    Gauge* allocated;
    Gauge* reserved;
    Gauge* peak;
  };

  Registry registry;
  Family<Gauge>& step = gauges(registry, "ratchet_trainer_step", "Steps complete.");
  Family<Counter>& tokens =
      counters(registry, "ratchet_trainer_tokens_total", "Tokens trained on in this process.");
  Family<Gauge>& allocated = gauges(registry, "ratchet_trainer_memory_allocated_bytes",
                                    "Device memory that the trainer's tensors hold.");
  Family<Gauge>& reserved = gauges(registry, "ratchet_trainer_memory_reserved_bytes",
                                   "Device memory that the trainer's allocator holds.");
  Family<Gauge>& peak = gauges(registry, "ratchet_trainer_memory_peak_bytes",
                               "Most device memory that tensors held.");
  Histogram& step_seconds =
      histogram(registry, "ratchet_trainer_step_seconds", "Time of a step.", kSeconds);
  Histogram& stall = histogram(registry, "ratchet_checkpoint_stall_seconds",
                               "Time that training waited for a checkpoint.", kSeconds);
  Histogram& write = histogram(registry, "ratchet_checkpoint_write_seconds",
                               "Time from snapshot to a committed checkpoint.", kSeconds);
  Histogram& upload = histogram(registry, "ratchet_checkpoint_upload_seconds",
                                "Time of a checkpoint's upload.", kSeconds);
  Histogram& lead = histogram(registry, "ratchet_reclaim_notice_seconds",
                              "Time that a reclaim notice left.", kLeadSeconds);
  Gauge& checkpoint_bytes =
      gauges(registry, "ratchet_checkpoint_bytes", "Size of the newest checkpoint.").Add({});
  Counter& uploaded_bytes =
      counters(registry, "ratchet_checkpoint_uploaded_bytes_total", "Bytes of checkpoints sent.")
          .Add({});
  Counter& upload_failures =
      counters(registry, "ratchet_upload_failures_total", "Uploads that failed.").Add({});
  Counter& notices =
      counters(registry, "ratchet_reclaim_notices_total", "Reclaim notices seen.").Add({});
  Counter& ends =
      counters(registry, "ratchet_trainers_ended_total", "Trainers that have ended.").Add({});
  Counter& failed_calls = counters(registry, "ratchet_control_calls_failed_total",
                                   "Calls to the control plane without a good answer.")
                              .Add({});
  Gauge& cache = gauges(registry, "ratchet_cache_bytes", "Inputs kept on disk.").Add({});
  Gauge& disk_free = gauges(registry, "ratchet_disk_free_bytes", "Free disk space.").Add({});
  Gauge& disk_full =
      gauges(registry, "ratchet_disk_full", "1 while training pauses for want of space.").Add({});
  Gauge& outbox = gauges(registry, "ratchet_outbox_events",
                         "Trainer events that the control plane has not acknowledged.")
                      .Add({});
  Gauge& trainers = gauges(registry, "ratchet_trainers", "Trainers alive.").Add({});
  Gauge& lease_age =
      gauges(registry, "ratchet_lease_age_seconds", "Time since the control plane last answered.")
          .Add({});
  Gauge& contact =
      gauges(registry, "ratchet_in_contact", "1 while the contact lease holds.").Add({});
  Gauge& authority =
      gauges(registry, "ratchet_has_authority", "1 while the authority lease holds.").Add({});
  Family<Gauge>& gpu_total = gauges(registry, "ratchet_gpu_memory_total_bytes", "Memory of a GPU.");
  Family<Gauge>& gpu_used =
      gauges(registry, "ratchet_gpu_memory_used_bytes", "Memory in use on a GPU.");
  Family<Counter>& xids =
      counters(registry, "ratchet_gpu_xid_total", "GPU errors in the kernel log, by Xid.");
  std::map<JobId, JobSeries> jobs;
  std::map<std::int64_t, double> xids_seen;

  JobSeries& series(const JobId& job) {
    const auto found = jobs.find(job);
    if (found != jobs.end()) return found->second;
    const prometheus::Labels labels{{"job_id", job.str()}};
    return jobs
        .emplace(job, JobSeries{&step.Add(labels), &tokens.Add(labels), &allocated.Add(labels),
                                &reserved.Add(labels), &peak.Add(labels)})
        .first->second;
  }
};

AgentMetrics::AgentMetrics() : impl_(std::make_unique<Impl>()) {}
AgentMetrics::~AgentMetrics() = default;

void AgentMetrics::event_seen(const JobId& job, const Event& event) {
  if (const auto* step = std::get_if<StepEvent>(&event.body)) {
    Impl::JobSeries& series = impl_->series(job);
    series.step->Set(static_cast<double>(step->step));
    series.tokens->Increment(static_cast<double>(step->tokens));
    impl_->step_seconds.Observe(step->times.total_ms / 1000);
    if (step->vram) {
      series.allocated->Set(as_double(step->vram->allocated));
      series.reserved->Set(as_double(step->vram->reserved));
      series.peak->Set(as_double(step->vram->peak));
    }
  }
  const auto* saved = std::get_if<CheckpointEvent>(&event.body);
  if (saved != nullptr && !saved->path.empty()) {
    impl_->stall.Observe(static_cast<double>(saved->stall_us) / 1e6);
    impl_->write.Observe(saved->write_ms / 1000);
    impl_->checkpoint_bytes.Set(as_double(saved->size));
  }
}

void AgentMetrics::upload_done(std::chrono::milliseconds took, Bytes sent) {
  impl_->upload.Observe(static_cast<double>(took.count()) / 1000);
  impl_->uploaded_bytes.Increment(as_double(sent));
}

void AgentMetrics::upload_failed() { impl_->upload_failures.Increment(); }

void AgentMetrics::notice_seen(const ReclaimNotice& notice) {
  impl_->notices.Increment();
  if (notice.lead.count() >= 0) {
    impl_->lead.Observe(static_cast<double>(notice.lead.count()) / 1000);
  }
}

void AgentMetrics::trainer_ended() { impl_->ends.Increment(); }
void AgentMetrics::call_failed() { impl_->failed_calls.Increment(); }

void AgentMetrics::job_gone(const JobId& job) {
  const auto found = impl_->jobs.find(job);
  if (found == impl_->jobs.end()) return;
  impl_->step.Remove(found->second.step);
  impl_->tokens.Remove(found->second.tokens);
  impl_->allocated.Remove(found->second.allocated);
  impl_->reserved.Remove(found->second.reserved);
  impl_->peak.Remove(found->second.peak);
  impl_->jobs.erase(found);
}

void AgentMetrics::update(const NodeFigures& figures) {
  impl_->cache.Set(as_double(figures.cache));
  impl_->disk_free.Set(as_double(figures.disk_free));
  impl_->disk_full.Set(figures.disk_full ? 1 : 0);
  impl_->outbox.Set(static_cast<double>(figures.outbox_events));
  impl_->trainers.Set(static_cast<double>(figures.trainers));
  impl_->lease_age.Set(figures.lease_age_s);
  impl_->contact.Set(figures.in_contact ? 1 : 0);
  impl_->authority.Set(figures.has_authority ? 1 : 0);
  std::map<std::int64_t, double> counts;
  for (const GpuFacts& gpu : figures.gpus) {
    const prometheus::Labels labels{{"gpu", gpu.uuid}};
    impl_->gpu_total.Add(labels).Set(as_double(gpu.memory_total));
    impl_->gpu_used.Add(labels).Set(as_double(gpu.memory_used));
    for (const std::int64_t xid : gpu.xids) counts[xid] += 1;
  }
  for (const auto& [xid, count] : counts) {
    double& seen = impl_->xids_seen[xid];
    if (count > seen && count <= kXidsCounted) {
      impl_->xids.Add({{"xid", std::to_string(xid)}}).Increment(count - seen);
      seen = count;
    }
  }
}

std::string AgentMetrics::text() const {
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace ratchet::agent
