#include "proto/attempt_spec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/support/files.h"

namespace ratchet {
namespace {

using nlohmann::json;
using testing::read_file;

const std::string kAttemptGolden = RATCHET_SOURCE_DIR "/tests/golden/proto/attempt_spec.json";

JobSpec job() {
  JobSpec spec;
  spec.name = "Support Bot, v2!";
  spec.base_model = "../models/tiny";
  spec.data.train = "data/./train.jsonl";
  spec.data.validation = "/abs/held-out.jsonl";
  return spec;
}

AttemptArgs args() {
  return {.base_dir = "/work/jobs",
          .output_dir = "out/",
          .job_id = {},
          .run_id = {},
          .attempt_no = 1,
          .epoch = 0,
          .resume = {},
          .stop_at_step = {}};
}

TEST(AttemptSpec, IsMadeFromAJobAlone) {
  const auto spec = make_attempt_spec(job(), args());
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->job, job());
  EXPECT_EQ(spec->job_id.str(), "support-bot-v2");
  EXPECT_EQ(spec->run_id.str(), "support-bot-v2");
  EXPECT_EQ(spec->epoch, 0);
  EXPECT_EQ(spec->paths.base_model, "/work/models/tiny");
  EXPECT_EQ(spec->paths.train, "/work/jobs/data/train.jsonl");
  EXPECT_EQ(spec->paths.validation, "/abs/held-out.jsonl");
  EXPECT_EQ(spec->paths.chat_template, std::nullopt);
  EXPECT_EQ(spec->output_dir, "/work/jobs/out");
}

TEST(AttemptSpec, RoundTripsAndIsGolden) {
  AttemptArgs with = args();
  with.job_id = JobId("job-7");
  with.run_id = RunId("run-3");
  with.attempt_no = 4;
  with.epoch = 9;
  with.resume = {.mode = ResumeMode::kPath, .path = "out/ckpt/step-00000100"};
  with.stop_at_step = 250;
  const auto spec = make_attempt_spec(job(), with);
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->resume.path, "/work/jobs/out/ckpt/step-00000100");
  const std::string text = encode_attempt_spec(*spec);
  testing::expect_golden(kAttemptGolden, text);
  EXPECT_EQ(decode_attempt_spec(text).value, *spec);
}

TEST(AttemptSpec, BadArgumentsAreRefused) {
  AttemptArgs wrong = args();
  wrong.base_dir = "jobs";
  EXPECT_EQ(make_attempt_spec(job(), wrong).error().code, Code::kInvalidArgument);
  wrong = args();
  wrong.output_dir = "";
  EXPECT_FALSE(make_attempt_spec(job(), wrong));
  wrong = args();
  wrong.job_id = JobId("a/b");
  EXPECT_FALSE(make_attempt_spec(job(), wrong));
  wrong = args();
  wrong.attempt_no = 0;
  EXPECT_FALSE(make_attempt_spec(job(), wrong));
  wrong = args();
  wrong.stop_at_step = 0;
  EXPECT_FALSE(make_attempt_spec(job(), wrong));
  wrong = args();
  wrong.output_dir = "out\xff";
  const auto not_utf8 = make_attempt_spec(job(), wrong);
  ASSERT_FALSE(not_utf8);
  EXPECT_NE(not_utf8.error().message.find("UTF-8"), std::string::npos);
  JobSpec bad = job();
  bad.lora.rank = 0;
  EXPECT_FALSE(make_attempt_spec(bad, args()));
}

TEST(AttemptSpec, TheTwoKindsOfDocumentAreTold) {
  EXPECT_TRUE(is_attempt_spec(read_file(kAttemptGolden)));
  EXPECT_TRUE(is_attempt_spec(R"({"schema":"attempt/2"})"));
  EXPECT_FALSE(is_attempt_spec(encode_job_spec(job())));
  EXPECT_FALSE(is_attempt_spec(R"({"schema":3})"));
  EXPECT_FALSE(is_attempt_spec("[]"));
  EXPECT_FALSE(is_attempt_spec("{"));
}

TEST(AttemptSpec, ToleratesUnknownKeysButNotInTheJob) {
  json document = json::parse(read_file(kAttemptGolden));
  document["from_the_future"] = 1;
  document["paths"]["more"] = 1;
  EXPECT_TRUE(decode_attempt_spec(document.dump()).ok());
  document["job"]["colour"] = "blue";
  const auto decoded = decode_attempt_spec(document.dump());
  ASSERT_EQ(decoded.findings.size(), 1U);
  EXPECT_EQ(decoded.findings[0].path, "$.job.colour");
}

struct Rejection {
  const char* pointer;
  json value;
  const char* path;
};

TEST(AttemptSpec, EveryRejectionPathIsTaken) {
  const std::vector<Rejection> cases{
      {"/schema", "attempt/2", "$.schema"},
      {"/schema", 1, "$.schema"},
      {"/job", 1, "$.job"},
      {"/job/lora/rank", 0, "$.job.lora.rank"},
      {"/job_id", "../x", "$.job_id"},
      {"/run_id", "", "$.run_id"},
      {"/attempt_no", 0, "$.attempt_no"},
      {"/epoch", -1, "$.epoch"},
      {"/paths", json::array(), "$.paths"},
      {"/paths/base_model", "relative", "$.paths.base_model"},
      {"/paths/train", "", "$.paths.train"},
      {"/paths/validation", "relative", "$.paths.validation"},
      {"/paths/chat_template", "/not/in/the/job", "$.paths.chat_template"},
      {"/output_dir", "out", "$.output_dir"},
      {"/resume", "sometimes", "$.resume"},
      {"/resume", true, "$.resume"},
      {"/stop_at_step", 0, "$.stop_at_step"},
  };
  for (const Rejection& entry : cases) {
    json document = json::parse(read_file(kAttemptGolden));
    document[json::json_pointer(entry.pointer)] = entry.value;
    const auto decoded = decode_attempt_spec(document.dump());
    EXPECT_FALSE(decoded.ok()) << entry.pointer;
    const bool found = std::ranges::any_of(
        decoded.findings, [&](const Finding& finding) { return finding.path == entry.path; });
    EXPECT_TRUE(found) << entry.pointer << "\n" << format_findings(decoded.findings);
  }
}

TEST(AttemptSpec, MissingKeysAreAllNamed) {
  const auto decoded = decode_attempt_spec("{}");
  std::vector<std::string> paths;
  for (const auto& finding : decoded.findings) paths.push_back(finding.path);
  EXPECT_EQ(paths, (std::vector<std::string>{"$.schema", "$.job", "$.job_id", "$.run_id", "$.paths",
                                             "$.output_dir"}));
}

TEST(AttemptSpec, IdsComeFromNames) {
  EXPECT_EQ(id_from_name("Support bot, v2"), "support-bot-v2");
  EXPECT_EQ(id_from_name("---"), "job");
  EXPECT_EQ(id_from_name("\xC3\xA4\xC3\xB6"), "job");
  EXPECT_EQ(id_from_name("../../etc"), "etc");
  EXPECT_EQ(id_from_name(std::string(200, 'a')).size(), 64U);
}

}  // namespace
}  // namespace ratchet
