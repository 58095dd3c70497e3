#pragma once

// A job as the CLI shows it: read from the API's JSON, written as table rows, facts and a live
// line. Pure; any thread.

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "controlplane/cli/table.h"
#include "proto/units.h"

namespace ratchet::control::cli {

struct StepView {
  std::int64_t step = 0;
  std::int64_t total_steps = 0;
  std::optional<double> loss;
  std::optional<double> tokens_per_s;
  std::optional<double> eta_s;
  Bytes vram;  // 0: no GPU
  bool replayed = false;
};

struct StageView {  // of a recovery (SPT-04)
  std::string stage;
  std::string state;  // "pending", "running", "done", "failed"
  UnixMillis began{0};
  UnixMillis ended{0};
};

struct FailureView {
  std::string error_type;
  std::string message;
  std::string next_step;
};

struct CostView {
  double usd = 0;
  double usd_per_hour = 0;
  double training_s = 0;
  double overhead_s = 0;
  double training_usd = 0;
  double overhead_usd = 0;
};

struct JobView {
  std::string id;
  std::string name;
  std::string run_id;
  std::string parent;
  std::string state;  // word that users see
  std::string badge;
  std::string stage;
  std::string node;  // of the current attempt; empty: none
  std::string result_artifact;
  std::string head_artifact;
  std::int64_t head_step = 0;
  std::int64_t epoch = 0;
  std::int64_t attempts = 0;
  std::int64_t step = 0;
  std::int64_t total_steps = 0;
  std::int64_t priority = 0;
  std::int64_t interruptions = 0;
  bool interruption_loop = false;
  CostView cost;
  std::optional<FailureView> failure;
  std::vector<StageView> recovery;  // of the interruption that is being recovered; else empty
  std::optional<StepView> last_step;
  UnixMillis created{0};
  UnixMillis started{0};
  UnixMillis ended{0};
  UnixMillis starts_at{0};
};

JobView read_job(const nlohmann::json& job);
StepView read_step(const nlohmann::json& step);

// "completed", "failed" and "cancelled" (job_state.h): nothing follows them.
bool is_over(const JobView& job);

// "[=====>    ]" is left to the live line: here "45/120 (37 %)".
std::string format_progress(const JobView& job);

std::vector<Column> job_columns();
std::vector<std::string> job_row(const JobView& job, UnixMillis now);
std::string describe_job(const JobView& job, UnixMillis now);

// "detecting 1.2 s, provisioning 3.0 s ..., downloading, restoring, resuming": done ones with
// their time, the one in hand with dots.
std::string format_recovery(const std::vector<StageView>& stages, UnixMillis now);

// "training  [===>   ]  37%  45/120  loss 2.3141  1.2 k tokens/s  10.2 GiB  12 s left  $0.0012",
// the least important parts left out when it is wider than `columns`.
std::string live_line(const JobView& job, std::size_t columns);

// One event of a job as a sentence; empty for those that need no line of their own.
std::string describe_event(const nlohmann::json& event);

}  // namespace ratchet::control::cli
