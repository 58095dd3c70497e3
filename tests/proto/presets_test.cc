#include "proto/presets.h"

#include <gtest/gtest.h>

namespace ratchet {
namespace {

TEST(Presets, DefaultSpecIsTheBalancedOne) {
  JobSpec spec;
  JobSpec applied;
  const Preset* preset = find_preset("balanced");
  ASSERT_NE(preset, nullptr);
  apply_preset(*preset, applied);
  EXPECT_EQ(spec, applied);
}

TEST(Presets, SeedNumbersStand) {  // TRN-02
  const Preset* low = find_preset("conservative@1");
  const Preset* high = find_preset("aggressive@1");
  ASSERT_NE(low, nullptr);
  ASSERT_NE(high, nullptr);
  EXPECT_EQ(low->rank, 8);
  EXPECT_EQ(low->learning_rate, 2e-4);
  EXPECT_EQ(low->micro_batch, 2);
  EXPECT_EQ(high->rank, 32);
  EXPECT_EQ(high->learning_rate, 3e-4);
  EXPECT_EQ(high->micro_batch, 4);
  EXPECT_EQ(high->data_epochs, 3);
}

TEST(Presets, AreFoundByNameAndVersion) {
  EXPECT_EQ(find_preset("balanced"), find_preset("balanced@1"));
  for (const char* wrong : {"", "@1", "Balanced", "balanced@", "balanced@2", "balanced@1x",
                            "balanced@-1", "balanced@99999999999999999999"}) {
    EXPECT_EQ(find_preset(wrong), nullptr) << wrong;
  }
}

TEST(Presets, EachIsAValidJob) {
  for (const Preset& preset : presets()) {
    JobSpec spec;
    apply_preset(preset, spec);
    spec.name = "job";
    spec.base_model = "model";
    spec.data.train = "train.jsonl";
    const auto findings = check_job_spec(spec);
    EXPECT_TRUE(findings.empty()) << preset.name << "\n" << format_findings(findings);
    EXPECT_EQ(spec.preset.name, preset.name);
    EXPECT_EQ(spec.preset.version, preset.version);
  }
}

}  // namespace
}  // namespace ratchet
