#include "controlplane/cli/job_view.h"

#include <gtest/gtest.h>

#include "controlplane/cli/format.h"
#include "controlplane/cli/json_values.h"

namespace ratchet::control::cli {
namespace {

constexpr std::int64_t kBegan = 1'763'733'193'000;

Json training_job() {
  return Json::parse(R"({
    "id": "bot-1", "run_id": "bot-1", "name": "bot", "state": "training", "epoch": 2,
    "attempts": 2, "step": 45, "total_steps": 120, "priority": 0, "interruptions": 1,
    "head": {"step": 25, "manifest_sha256": "ab", "artifact_id": "art-1"},
    "cost": {"usd": 0.5, "training_usd": 0.4, "overhead_usd": 0.1, "training_s": 100,
             "overhead_s": 25, "usd_per_hour": 14.4},
    "last_step": {"step": 45, "loss": 2.31412, "tokens_per_s": 1234.5, "eta_s": 12.3,
                  "vram": {"device_used_bytes": 10952166604}},
    "created_at_ms": 1763733193000})");
}

TEST(JobView, ReadsWhatTheApiSays) {
  const JobView job = read_job(training_job());
  EXPECT_EQ(job.id, "bot-1");
  EXPECT_EQ(job.head_artifact, "art-1");
  EXPECT_EQ(job.last_step->step, 45);
  EXPECT_DOUBLE_EQ(*job.last_step->loss, 2.31412);
  EXPECT_DOUBLE_EQ(job.cost.overhead_s, 25);
  EXPECT_FALSE(is_over(job));
}

TEST(JobView, NothingOfAnAnswerIsTakenForGranted) {
  for (const char* text : {"null", "[]", "{}", R"({"id": 7, "cost": [], "head": "x"})",
                           R"({"last_step": {"loss": null}, "recovery": {"stages": [1, null]}})",
                           R"({"step": 1e99, "failure": "text", "created_at_ms": "now"})"}) {
    const JobView job = read_job(Json::parse(text));
    EXPECT_FALSE(describe_job(job, UnixMillis(kBegan)).empty()) << text;
    EXPECT_EQ(job_row(job, UnixMillis(kBegan)).size(), job_columns().size());
    EXPECT_LE(columns_of(live_line(job, 60)), 60U);
  }
}

TEST(JobView, TheLiveLineDropsTheLeastImportantFirst) {
  const JobView job = read_job(training_job());
  const std::string wide = live_line(job, 200);
  for (const char* part : {"training", "[", "37%", "45/120", "loss 2.3141", "1.2 k tokens/s",
                           "VRAM 10.2 GiB", "12 s left", "$0.5000", "1 interruption"}) {
    EXPECT_NE(wide.find(part), std::string::npos) << part << " in " << wide;
  }
  for (std::size_t columns = 1; columns < 140; ++columns) {
    EXPECT_LE(columns_of(live_line(job, columns)), columns);
  }
  EXPECT_EQ(live_line(job, 30), "training   37%  45/120");
}

TEST(JobView, AHundredPercentMeansDone) {
  Json job = training_job();
  job["step"] = 1199;
  job["total_steps"] = 1200;
  EXPECT_EQ(format_progress(read_job(job)), "1199/1200 (99 %)");
  job["step"] = 1200;
  EXPECT_EQ(format_progress(read_job(job)), "1200/1200 (100 %)");
  EXPECT_EQ(format_progress(read_job(Json::object())), "-");
}

TEST(JobView, ARecoveryShowsItsStages) {
  std::vector<StageView> stages{
      {"detecting", "done", UnixMillis(kBegan), UnixMillis(kBegan + 1200)},
      {"provisioning", "running", UnixMillis(kBegan + 1200), UnixMillis(0)},
      {"downloading", "pending", UnixMillis(0), UnixMillis(0)}};
  EXPECT_EQ(format_recovery(stages, UnixMillis(kBegan + 4200)),
            "detecting 1.2 s > provisioning 3.0 s ... > downloading");
  stages[1].state = "failed";
  stages[1].ended = UnixMillis(kBegan + 2200);
  EXPECT_EQ(format_recovery(stages, UnixMillis(kBegan + 9000)),
            "detecting 1.2 s > provisioning 1.0 s failed > downloading");
  // A clock that is behind the server's shows no time below zero.
  EXPECT_EQ(format_recovery({{"detecting", "running", UnixMillis(kBegan), UnixMillis(0)}},
                            UnixMillis(kBegan - 5000)),
            "detecting 0.0 s ...");
}

TEST(JobView, AFailureSaysWhatToDo) {
  Json job = training_job();
  job["state"] = "failed";
  job["failure"] = {{"error_type", "oom_gpu"},
                    {"message", "The GPU's memory ran out."},
                    {"next_step", "Halve training.micro_batch."}};
  const std::string text = describe_job(read_job(job), UnixMillis(kBegan));
  EXPECT_NE(text.find("oom_gpu: The GPU's memory ran out."), std::string::npos);
  EXPECT_NE(text.find("Halve training.micro_batch."), std::string::npos);
}

TEST(Event, BecomesASentence) {
  EXPECT_EQ(
      describe_event(Json::parse(
          R"({"type": "job.recovering", "cause": "node_lost", "step": 45, "attempt_no": 1})")),
      "interrupted, recovering (node_lost), step 45, attempt 1");
  EXPECT_EQ(describe_event(Json::parse(
                R"({"type": "job.recovered", "step": 26, "attempt_no": 2,
                    "data": {"steps_recomputed": 20}})")),
            "recovered: training goes on, step 26, attempt 2, 20 steps replayed");
  EXPECT_EQ(describe_event(Json::parse(R"({"type": "job.of_tomorrow"})")), "job.of_tomorrow");
  EXPECT_EQ(describe_event(Json::parse(R"({"type": "attempt.loading"})")), "");
  const Json long_reason = {{"type", "job.failed"},
                            {"data", {{"message", std::string(9999, 'x')}}}};
  EXPECT_EQ(describe_event(long_reason).size(), 240U);
  EXPECT_EQ(describe_event(Json::parse(R"({"seq": 3})")), "");
  EXPECT_EQ(describe_event(Json()), "");
}

}  // namespace
}  // namespace ratchet::control::cli
