#pragma once

// Lines of trainers as rows of the store. Pure.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "controlplane/store/batch.h"
#include "proto/sync_message.h"

namespace ratchet::control {

// What is shown of a job's newest step without asking the store.
struct LastStep {
  std::int64_t step = 0;
  std::int64_t total_steps = 0;
  double loss = 0;
  double tokens_per_s = 0;
  double eta_s = 0;
  double lr = 0;
  double data_epoch = 0;
  Bytes vram_allocated;
  Bytes vram_peak;
  Bytes vram_used;  // of the device, by all processes
  bool replayed = false;
  UnixMillis time{0};
};

struct Ingested {
  std::vector<MetricRow> metrics;
  std::vector<EvaluationRow> evaluations;
  std::map<JobId, LastStep> last;  // of each job that reported steps
};

// Lines that are no event of a known type give nothing: they are stored as they came all the same.
Ingested ingest_lines(const std::vector<TrainerLine>& lines);

LastStep last_step_of(const MetricRow& row);

}  // namespace ratchet::control
