#include "controlplane/cli/spec_source.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "controlplane/cli/json_values.h"

namespace ratchet::control::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSpec =
    R"({"name": "a", "base_model": "model", "data": {"train": "x.jsonl"},
        "training": {"data_epochs": 3}})";

TEST(Overlay, FlagsLieOverTheFile) {
  const auto text = overlay(kSpec, {{"lora.rank", "64"},
                                    {"name", "7"},
                                    {"data.train", "/abs/y.jsonl"},
                                    {"training.max_steps", "10"},
                                    {"tags", R"(["x"])"},
                                    {"client", "acme"}});
  ASSERT_TRUE(text);
  const Json spec = Json::parse(*text);
  EXPECT_EQ(spec["lora"]["rank"], 64);
  EXPECT_EQ(spec["name"], "7") << "a name stays a text";
  EXPECT_EQ(spec["data"]["train"], "/abs/y.jsonl");
  EXPECT_EQ(spec["training"], Json::parse(R"({"max_steps": 10})"));
  EXPECT_EQ(spec["tags"][0], "x");
  EXPECT_EQ(spec["client"], "acme");
  EXPECT_EQ(spec["base_model"], "model");
}

TEST(Overlay, NothingToLayLeavesTheTextAsItIs) {
  EXPECT_EQ(*overlay("not json", {}), "not json");
  EXPECT_EQ(*overlay("not json", {{"name", "x"}}), "not json");
}

TEST(Overlay, AKeyWithoutAPlaceIsNamed) {
  for (const char* key : {"name.x", "", ".a", "a.", "a..b", "a.b.c.d.e.f.g.h.i"}) {
    EXPECT_FALSE(overlay(kSpec, {{key, "1"}})) << key;
  }
}

class LoadSpec : public testing::Test {
 protected:
  LoadSpec() : folder_(fs::path(testing::TempDir()) / ("spec-" + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
    std::ofstream(folder_ / "job.json") << kSpec;
  }
  ~LoadSpec() override { fs::remove_all(folder_); }
  fs::path folder_;
};

TEST_F(LoadSpec, PathsOfTheFileAndOfTheCommandLineHaveTheirOwnFolders) {
  SpecFlags flags;
  flags.file = (folder_ / "job.json").string();
  flags.settings = {{"data.train", "y.jsonl"}};
  flags.set = {"lora.dropout=0", "training.schedule=linear"};
  const auto loaded = load_spec(flags);
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_TRUE(loaded->decoded.ok());
  EXPECT_EQ(loaded->folder, folder_.string());
  const auto inputs = spec_inputs(*loaded->decoded.value);
  EXPECT_EQ(inputs.at("base_model"), "model");
  EXPECT_EQ(inputs.at("train"), (fs::current_path() / "y.jsonl").string());
  EXPECT_EQ(inputs.size(), 2U);
  EXPECT_EQ(loaded->decoded.value->training.schedule, Schedule::kLinear);
  EXPECT_DOUBLE_EQ(loaded->decoded.value->lora.dropout, 0);
}

TEST_F(LoadSpec, FlagsAloneMakeAJob) {
  SpecFlags flags;
  flags.settings = {{"name", "bot"}, {"base_model", "/m"}, {"data.train", "/d"}};
  const auto loaded = load_spec(flags);
  ASSERT_TRUE(loaded);
  EXPECT_TRUE(loaded->decoded.ok());
  EXPECT_FALSE(load_spec({}));
  flags.set = {"nothing"};
  EXPECT_FALSE(load_spec(flags));
}

TEST_F(LoadSpec, EveryFaultIsFoundAtOnce) {
  SpecFlags flags;
  flags.file = (folder_ / "job.json").string();
  flags.set = {"lora.rnk=8", "training.learning_rate=-1", "preset=bold"};
  const auto loaded = load_spec(flags);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->decoded.findings.size(), 3U);
}

}  // namespace
}  // namespace ratchet::control::cli
