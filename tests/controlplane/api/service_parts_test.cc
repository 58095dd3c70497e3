#include <gtest/gtest.h>

#include "controlplane/service/ingest.h"
#include "controlplane/service/inputs.h"
#include "controlplane/service/log_files.h"
#include "controlplane/service/secrets.h"
#include "proto/events.h"
#include "tests/support/files.h"

namespace ratchet::control {
namespace {

TEST(LogFiles, AppendOnlyAtTheEndAndWithinTheBound) {
  const testing::TempFolder folder;
  LogFiles logs(folder.path(), 10);
  const JobId job("job-1");
  EXPECT_EQ(logs.append(job, 1, 0, "hello ").value(), 6);
  EXPECT_EQ(logs.append(job, 1, 0, "again").error().code, Code::kFailedPrecondition);
  EXPECT_EQ(logs.append(job, 1, 6, "12345").error().code, Code::kInvalidArgument);
  EXPECT_EQ(logs.append(job, 1, 6, "you").value(), 9);
  EXPECT_EQ(logs.read(job, 1, 6, 100)->text, "you");
  EXPECT_EQ(logs.read(job, 1, -1, 2)->text, "ou");
  EXPECT_EQ(logs.read(job, 1, 100, 2)->text, "");
  EXPECT_EQ(logs.read(job, 2, 0, 100)->size, 0);
  EXPECT_EQ(logs.jobs(), std::vector<JobId>{job});
  logs.remove(job);
  EXPECT_EQ(logs.size(job, 1), 0);
}

TEST(Ingest, StepsBecomeMetricsAndTheNewestIsShown) {
  std::vector<TrainerLine> lines;
  for (const std::int64_t step : {4, 5}) {
    Event event;
    event.header.seq = static_cast<std::uint64_t>(step);
    event.header.job_id = JobId("job-1");
    StepEvent body;
    body.step = step;
    body.total_steps = 10;
    body.loss = 0.1 * static_cast<double>(step);
    event.body = body;
    lines.push_back({JobId("job-1"), 2, 3, event.header.seq, encode_event(event)});
  }
  lines.push_back({JobId("job-1"), 2, 3, 6, "no event"});
  const auto ingested = ingest_lines(lines);
  ASSERT_EQ(ingested.metrics.size(), 2U);
  EXPECT_EQ(ingested.metrics[1].attempt_no, 2);
  EXPECT_EQ(ingested.metrics[1].loss_bits, double_bits(0.5));
  EXPECT_EQ(ingested.last.at(JobId("job-1")).step, 5);
}

TEST(Inputs, SpecSaysWhichAreNeeded) {
  JobSpec spec;
  spec.base_model = "/models/base";
  spec.data.train = "train.jsonl";
  JobInputs inputs;
  EXPECT_EQ(compare_inputs(spec, inputs).size(), 2U);
  fill_from_node_paths(spec, inputs);
  EXPECT_EQ(inputs.base_model.node_path, "/models/base");
  EXPECT_EQ(compare_inputs(spec, inputs).size(), 1U) << "a relative path means nothing on a node";
  inputs.train.artifact_id = "art_1";
  inputs.validation = InputRef{.artifact_id = "art_2", .node_path = ""};
  const auto findings = compare_inputs(spec, inputs);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].path, "$.inputs.validation");
  EXPECT_EQ(input_artifacts(inputs), (std::vector<std::string>{"art_1", "art_2"}));
}

TEST(Secrets, IdsSortByTimeAndTokensAreLong) {
  const auto first = new_id("job");
  const auto second = new_id("job");
  EXPECT_LE(first.substr(0, 16), second.substr(0, 16));
  EXPECT_NE(first, second);
  EXPECT_GE(new_token("user").size(), 48U);
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

}  // namespace
}  // namespace ratchet::control
