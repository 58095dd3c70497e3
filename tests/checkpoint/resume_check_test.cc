#include "trainer/checkpoint/resume_check.h"

#include <gtest/gtest.h>

#include "tests/checkpoint/small_job.h"

namespace ratchet::trainer {
namespace {

TEST(ResumeClass, TheSameFingerprintIsBitExact) {
  const EnvFingerprint env = SmallJob().header().env;
  const Exactness result = classify_resume(env, env);
  EXPECT_EQ(result.cls, ResumeClass::kBitExact);
  EXPECT_TRUE(result.reasons.empty());
}

struct Change {
  const char* name;
  ResumeClass cls;
  void (*apply)(EnvFingerprint&);
};

class ResumeClassChange : public testing::TestWithParam<Change> {};

TEST_P(ResumeClassChange, HasItsClassAndOneReason) {
  const EnvFingerprint saved = SmallJob().header().env;
  EnvFingerprint now = saved;
  GetParam().apply(now);
  for (const auto& [a, b] : {std::pair(saved, now), std::pair(now, saved)}) {
    const Exactness result = classify_resume(a, b);
    EXPECT_EQ(result.cls, GetParam().cls);
    ASSERT_EQ(result.reasons.size(), 1U);
    EXPECT_TRUE(result.reasons[0].ends_with('.')) << result.reasons[0];
  }
}

constexpr ResumeClass kB = ResumeClass::kSameData;
constexpr ResumeClass kC = ResumeClass::kDegraded;

// One for each field of EnvFingerprint.
const Change kChanges[] = {
    {"TrainerBuild", kC, [](EnvFingerprint& e) { e.trainer_build = "x"; }},
    {"CpuIsa", kB, [](EnvFingerprint& e) { e.cpu_isa = "avx512"; }},
    {"Threads", kB, [](EnvFingerprint& e) { e.threads = 9; }},
    {"Device", kB, [](EnvFingerprint& e) { e.device = "cuda"; }},
    {"GpuName", kB, [](EnvFingerprint& e) { e.gpu_name = "H100"; }},
    {"SmCount", kB, [](EnvFingerprint& e) { e.sm_count = 132; }},
    {"Driver", kB, [](EnvFingerprint& e) { e.driver = "570"; }},
    {"Cuda", kB, [](EnvFingerprint& e) { e.cuda = "13.0"; }},
    {"Cublas", kB, [](EnvFingerprint& e) { e.cublas = "13.0"; }},
    {"Cudnn", kB, [](EnvFingerprint& e) { e.cudnn = "9"; }},
    {"Libtorch", kB, [](EnvFingerprint& e) { e.libtorch = "2.11"; }},
    {"Attention", kB, [](EnvFingerprint& e) { e.attention = "flash"; }},
    {"Flags", kC, [](EnvFingerprint& e) { e.flags = {"bf16"}; }},
    {"Deterministic", kB, [](EnvFingerprint& e) { e.deterministic = false; }},
    {"WorldSize", kB, [](EnvFingerprint& e) { e.world_size = 2; }},
    {"MicroBatch", kB, [](EnvFingerprint& e) { e.micro_batch = 2; }},
};
INSTANTIATE_TEST_SUITE_P(Fields, ResumeClassChange, testing::ValuesIn(kChanges),
                         [](const auto& change) { return std::string(change.param.name); });

TEST(ResumeClass, WithoutDeterministicModeEvenTheSameMachineIsNotExact) {
  EnvFingerprint env = SmallJob().header().env;
  env.deterministic = false;
  EXPECT_EQ(classify_resume(env, env).cls, ResumeClass::kSameData);
}

TEST(ResumeClass, AChainIsAsExactAsItsWorstResume) {
  const Exactness a, b{ResumeClass::kSameData, {"Threads."}}, c{ResumeClass::kDegraded, {"Build."}};
  EXPECT_EQ(combine(a, a), a);
  EXPECT_EQ(combine(a, b), b);
  EXPECT_EQ(combine(b, a), b);
  EXPECT_EQ(combine(b, b), b);
  EXPECT_EQ(combine(b, c), (Exactness{ResumeClass::kDegraded, {"Threads.", "Build."}}));
}

TEST(Identity, EveryChangedInputIsNamed) {
  const SmallJob job;
  const Identity saved = job.header().identity;
  const std::string recipe = job.expectations().recipe;
  EXPECT_TRUE(check_identity(saved, recipe, saved, recipe));
  const struct {
    std::string Identity::* field;
    const char* word;
  } cases[] = {{&Identity::base_model, "the base model"},
               {&Identity::tokenizer, "the tokenizer"},
               {&Identity::dataset, "the training data"},
               {&Identity::chat_template, "the chat template"}};
  for (const auto& c : cases) {
    Identity now = saved;
    now.*c.field = std::string(64, 'e');
    auto status = check_identity(saved, recipe, now, recipe);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Code::kFailedPrecondition);
    EXPECT_NE(status.error().message.find(c.word), std::string::npos);
    EXPECT_NE(status.error().message.find("These may change"), std::string::npos);
  }
}

TEST(Identity, LockedSettingsAreNamedAndFreeOnesPass) {
  const SmallJob job;
  const Identity id = job.header().identity;
  const std::string before = job.expectations().recipe;
  const auto with = [&](void (*edit)(JobSpec&)) {
    JobSpec spec = *decode_job_spec(before).value;
    edit(spec);
    return encode_job_spec(spec);
  };
  EXPECT_TRUE(check_identity(id, before, id, with([](JobSpec& s) { s.training.micro_batch = 2; })));
  EXPECT_TRUE(check_identity(id, before, id, with([](JobSpec& s) { s.training.data_epochs = 9; })));
  EXPECT_TRUE(check_identity(id, before, id, with([](JobSpec& s) { s.devices.count = 2; })));
  const auto status = check_identity(id, before, id, with([](JobSpec& s) {
                                       s.training.seed = 7;
                                       s.lora.dropout = 0.5;
                                     }));
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("$.training.seed (was 42, is 7)"), std::string::npos);
  EXPECT_NE(status.error().message.find("$.lora.dropout"), std::string::npos);
}

TEST(Identity, SettingsThatCannotBeReadAreNotTakenForEqual) {
  const Identity id;
  const std::string good = SmallJob().expectations().recipe;
  EXPECT_FALSE(check_identity(id, "{}", id, good));
  EXPECT_FALSE(check_identity(id, good, id, ""));
  EXPECT_TRUE(check_identity(id, "same", id, "same"));
}

}  // namespace
}  // namespace ratchet::trainer
