#pragma once

// What the agent measures, in Prometheus' words (prometheus-cpp). Series of a job go when its
// attempt has gone from this node, so that their number stays bounded. Loop thread only.

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proto/events.h"
#include "proto/ids.h"
#include "proto/sync_message.h"
#include "proto/units.h"

namespace ratchet::agent {

struct NodeFigures {
  Bytes cache;
  Bytes disk_free;
  std::uint64_t outbox_events = 0;
  std::size_t trainers = 0;
  double lease_age_s = 0;  // since the control plane last answered
  bool in_contact = false;
  bool has_authority = false;
  bool disk_full = false;
  std::vector<GpuFacts> gpus;
};

class AgentMetrics {
 public:
  AgentMetrics();
  ~AgentMetrics();
  AgentMetrics(const AgentMetrics&) = delete;
  AgentMetrics& operator=(const AgentMetrics&) = delete;

  void event_seen(const JobId& job, const Event& event);
  void upload_done(std::chrono::milliseconds took, Bytes sent);
  void upload_failed();
  void notice_seen(const ReclaimNotice& notice);
  void trainer_ended();
  void call_failed();
  void job_gone(const JobId& job);
  void update(const NodeFigures& figures);

  [[nodiscard]] std::string text() const;  // exposition format

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ratchet::agent
