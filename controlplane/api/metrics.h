#pragma once

// Numbers for Prometheus; names in proto/README.md's sense: ratchet_<noun>_<unit>. Counters live
// here, gauges are read when somebody asks. On the loop's thread.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "controlplane/store/records.h"
#include "proto/job_state.h"

namespace ratchet::control {

struct Context;

class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  void request(std::string_view route, std::string_view method, int status, double seconds);
  void notice(double lead_seconds);
  void delivery(const DeliveryRow& row);  // a try of it
  void recovery(std::string_view phase, double seconds);

  // Numbers that were read from the store, away from the loop.
  struct Stored;
  static Stored read(const Context& context);
  // The text format of all of them.
  std::string text(const Context& context, const Stored& stored);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct Metrics::Stored {
  std::map<JobState, std::int64_t> jobs;
  std::int64_t webhook_backlog = 0;
  bool store_ok = true;
};

}  // namespace ratchet::control
