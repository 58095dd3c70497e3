#include "trainer/model/peft_folder.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "tests/model/fixtures.h"
#include "tests/support/files.h"

namespace ratchet::trainer {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using ratchet::testing::expect_error;
using ratchet::testing::is_ok;
using ratchet::testing::read_bytes;
using ratchet::testing::TempFolder;
using ratchet::testing::tiny_config;
using ratchet::testing::write_bytes;

// An adapter on q and down of the tiny Llama, rank 3, with counting values.
class PeftFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::vector<TargetModule> targets = {TargetModule::kQ, TargetModule::kDown};
    auto layout = make_lora_layout(base_, {.rank = 3, .alpha = 6.0}, targets);
    ASSERT_TRUE(is_ok(layout));
    layout_ = *layout;
    arena_.assign(static_cast<std::size_t>(layout_.arena.arena_size), 0.0F);
    float value = 0.5F;
    for (const ArenaTensor& tensor : layout_.arena.tensors) {
      for (std::int64_t i = 0; i < tensor.size; ++i) {
        arena_[static_cast<std::size_t>(tensor.offset + i)] = value += 0.25F;
      }
    }
    config_ = adapter_config_for(layout_, "the/base", 0.05);
    ASSERT_TRUE(is_ok(write_peft_folder(temp_.path(), config_, layout_, arena_)));
  }

  Result<PeftFolder> open() { return PeftFolder::open(temp_.path(), base_); }

  // An adapter with magnitudes of 2 whose config says so, or does not.
  std::filesystem::path with_magnitudes(bool told) {
    const auto layout = make_lora_layout(base_, {.rank = 3, .alpha = 6.0, .dora = true},
                                         std::vector<TargetModule>{TargetModule::kDown});
    const std::vector<float> arena(static_cast<std::size_t>(layout->arena.arena_size), 2.0F);
    AdapterConfig config = adapter_config_for(*layout, "the/base", 0.05);
    EXPECT_TRUE(config.dora);
    config.dora = told;
    const auto folder = temp_.path() / (told ? "told" : "untold");
    EXPECT_TRUE(is_ok(write_peft_folder(folder, config, *layout, arena)));
    return folder;
  }

  // Rewrites the weights with other names and dtype.
  void rewrite(const std::function<std::string(std::string)>& rename, DType dtype = DType::kF32) {
    std::vector<TensorSpec> specs;
    for (const ArenaTensor& tensor : layout_.arena.tensors) {
      specs.push_back({rename(tensor.name), dtype, tensor.shape});
    }
    auto writer = SafetensorsWriter::create(temp_.path() / kAdapterWeightsFile, specs);
    ASSERT_TRUE(is_ok(writer));
    for (const ArenaTensor& tensor : layout_.arena.tensors) {
      const auto values = std::span(arena_).subspan(static_cast<std::size_t>(tensor.offset),
                                                    static_cast<std::size_t>(tensor.size));
      std::vector<std::byte> bytes(values.size() * dtype_size(dtype));
      narrow_from_float(dtype, values, bytes);
      ASSERT_TRUE(is_ok(writer->write(*writer->header().find(rename(tensor.name)), bytes)));
    }
    ASSERT_TRUE(is_ok(writer->finish()));
  }

  void edit_config(const std::string& key, Json value) {
    Json config = Json::parse(read_bytes(temp_.path() / kAdapterConfigFile));
    config[key] = std::move(value);
    write_bytes(temp_.path() / kAdapterConfigFile, config.dump());
  }

  std::vector<float> values(const PeftFolder& folder) {
    std::vector<float> arena(arena_.size(), -1.0F);
    EXPECT_TRUE(is_ok(folder.read_into(arena)));
    return arena;
  }

  ModelConfig base_ = tiny_config();
  TempFolder temp_;
  LoraLayout layout_;
  AdapterConfig config_;
  std::vector<float> arena_;
};

TEST_F(PeftFolderTest, WhatIsWrittenIsRead) {
  const auto folder = open();
  ASSERT_TRUE(is_ok(folder));
  EXPECT_EQ(folder->config().target_modules, (std::vector<std::string>{"down_proj", "q_proj"}));
  EXPECT_EQ(folder->config().base_model, "the/base");
  EXPECT_EQ(folder->layout().scaling(), 2.0);
  EXPECT_EQ(folder->layout().arena.arena_size, layout_.arena.arena_size);
  EXPECT_TRUE(folder->notes().empty());
  EXPECT_EQ(values(*folder), arena_);
}

TEST_F(PeftFolderTest, TheFileLooksLikePefts) {
  const auto file = SafetensorsFile::open(temp_.path() / kAdapterWeightsFile);
  ASSERT_TRUE(is_ok(file));
  EXPECT_EQ(file->header().metadata, (std::map<std::string, std::string>{{"format", "pt"}}));
  EXPECT_EQ(file->header().data_start % 8, 0U);
  for (std::size_t i = 1; i < file->header().tensors.size(); ++i) {
    EXPECT_LT(file->header().tensors[i - 1].name, file->header().tensors[i].name);
    EXPECT_EQ(file->header().tensors[i].dtype, DType::kF32);
  }
}

TEST_F(PeftFolderTest, UnambiguousNameVariantsAreReadWithANote) {
  const std::vector<std::pair<const char*, const char*>> prefixes = {
      {"base_model.model.", "'base_model.model.'"}, {"model.", "'model.'"}, {"", "''"}};
  for (const auto& [prefix, part] : prefixes) {
    rewrite([&, prefix = prefix](const std::string& name) {
      return prefix + name.substr(name.find("layers."));
    });
    const auto folder = open();
    ASSERT_TRUE(is_ok(folder));
    ASSERT_EQ(folder->notes().size(), 1U);
    EXPECT_NE(folder->notes()[0].find(part), std::string::npos) << folder->notes()[0];
    EXPECT_EQ(values(*folder), arena_);
  }
  rewrite([](std::string name) { return name.insert(name.rfind(".weight"), ".default"); });
  const auto folder = open();
  ASSERT_TRUE(is_ok(folder));
  ASSERT_EQ(folder->notes().size(), 1U);
  EXPECT_NE(folder->notes()[0].find("'default'"), std::string::npos);
}

TEST_F(PeftFolderTest, MixedNamingIsRefused) {
  rewrite([](const std::string& name) {
    return name.find("layers.1.") == std::string::npos ? name : name.substr(name.find("layers."));
  });
  expect_error(open(), Code::kCorrupt, "named in two ways");
}

TEST_F(PeftFolderTest, LowerPrecisionIsWidened) {
  rewrite([](std::string name) { return name; }, DType::kF16);
  EXPECT_EQ(values(*open()), arena_);  // quarter steps below 256 are exact in F16
}

TEST_F(PeftFolderTest, ForeignTensorsAreRefusedByName) {
  const auto renamed = [&](const std::string& from, const std::string& to) {
    rewrite([&](std::string name) {
      const auto at = name.find(from);
      return at == std::string::npos ? name : name.replace(at, from.size(), to);
    });
    return open();
  };
  expect_error(renamed("model.layers.1.mlp.down_proj.lora_A", "lm_head.lora_A"), Code::kUnsupported,
               "head");
  expect_error(renamed("layers.1.mlp.down_proj", "layers.1.mlp.c_proj"), Code::kCorrupt, "c_proj");
  expect_error(renamed("layers.1.", "layers.01."), Code::kCorrupt, "layers.01.");
  expect_error(renamed("layers.1.", "layers.9."), Code::kInvalidArgument, "Layer 9");
}

TEST_F(PeftFolderTest, MagnitudesGoWithUseDora) {
  expect_error(PeftFolder::open(with_magnitudes(false), base_), Code::kCorrupt,
               "no use_dora, and the file has a lora_magnitude_vector");
  const auto folder = with_magnitudes(true);
  const auto opened = PeftFolder::open(folder, base_);
  ASSERT_TRUE(is_ok(opened));
  EXPECT_TRUE(opened->layout().dora);
  std::vector<float> arena(static_cast<std::size_t>(opened->layout().arena.arena_size));
  ASSERT_TRUE(is_ok(opened->read_into(arena)));
  const ArenaTensor* m = opened->layout().arena.find(
      "base_model.model.model.layers.0.mlp.down_proj.lora_magnitude_vector");
  ASSERT_NE(m, nullptr);
  EXPECT_EQ(m->shape, (std::vector<std::int64_t>{base_.hidden_size}));
  EXPECT_EQ(arena[static_cast<std::size_t>(m->offset)], 2.0F);
  edit_config("use_dora", true);  // the fixture's own file has none
  expect_error(open(), Code::kCorrupt, "the file has no lora_magnitude_vector");
}

TEST_F(PeftFolderTest, ConfigAndFileMustAgree) {
  edit_config("target_modules", {"q_proj"});
  expect_error(open(), Code::kCorrupt, "does not target mlp.down_proj of layer 0");
  edit_config("target_modules", {"q_proj", "down_proj", "v_proj"});
  expect_error(open(), Code::kCorrupt, "targets self_attn.v_proj of layer 0");
  edit_config("target_modules", "all-linear");
  expect_error(open(), Code::kCorrupt, "self_attn.k_proj");
  edit_config("target_modules", {"q_proj", "down_proj", "lm_head"});
  expect_error(open(), Code::kUnsupported, "lm_head");
  edit_config("target_modules", ".*(q|down)_proj");
  const auto folder = open();
  ASSERT_TRUE(is_ok(folder));
  EXPECT_EQ(folder->notes().size(), 1U);
  edit_config("r", 4);
  expect_error(open(), Code::kCorrupt, "[3, 16]; rank 4");
}

TEST_F(PeftFolderTest, EntriesMatchModulePathsBySuffix) {
  edit_config("target_modules",
              {"self_attn.q_proj", "layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"});
  EXPECT_TRUE(is_ok(open()));
  edit_config("target_modules", {"attn.q_proj", "down_proj"});  // no dot before "attn"
  expect_error(open(), Code::kCorrupt, "does not target self_attn.q_proj");
}

TEST_F(PeftFolderTest, AnAdapterOnSomeLayersRoundTrips) {
  const auto layout = make_lora_layout(base_, {.rank = 2, .alpha = 2.0},
                                       std::vector<LoraSite>{{1, TargetModule::kV}});
  ASSERT_TRUE(is_ok(layout));
  std::vector<float> arena(static_cast<std::size_t>(layout->arena.arena_size), 0.5F);
  const AdapterConfig config = adapter_config_for(*layout, "", 0.0);
  EXPECT_EQ(config.target_modules, std::vector<std::string>{"model.layers.1.self_attn.v_proj"});
  ASSERT_TRUE(is_ok(write_peft_folder(temp_.path(), config, *layout, arena)));
  const auto folder = open();
  ASSERT_TRUE(is_ok(folder));
  EXPECT_EQ(folder->layout().adapters.size(), 1U);
}

TEST_F(PeftFolderTest, ADifferentBaseModelIsRefused) {
  std::string other(ratchet::testing::kTinyLlama);
  other.replace(other.find("\"hidden_size\": 16"), 17, "\"hidden_size\": 32");
  expect_error(PeftFolder::open(temp_.path(), tiny_config(other)), Code::kCorrupt, "base model");
}

TEST_F(PeftFolderTest, ValuesThatAreNotFiniteAreRefused) {
  arena_[static_cast<std::size_t>(layout_.arena.tensors[1].offset) + 2] =
      std::numeric_limits<float>::quiet_NaN();
  ASSERT_TRUE(is_ok(write_peft_folder(temp_.path(), config_, layout_, arena_)));
  const auto folder = open();
  ASSERT_TRUE(is_ok(folder));
  std::vector<float> arena(arena_.size());
  expect_error(folder->read_into(arena), Code::kCorrupt, "element 2");
}

TEST_F(PeftFolderTest, MissingFilesAreNamed) {
  fs::remove(temp_.path() / kAdapterWeightsFile);
  expect_error(open(), Code::kNotFound, kAdapterWeightsFile);
  write_bytes(temp_.path() / "adapter_model.bin", "x");
  expect_error(open(), Code::kUnsupported, "pickle");
  fs::remove(temp_.path() / kAdapterConfigFile);
  expect_error(open(), Code::kNotFound, kAdapterConfigFile);
}

}  // namespace
}  // namespace ratchet::trainer
