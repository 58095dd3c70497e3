#include "proto/job_spec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/support/files.h"

namespace ratchet {
namespace {

using nlohmann::json;
using testing::read_file;

const std::string kExamples = RATCHET_SOURCE_DIR "/proto/examples/";
const std::string kGoldenFolder = RATCHET_SOURCE_DIR "/tests/golden/proto/";

json minimal() { return json::parse(read_file(kExamples + "minimal.json")); }

JobSpec decode(const json& document) {
  auto decoded = decode_job_spec(document.dump());
  EXPECT_TRUE(decoded.ok()) << format_findings(decoded.findings);
  return decoded.value.value_or(JobSpec{});
}

// The minimal example with one key (a JSON pointer) set.
JobSpec decode_with(const std::string& pointer, const json& value) {
  json document = minimal();
  document[json::json_pointer(pointer)] = value;
  return decode(document);
}

TEST(JobSpec, MinimalExampleGetsEveryDefault) {
  const JobSpec spec = decode(minimal());
  EXPECT_EQ(spec.name, "support bot");
  EXPECT_EQ(spec.data.train, "chats.jsonl");
  EXPECT_EQ(spec.preset, PresetRef{});
  JobSpec expected;
  expected.name = spec.name;
  expected.base_model = spec.base_model;
  expected.data.train = spec.data.train;
  EXPECT_EQ(spec, expected);
}

TEST(JobSpec, EncodingIsGolden) {
  testing::expect_golden(kGoldenFolder + "job_spec_minimal.json",
                         encode_job_spec(decode(minimal())));
  const std::string full = read_file(kExamples + "full.json");
  EXPECT_EQ(encode_job_spec(decode(json::parse(full))), full);
}

TEST(JobSpec, FullExampleIsReadFieldByField) {
  const JobSpec spec = decode(json::parse(read_file(kExamples + "full.json")));
  EXPECT_EQ(spec.preset, (PresetRef{"aggressive", 1}));
  EXPECT_EQ(spec.data.format, DataFormat::kPromptCompletion);
  EXPECT_EQ(spec.data.columns.prompt, "question");
  EXPECT_EQ(spec.data.columns.completion, "answer");
  EXPECT_EQ(spec.data.validation_share, 0.05);
  EXPECT_EQ(spec.data.evaluate_every, 50);
  EXPECT_EQ(spec.data.sequence_length, 4096);
  EXPECT_EQ(spec.data.over_long, OverLong::kTruncate);
  EXPECT_EQ(spec.data.chat_template, "templates/chatml.jinja");
  EXPECT_EQ(spec.lora.rank, 32);
  EXPECT_EQ(spec.lora.target_modules, (std::vector<std::string>{"q_proj", "v_proj"}));
  EXPECT_EQ(spec.lora.init_adapter, "adapters/v1");
  EXPECT_TRUE(spec.lora.dora);
  EXPECT_EQ(spec.quantization, Quantization::kNf4);
  EXPECT_EQ(spec.training.schedule, Schedule::kLinear);
  EXPECT_EQ(spec.training.warmup_steps, 20);
  EXPECT_EQ(spec.training.warmup_ratio, std::nullopt);
  EXPECT_EQ(spec.training.max_steps, 2000);
  EXPECT_EQ(spec.training.data_epochs, std::nullopt);
  EXPECT_EQ(spec.training.early_stop, (EarlyStop{5, 0.001}));
  EXPECT_EQ(spec.training.loss_plateau, (LossPlateau{300, 0.002}));
  EXPECT_EQ(spec.optimizer, (OptimizerSpec{OptimizerKind::kAdamW, 0.9, 0.95, 1e-8, 0.01}));
  EXPECT_EQ(spec.checkpoint, (CheckpointSpec{50, 3}));
  EXPECT_EQ(spec.devices, (DevicesSpec{DeviceKind::kCuda, 2, true}));
  EXPECT_EQ(spec.price_class, PriceClass::kOnDemand);
  EXPECT_EQ(spec.budget_usd, 75.5);
  EXPECT_EQ(spec.tags, (std::vector<std::string>{"support", "v2"}));
}

TEST(JobSpec, PresetFillsOnlyWhatIsNotWritten) {
  json document = minimal();
  document["preset"] = "aggressive";
  document["training"]["learning_rate"] = 0.001;
  const JobSpec spec = decode(document);
  EXPECT_EQ(spec.preset, (PresetRef{"aggressive", 1}));
  EXPECT_EQ(spec.lora.rank, 32);
  EXPECT_EQ(spec.lora.alpha, 64);
  EXPECT_EQ(spec.training.learning_rate, 0.001);
}

TEST(JobSpec, AlphaFollowsAWrittenRank) {
  EXPECT_EQ(decode_with("/lora/rank", 5).lora.alpha, 10);
  json document = minimal();
  document["lora"] = {{"rank", 5}, {"alpha", 7}};
  EXPECT_EQ(decode(document).lora.alpha, 7);
}

TEST(JobSpec, LengthAndWarmUpTakeTheWrittenOne) {
  const JobSpec steps = decode_with("/training/max_steps", 10);
  EXPECT_EQ(steps.training.max_steps, 10);
  EXPECT_EQ(steps.training.data_epochs, std::nullopt);
  const JobSpec warm = decode_with("/training/warmup_steps", 0);
  EXPECT_EQ(warm.training.warmup_steps, 0);
  EXPECT_EQ(warm.training.warmup_ratio, std::nullopt);
}

TEST(JobSpec, OneBatchSizeMovesTheOther) {
  const auto sizes = [](const JobSpec& spec) {
    return std::pair(spec.training.micro_batch, spec.training.global_batch);
  };
  EXPECT_EQ(sizes(decode_with("/training/micro_batch", 3)), std::pair(3L, 18L));
  EXPECT_EQ(sizes(decode_with("/training/micro_batch", 32)), std::pair(32L, 32L));
  EXPECT_EQ(sizes(decode_with("/training/global_batch", 2)), std::pair(2L, 2L));
  EXPECT_EQ(sizes(decode_with("/training/global_batch", 9)), std::pair(3L, 9L));
}

TEST(JobSpec, TargetModulesAreCanonical) {
  const auto modules = [](const json& value) {
    return decode_with("/lora/target_modules", value).lora.target_modules;
  };
  EXPECT_EQ(modules("all-linear").size(), 7U);
  EXPECT_EQ(modules({"down_proj", "q_proj"}), (std::vector<std::string>{"q_proj", "down_proj"}));
}

TEST(JobSpec, FullMethodHasNoLora) {
  const JobSpec spec = decode_with("/method", "full");
  EXPECT_EQ(spec.method, Method::kFull);
  EXPECT_FALSE(json::parse(encode_job_spec(spec)).contains("lora"));
  EXPECT_EQ(decode_job_spec(encode_job_spec(spec)).value, spec);
}

struct Rejection {
  const char* pointer;  // where the value is written into the minimal example
  json value;
  const char* path;  // where the finding is
  std::size_t findings = 1;
};

TEST(JobSpec, EveryRejectionPathIsTaken) {
  const json long_text(std::string(70'000, 'x'));
  const std::vector<Rejection> cases{
      {"/name", "", "$.name"},
      {"/name", std::string(129, 'n'), "$.name"},
      {"/name", "a\nb", "$.name"},
      {"/name", 3, "$.name"},
      {"/base_model", "", "$.base_model"},
      {"/base_model", nullptr, "$.base_model"},
      {"/preset", "fast", "$.preset"},
      {"/preset", 1, "$.preset"},
      {"/method", "qlora", "$.method"},
      {"/method", false, "$.method"},
      {"/data", 1, "$.data"},
      {"/data/train", "", "$.data.train"},
      {"/data/format", "csv", "$.data.format"},
      {"/data/columns", {{"prompt", ""}}, "$.data.columns.prompt"},
      {"/data/columns", {{"answer", "a"}}, "$.data.columns.answer"},
      {"/data/validation", 5, "$.data.validation"},
      {"/data/validation_share", 0, "$.data.validation_share"},
      {"/data/validation_share", 0.51, "$.data.validation_share"},
      {"/data/evaluate_every", 10, "$.data.evaluate_every"},
      {"/data/sequence_length", 7, "$.data.sequence_length"},
      {"/data/sequence_length", 1'048'577, "$.data.sequence_length"},
      {"/data/over_long", "cut", "$.data.over_long"},
      {"/data/packing", "yes", "$.data.packing"},
      {"/data/chat_template", "", "$.data.chat_template"},
      {"/lora/rank", 0, "$.lora.rank"},
      {"/lora/rank", 1025, "$.lora.rank"},
      {"/lora/alpha", 0, "$.lora.alpha"},
      {"/lora/alpha", 1.5, "$.lora.alpha"},
      {"/lora/rslora", 1, "$.lora.rslora"},
      {"/lora/dora", "yes", "$.lora.dora"},
      {"/quantization", "int4", "$.quantization"},
      {"/lora/dropout", 1, "$.lora.dropout"},
      {"/lora/dropout", -0.1, "$.lora.dropout"},
      {"/lora/target_modules", json::array(), "$.lora.target_modules"},
      {"/lora/target_modules", {"q_proj", "q_proj"}, "$.lora.target_modules"},
      {"/lora/target_modules", {"c_attn"}, "$.lora.target_modules"},
      {"/lora/target_modules", {1}, "$.lora.target_modules[0]"},
      {"/lora/target_modules", "q_proj", "$.lora.target_modules"},
      {"/lora/init_adapter", "", "$.lora.init_adapter"},
      {"/training/learning_rate", 0, "$.training.learning_rate"},
      {"/training/learning_rate", "1e-4", "$.training.learning_rate"},
      {"/training/schedule", "step", "$.training.schedule"},
      {"/training/warmup_steps", -1, "$.training.warmup_steps"},
      {"/training/warmup_ratio", 1.1, "$.training.warmup_ratio"},
      {"/training/data_epochs", 0, "$.training.data_epochs"},
      {"/training/max_steps", 0, "$.training.max_steps"},
      {"/training/schedule_end_step", 0, "$.training.schedule_end_step"},
      {"/training/micro_batch", 0, "$.training.micro_batch"},
      {"/training/global_batch", 65'537, "$.training.global_batch"},
      {"/training/precision", "fp16", "$.training.precision"},
      {"/training/gradient_checkpointing", "on", "$.training.gradient_checkpointing"},
      {"/training/max_grad_norm", -1, "$.training.max_grad_norm"},
      {"/training/seed", -1, "$.training.seed"},
      {"/training/seed", 9'007'199'254'740'992, "$.training.seed"},
      {"/training/timeout_s", -1, "$.training.timeout_s"},
      {"/training/early_stop", json::object(), "$.training.early_stop"},
      {"/training/early_stop", {{"patience", 0}}, "$.training.early_stop.patience", 2},
      {"/training/early_stop", {{"min_delta", -1}}, "$.training.early_stop.min_delta", 2},
      {"/training/loss_plateau", {{"window_steps", 1}}, "$.training.loss_plateau.window_steps"},
      {"/training/loss_plateau", {{"min_delta", 101}}, "$.training.loss_plateau.min_delta"},
      {"/optimizer", {{"beta1", 1}}, "$.optimizer.beta1"},
      {"/optimizer", {{"kind", "sgd"}}, "$.optimizer.kind"},
      {"/optimizer", {{"beta2", -0.1}}, "$.optimizer.beta2"},
      {"/optimizer", {{"eps", 0}}, "$.optimizer.eps"},
      {"/optimizer", {{"weight_decay", 2}}, "$.optimizer.weight_decay"},
      {"/optimizer", {{"name", "sgd"}}, "$.optimizer.name"},
      {"/checkpoint", {{"interval_steps", 0}}, "$.checkpoint.interval_steps"},
      {"/checkpoint", {{"keep", 0}}, "$.checkpoint.keep"},
      {"/devices", {{"kind", "gpu"}}, "$.devices.kind"},
      {"/devices", {{"count", 0}}, "$.devices.count"},
      {"/devices", {{"count", 3}}, "$.devices.count"},
      {"/devices", {{"deterministic", 0}}, "$.devices.deterministic"},
      {"/price_class", "cheap", "$.price_class"},
      {"/budget_usd", 0, "$.budget_usd"},
      {"/tags", "one", "$.tags"},
      {"/tags", {"", "ok"}, "$.tags[0]"},
      {"/tags", std::vector<std::string>(65, "t"), "$.tags"},
      {"/client", std::string(257, 'c'), "$.client"},
      {"/notes", long_text, "$.notes"},
      {"/colour", "blue", "$.colour"},
  };
  for (const Rejection& entry : cases) {
    json document = minimal();
    document[json::json_pointer(entry.pointer)] = entry.value;
    const auto decoded = decode_job_spec(document.dump());
    EXPECT_FALSE(decoded.ok()) << entry.pointer << " = " << entry.value;
    const bool found = std::ranges::any_of(
        decoded.findings, [&](const Finding& finding) { return finding.path == entry.path; });
    EXPECT_TRUE(found) << entry.pointer << " = " << entry.value << "\n"
                       << format_findings(decoded.findings);
    EXPECT_EQ(decoded.findings.size(), entry.findings) << format_findings(decoded.findings);
  }
}

TEST(JobSpec, MissingKeysAreNamed) {
  const auto decoded = decode_job_spec("{}");
  ASSERT_EQ(decoded.findings.size(), 3U);
  EXPECT_EQ(decoded.findings[0].path, "$.name");
  EXPECT_EQ(decoded.findings[1].path, "$.base_model");
  EXPECT_EQ(decoded.findings[2].path, "$.data");
  EXPECT_EQ(decode_job_spec("[]").findings.size(), 1U);
  EXPECT_EQ(decode_job_spec("{").findings.size(), 1U);
}

TEST(JobSpec, AllFindingsComeAtOnce) {
  const char* text = R"({"nam":1,"data":{"trian":2,"train":"a","format":"chats",
    "validation":"x","validation_share":0.9},"lora":{"r":8,"rank":0},"lr":1,
    "training":{"micro_batch":3,"global_batch":8,"warmup_steps":9,"warmup_ratio":0.1,
    "max_steps":4,"data_epochs":1},"preset":"balanced@2"})";
  const auto decoded = decode_job_spec(text);
  EXPECT_FALSE(decoded.ok());
  const std::vector<std::pair<std::string, std::string>> expected{
      {"$.name", "is missing"},
      {"$.base_model", "is missing"},
      {"$.preset", "conservative@1, balanced@1, aggressive@1"},
      {"$.data.format", "did you mean \"chat\"?"},
      {"$.data.validation_share", "cannot be written together with $.data.validation"},
      {"$.data.validation_share", "above 0 and at most 0.5"},
      {"$.data.trian", "did you mean \"train\"?"},
      {"$.lora.rank", "an integer from 1 to 1024"},
      {"$.lora.r", "did you mean \"lora.rank\"?"},
      {"$.training.warmup_ratio", "cannot be written together"},
      {"$.training.max_steps", "cannot be written together"},
      {"$.training.warmup_steps", "must not be more than the schedule's 4 steps"},
      {"$.training.micro_batch", "must divide global_batch, which is 8"},
      {"$.lr", "did you mean \"training.learning_rate\"?"},
      {"$.nam", "did you mean \"name\"?"},
  };
  ASSERT_EQ(decoded.findings.size(), expected.size()) << format_findings(decoded.findings);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(decoded.findings[i].path, expected[i].first);
    EXPECT_NE(decoded.findings[i].message.find(expected[i].second), std::string::npos)
        << decoded.findings[i].message;
  }
}

TEST(JobSpec, CheckFindsWhatJsonCannotSay) {
  JobSpec spec = decode(minimal());
  EXPECT_TRUE(check_job_spec(spec).empty());
  JobSpec wrong = spec;
  wrong.lora.rank = 0;
  EXPECT_EQ(check_job_spec(wrong).size(), 1U);
  wrong = spec;
  wrong.training.max_steps = 5;  // besides data_epochs
  EXPECT_FALSE(check_job_spec(wrong).empty());
  wrong = spec;
  wrong.training.data_epochs.reset();  // neither
  EXPECT_FALSE(check_job_spec(wrong).empty());
  wrong = spec;
  wrong.training.warmup_ratio.reset();
  EXPECT_FALSE(check_job_spec(wrong).empty());
  wrong = spec;
  wrong.training.learning_rate = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(check_job_spec(wrong).empty());
  wrong = spec;
  wrong.lora.target_modules = {"down_proj", "q_proj"};  // not in canonical order
  EXPECT_FALSE(check_job_spec(wrong).empty());
}

}  // namespace
}  // namespace ratchet
