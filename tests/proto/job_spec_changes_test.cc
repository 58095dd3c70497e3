// What a resume may change: every key of a full spec is changed once, and the verdict is compared
// with the list in proto/README.md.

#include <gtest/gtest.h>

#include <set>

#include "proto/job_spec.h"
#include "tests/support/files.h"

namespace ratchet {
namespace {

JobSpec full() {
  return decode_job_spec(testing::read_file(RATCHET_SOURCE_DIR "/proto/examples/full.json"))
      .value.value();
}

TEST(SpecChanges, EqualSpecsHaveNone) {
  EXPECT_TRUE(locked_changes(full(), full()).empty());
  EXPECT_TRUE(allowed_changes(full(), full()).empty());
}

TEST(SpecChanges, LockedOnesNameOldAndNew) {
  JobSpec now = full();
  now.lora.rank = 16;
  now.data.packing = false;
  now.training.seed = 8;
  now.lora.init_adapter.reset();
  now.lora.target_modules.pop_back();
  const std::vector<SpecChange> expected{
      {"$.data.packing", "true", "false"},
      {"$.lora.init_adapter", "\"adapters/v1\"", "not set"},
      {"$.lora.rank", "32", "16"},
      {"$.lora.target_modules", R"(["q_proj","v_proj"])", R"(["q_proj"])"},
      {"$.training.seed", "7", "8"},
  };
  EXPECT_EQ(locked_changes(full(), now), expected);
  EXPECT_TRUE(allowed_changes(full(), now).empty());
}

TEST(SpecChanges, ResumableOnesAreAllowed) {
  JobSpec now = full();
  now.name = "other";
  now.base_model = "/elsewhere";
  now.data.train = "/elsewhere.jsonl";
  now.data.evaluate_every = 10;
  now.preset = {};
  now.training.micro_batch = 2;
  now.training.max_steps.reset();
  now.training.data_epochs = 2;
  now.training.schedule_end_step = 10;
  now.training.gradient_checkpointing = false;
  now.training.timeout_s = 1;
  now.training.early_stop.reset();
  now.training.loss_plateau.reset();
  now.checkpoint = {.interval_steps = 7, .keep = 1};
  now.devices = {.kind = DeviceKind::kCpu, .count = 1, .deterministic = false};
  now.price_class = PriceClass::kSpot;
  now.budget_usd.reset();
  now.tags.clear();
  now.client = "c";
  now.notes = "n";
  EXPECT_TRUE(locked_changes(full(), now).empty()) << locked_changes(full(), now)[0].path;
  EXPECT_EQ(allowed_changes(full(), now).size(), 25U);
}

TEST(SpecChanges, EverythingThatShapesTheResultIsLocked) {
  const JobSpec before = full();
  JobSpec now = before;
  now.method = Method::kFull;
  std::set<std::string> paths;
  for (const auto& change : locked_changes(before, now)) paths.insert(change.path);
  EXPECT_TRUE(paths.contains("$.method"));
  EXPECT_TRUE(paths.contains("$.lora.rank"));

  now = before;
  now.data.validation_share = 0.1;
  now.data.sequence_length = 64;
  now.data.over_long = OverLong::kDrop;
  now.data.format = DataFormat::kText;
  now.data.chat_template = "x";
  now.lora.alpha = 1;
  now.lora.rslora = true;
  now.lora.dora = false;
  now.quantization = Quantization::kNone;
  now.lora.dropout = 0;
  now.training.learning_rate = 1e-5;
  now.training.schedule = Schedule::kConstant;
  now.training.warmup_steps = 1;
  now.training.global_batch = 64;
  now.training.precision = Precision::kFp32;
  now.training.max_grad_norm = 2;
  now.optimizer = {.kind = OptimizerKind::kAdamW8bit,
                   .beta1 = 0.5,
                   .beta2 = 0.5,
                   .eps = 1e-6,
                   .weight_decay = 0};
  // The two columns count too: they go with the format.
  EXPECT_EQ(locked_changes(before, now).size(), 23U);
  EXPECT_TRUE(allowed_changes(before, now).empty());
}

TEST(SpecChanges, ALongerNameIsNotCoveredByAShorterPath) {
  JobSpec now = full();
  now.training.max_grad_norm = 0.5;  // "$.training.max_steps" and "$.name" must not cover it
  EXPECT_EQ(locked_changes(full(), now).size(), 1U);
}

}  // namespace
}  // namespace ratchet
