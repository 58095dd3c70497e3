#include "trainer/model/hf_folder.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/model/fixtures.h"
#include "tests/support/files.h"
#include "tests/support/shared_inputs.h"
#include "trainer/model/shard_index.h"

namespace ratchet::trainer {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using ratchet::testing::expect_error;
using ratchet::testing::is_ok;
using ratchet::testing::kTinyLlama;
using ratchet::testing::kTinyTiedQwen2;
using ratchet::testing::make_tiny_model;
using ratchet::testing::read_bytes;
using ratchet::testing::TempFolder;
using ratchet::testing::tiny_config;
using ratchet::testing::write_bytes;

std::vector<float> values_of(const HfFolder& folder, const FolderTensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.stored->element_count()));
  EXPECT_TRUE(is_ok(folder.read_tensor_as_float(tensor, values)));
  return values;
}

// Writes model.safetensors with the tensors of `config`, changed by `edit`.
void write_edited(const fs::path& folder, std::string_view json,
                  const std::function<void(std::vector<TensorSpec>&)>& edit) {
  write_bytes(folder / "config.json", json);
  std::vector<TensorSpec> specs;
  for (const ModelTensor& tensor : model_tensors(tiny_config(json))) {
    specs.push_back({tensor.name, DType::kBF16, tensor.shape});
  }
  edit(specs);
  auto writer = SafetensorsWriter::create(folder / "model.safetensors", specs);
  ASSERT_TRUE(is_ok(writer));
  ASSERT_TRUE(is_ok(writer->finish()));
}

TEST(HfFolder, OpensOneFile) {
  const TempFolder temp;
  make_tiny_model(temp.path());
  const auto folder = HfFolder::open(temp.path());
  ASSERT_TRUE(is_ok(folder));
  EXPECT_EQ(folder->shards().size(), 1U);
  EXPECT_EQ(folder->tensors().size(), model_tensors(folder->config()).size());
  EXPECT_EQ(folder->main_dtype(), DType::kF32);
  EXPECT_EQ(folder->weight_bytes(),
            4U * static_cast<std::uint64_t>(parameter_count(folder->config())));
  EXPECT_EQ(folder->stop_token_ids(), (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(folder->find("nothing"), nullptr);
  const FolderTensor* norm = folder->find("model.norm.weight");
  ASSERT_NE(norm, nullptr);
  EXPECT_EQ(values_of(*folder, *norm), std::vector<float>(16, 1.0F));
}

TEST(HfFolder, ShardsHoldTheSameModelAsOneFile) {
  const TempFolder temp;
  make_tiny_model(temp.path() / "one");
  make_tiny_model(temp.path() / "many", kTinyLlama, 4000);
  const auto one = HfFolder::open(temp.path() / "one");
  const auto many = HfFolder::open(temp.path() / "many");
  ASSERT_TRUE(is_ok(one));
  ASSERT_TRUE(is_ok(many));
  EXPECT_GE(many->shards().size(), 3U);
  EXPECT_TRUE(many->notes().empty()) << many->notes()[0];
  for (const FolderTensor& tensor : one->tensors()) {
    EXPECT_EQ(values_of(*one, tensor), values_of(*many, *many->find(tensor.tensor.name)));
  }
  const auto digests = many->digest_shards();
  ASSERT_TRUE(is_ok(digests));
  ASSERT_EQ(digests->size(), many->shards().size());
  EXPECT_EQ((*digests)[0].file, many->shards()[0].path().filename());
}

TEST(HfFolder, GenerationConfigSaysWhatEndsAText) {
  const TempFolder temp;
  make_tiny_model(temp.path());
  write_bytes(temp.path() / "generation_config.json", R"({"eos_token_id":[9]})");
  EXPECT_EQ(HfFolder::open(temp.path())->stop_token_ids(), std::vector<std::int64_t>{9});
  write_bytes(temp.path() / "generation_config.json", "{");
  expect_error(HfFolder::open(temp.path()), Code::kInvalidArgument, "generation_config.json");
}

TEST(HfFolder, WrongTensorsAreNamed) {
  const TempFolder temp;
  const auto opened = [&](const std::function<void(std::vector<TensorSpec>&)>& edit) {
    write_edited(temp.path(), kTinyLlama, edit);
    return HfFolder::open(temp.path());
  };
  EXPECT_TRUE(is_ok(opened([](auto&) {})));
  expect_error(opened([](auto& specs) { specs.pop_back(); }), Code::kCorrupt, "lm_head.weight");
  expect_error(opened([](auto& specs) { specs.push_back({"model.extra", DType::kF32, {1}}); }),
               Code::kCorrupt, "model.extra");
  expect_error(opened([](auto& specs) { specs[0].shape = {16, 32}; }), Code::kCorrupt,
               "'model.embed_tokens.weight' has the shape [16, 32]; config.json implies [32, 16]");
  expect_error(opened([](auto& specs) { specs[0].dtype = DType::kF64; }), Code::kUnsupported,
               "stored as F64");
  expect_error(opened([](auto& specs) {
                 for (TensorSpec& spec : specs) spec.name = "transformer." + spec.name;
               }),
               Code::kCorrupt, "21 of the tensors");
  EXPECT_TRUE(is_ok(opened([](auto& specs) {
    specs.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", DType::kF32, {2}});
  })));
}

TEST(HfFolder, QwenBiasesAreExpectedWithoutAKey) {
  const TempFolder temp;
  write_edited(temp.path(), kTinyTiedQwen2, [](auto& specs) {
    std::erase_if(specs, [](const TensorSpec& spec) {
      return spec.name == "model.layers.1.self_attn.v_proj.bias";
    });
  });
  expect_error(HfFolder::open(temp.path()), Code::kCorrupt, "model.layers.1.self_attn.v_proj.bias");
}

TEST(HfFolder, TiedHeadMayBeStoredWhenItIsTheEmbedding) {
  const TempFolder temp;
  write_edited(temp.path(), kTinyTiedQwen2,
               [](auto& specs) { specs.push_back({"lm_head.weight", DType::kBF16, {32, 16}}); });
  auto folder = HfFolder::open(temp.path());
  ASSERT_TRUE(is_ok(folder));
  EXPECT_EQ(folder->notes().size(), 1U);
  EXPECT_EQ(folder->find("lm_head.weight"), nullptr);
  EXPECT_TRUE(is_ok(folder->check_tied_head()));  // both are zeros

  const StoredTensor& head = *folder->shards()[0].header().find("lm_head.weight");
  std::string bytes = read_bytes(temp.path() / "model.safetensors");
  bytes[folder->shards()[0].header().data_start + head.begin + 11] = 1;
  write_bytes(temp.path() / "model.safetensors", bytes);
  folder = HfFolder::open(temp.path());
  ASSERT_TRUE(is_ok(folder));
  expect_error(folder->check_tied_head(), Code::kInvalidArgument, "tie_word_embeddings");
}

TEST(HfFolder, FoldersWithoutReadableWeightsSayWhatToDo) {
  const TempFolder temp;
  expect_error(HfFolder::open(temp.path()), Code::kNotFound, "config.json");
  write_bytes(temp.path() / "config.json", kTinyLlama);
  expect_error(HfFolder::open(temp.path()), Code::kNotFound, "neither model.safetensors");
  write_bytes(temp.path() / "pytorch_model.bin", "x");
  expect_error(HfFolder::open(temp.path()), Code::kUnsupported, "pickle");
}

// A sharded folder whose index is edited before it is opened.
class ShardIndexTest : public ::testing::Test {
 protected:
  void SetUp() override {
    make_tiny_model(temp_.path(), kTinyLlama, 4000);
    index_ = Json::parse(read_bytes(temp_.path() / kShardIndexFile));
  }

  Result<HfFolder> open() {
    write_bytes(temp_.path() / kShardIndexFile, index_.dump());
    return HfFolder::open(temp_.path());
  }

  TempFolder temp_;
  Json index_;
};

TEST_F(ShardIndexTest, NamesThatLeaveTheFolderAreRefused) {
  for (const char* name : {"../model-00001-of-00004.safetensors", "/etc/passwd",
                           "/tmp/x.safetensors", "a/b.safetensors", "..", "", ".hidden.safetensors",
                           "model.bin", "a\\b.safetensors", "a\nb.safetensors"}) {
    index_["weight_map"]["model.norm.weight"] = name;
    expect_error(open(), Code::kInvalidArgument, "plain name");
  }
  index_["weight_map"]["model.norm.weight"] = 7;
  expect_error(open(), Code::kInvalidArgument, "plain name");
}

TEST_F(ShardIndexTest, TheMapMustSayWhereTensorsAre) {
  const std::string norm = index_["weight_map"]["model.norm.weight"];
  const std::string embedding = index_["weight_map"]["model.embed_tokens.weight"];
  ASSERT_NE(norm, embedding);
  index_["weight_map"]["model.norm.weight"] = embedding;
  expect_error(open(), Code::kCorrupt, "'model.norm.weight'");
  index_["weight_map"].erase("model.norm.weight");
  expect_error(open(), Code::kCorrupt, "does not list");
  index_["weight_map"]["model.norm.weight"] = norm;
  index_["weight_map"]["model.ghost"] = norm;
  expect_error(open(), Code::kCorrupt, "'model.ghost'");
  index_["weight_map"].erase("model.ghost");
  EXPECT_TRUE(is_ok(open()));
}

TEST_F(ShardIndexTest, AMissingShardIsNamed) {
  fs::remove(temp_.path() / index_["weight_map"]["model.norm.weight"].get<std::string>());
  expect_error(open(), Code::kNotFound,
               index_["weight_map"]["model.norm.weight"].get<std::string>());
}

TEST_F(ShardIndexTest, ATensorInTwoShardsIsNamed) {
  const fs::path shard = temp_.path() / "extra.safetensors";
  auto writer = SafetensorsWriter::create(shard, {{"model.norm.weight", DType::kF32, {16}}});
  ASSERT_TRUE(is_ok(writer));
  ASSERT_TRUE(is_ok(writer->finish()));
  index_["weight_map"]["model.twin"] = "extra.safetensors";
  expect_error(open(), Code::kCorrupt, "'model.norm.weight'");
}

TEST_F(ShardIndexTest, MetadataIsCheckedAndAWrongTotalNoted) {
  index_["metadata"]["total_size"] = 1;
  const auto folder = open();
  ASSERT_TRUE(is_ok(folder));
  ASSERT_EQ(folder->notes().size(), 1U);
  EXPECT_NE(folder->notes()[0].find("total size"), std::string::npos);
  index_["metadata"]["total_size"] = "many";
  expect_error(open(), Code::kInvalidArgument, "metadata.total_size");
  index_["metadata"] = 3;
  expect_error(open(), Code::kInvalidArgument, "metadata");
  index_.erase("metadata");
  EXPECT_TRUE(is_ok(open()));
  index_["weight_map"] = Json::object();
  expect_error(open(), Code::kInvalidArgument, "weight_map");
}

TEST_F(ShardIndexTest, ATruncatedShardIsRefused) {
  const fs::path shard =
      temp_.path() / index_["weight_map"]["model.norm.weight"].get<std::string>();
  fs::resize_file(shard, fs::file_size(shard) - 1);
  expect_error(open(), Code::kCorrupt, "MetadataIncompleteBuffer");
}

TEST(HfFolder, SharedStoriesModelOpens) {
  RATCHET_NEEDS_SHARED_INPUTS();
  const auto folder =
      HfFolder::open(ratchet::testing::shared_inputs() / "models" / "stories260K-hf");
  ASSERT_TRUE(is_ok(folder));
  EXPECT_EQ(parameter_count(folder->config()), 260'032);
  EXPECT_EQ(folder->weight_bytes(), 4U * 260'032U);
  EXPECT_EQ(folder->main_dtype(), DType::kF32);
  EXPECT_TRUE(folder->config().tie_word_embeddings);
}

}  // namespace
}  // namespace ratchet::trainer
