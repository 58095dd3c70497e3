#include "trainer/model/inspect.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/model/fixtures.h"
#include "tests/support/files.h"
#include "tests/support/shared_inputs.h"
#include "trainer/model/peft_folder.h"

namespace ratchet::trainer {
namespace {

using Json = nlohmann::json;
using ratchet::testing::expect_error;
using ratchet::testing::is_ok;
using ratchet::testing::make_tiny_model;
using ratchet::testing::safetensors_bytes;
using ratchet::testing::TempFolder;
using ratchet::testing::tiny_config;
using ratchet::testing::write_bytes;

void write_adapter(const std::filesystem::path& folder, bool dora = false) {
  const auto layout =
      make_lora_layout(tiny_config(), {.rank = 2, .alpha = 4.0, .dora = dora}, kAllTargetModules);
  ASSERT_TRUE(is_ok(layout));
  const std::vector<float> arena(static_cast<std::size_t>(layout->arena.arena_size), 0.5F);
  ASSERT_TRUE(
      is_ok(write_peft_folder(folder, adapter_config_for(*layout, "base", 0.0), *layout, arena)));
}

TEST(Inspect, TellsAModelFolder) {
  const TempFolder temp;
  make_tiny_model(temp.path(), ratchet::testing::kTinyLlama, 4000);
  const auto inspection = inspect_path(temp.path(), {});
  ASSERT_TRUE(is_ok(inspection));
  EXPECT_EQ(inspection->kind, InspectKind::kModelFolder);
  EXPECT_TRUE(inspection->valid) << inspection->reason;
  EXPECT_EQ(inspection->tensors.size(), 21U);
  EXPECT_GE(inspection->files.size(), 3U);
  ASSERT_TRUE(inspection->files[0].digest.has_value());
  EXPECT_EQ(inspection->files[0].digest->sha256.size(), 64U);
  EXPECT_EQ(inspection->tensor_bytes(),
            4U * static_cast<std::uint64_t>(inspection->parameter_count()));
}

TEST(Inspect, TellsAnAdapterFolder) {
  const TempFolder temp;
  write_adapter(temp.path());
  const auto inspection = inspect_path(temp.path(), {});
  ASSERT_TRUE(is_ok(inspection));
  EXPECT_EQ(inspection->kind, InspectKind::kAdapterFolder);
  EXPECT_TRUE(inspection->valid) << inspection->reason;
  EXPECT_EQ(inspection->tensors.size(), 28U);
}

TEST(Inspect, TellsADoraAdapter) {
  const TempFolder temp;
  write_adapter(temp.path(), true);
  const auto inspection = inspect_path(temp.path(), {});
  ASSERT_TRUE(is_ok(inspection));
  EXPECT_TRUE(inspection->valid) << inspection->reason;
  EXPECT_EQ(inspection->tensors.size(), 42U);
}

TEST(Inspect, BadContentIsAVerdictWithItsReason) {
  const TempFolder temp;
  make_tiny_model(temp.path() / "model");
  std::filesystem::resize_file(temp.path() / "model" / "model.safetensors", 2000);
  auto inspection = inspect_path(temp.path() / "model", {});
  ASSERT_TRUE(is_ok(inspection));
  EXPECT_FALSE(inspection->valid);
  EXPECT_NE(inspection->reason.find("model.safetensors"), std::string::npos);

  write_adapter(temp.path() / "adapter");
  write_bytes(temp.path() / "adapter" / "adapter_config.json",
              R"({"peft_type":"LORA","target_modules":["q_proj"],"r":16})");
  inspection = inspect_path(temp.path() / "adapter", {});
  ASSERT_TRUE(is_ok(inspection));
  EXPECT_FALSE(inspection->valid);
  EXPECT_NE(inspection->reason.find("rank 16"), std::string::npos) << inspection->reason;

  write_bytes(temp.path() / "x.safetensors", safetensors_bytes("{}", "?"));
  inspection = inspect_path(temp.path() / "x.safetensors", {});
  ASSERT_TRUE(is_ok(inspection));
  EXPECT_EQ(inspection->kind, InspectKind::kSafetensors);
  EXPECT_FALSE(inspection->valid);

  std::filesystem::create_directories(temp.path() / "empty");
  inspection = inspect_path(temp.path() / "empty", {});
  ASSERT_TRUE(is_ok(inspection));
  EXPECT_EQ(inspection->kind, InspectKind::kUnknown);
  expect_error(inspect_path(temp.path() / "nothing", {}), Code::kNotFound, "nothing");
}

TEST(Inspect, ACheckpointFolderGoesToItsOwnReader) {
  const TempFolder temp;
  write_adapter(temp.path());
  write_bytes(temp.path() / "MANIFEST.json", "{}");
  InspectOptions options;
  options.checkpoint = [](const std::filesystem::path& path) -> Result<Inspection> {
    Inspection inspection;
    inspection.path = path;
    inspection.kind = InspectKind::kCheckpointFolder;
    return inspection;
  };
  EXPECT_EQ(inspect_path(temp.path(), options)->kind, InspectKind::kCheckpointFolder);
}

TEST(Inspect, TextAndJsonSayTheSame) {
  const TempFolder temp;
  const auto path = temp.path() / "x.safetensors";
  write_bytes(path, safetensors_bytes(
                        R"({"__metadata__":{"format":"pt"},)"
                        R"("a\u001b[31m":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]}})",
                        "1234"));
  const auto inspection = inspect_path(path, {});
  ASSERT_TRUE(is_ok(inspection));
  const std::string text = inspection_text(*inspection);
  EXPECT_EQ(text.find('\x1b'), std::string::npos) << "control characters reach the terminal";
  EXPECT_NE(text.find("BF16"), std::string::npos);
  EXPECT_NE(text.find("[2, 1]"), std::string::npos);
  const Json json = Json::parse(inspection_json(*inspection));
  EXPECT_EQ(json["kind"], "safetensors");
  EXPECT_EQ(json["valid"], true);
  EXPECT_EQ(json["tensors"][0]["shape"], (std::vector<int>{2, 1}));
  EXPECT_EQ(json["tensor_bytes"], 4);
  EXPECT_EQ(json["facts"]["metadata.format"], "pt");
  EXPECT_NE(text.find(json["files"][0]["sha256"].get<std::string>()), std::string::npos);
}

TEST(Inspect, SharedInputsAreValid) {
  RATCHET_NEEDS_SHARED_INPUTS();
  const auto models = ratchet::testing::shared_inputs() / "models";
  EXPECT_TRUE(inspect_path(models / "stories260K-hf", {})->valid);
  EXPECT_TRUE(inspect_path(models / "safetensors-small" / "ref_empty.safetensors", {})->valid);
}

}  // namespace
}  // namespace ratchet::trainer
