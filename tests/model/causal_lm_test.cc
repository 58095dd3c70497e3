#include "trainer/model/causal_lm.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/model/fixtures.h"
#include "tests/support/files.h"
#include "tests/support/shared_inputs.h"
#include "trainer/model/copy_folder.h"
#include "trainer/model/generate.h"
#include "trainer/model/merge.h"
#include "trainer/ops/linear_weight.h"

namespace ratchet::trainer {
namespace {

using ratchet::testing::is_ok;
using ratchet::testing::make_tiny_model;
using ratchet::testing::shared_inputs;
using ratchet::testing::TempFolder;

// A Mistral with a window of 5, Qwen-like sizes that are no multiples of anything.
constexpr std::string_view kWindowed = R"({
  "architectures": ["MistralForCausalLM"], "model_type": "mistral", "vocab_size": 37,
  "hidden_size": 24, "intermediate_size": 36, "num_hidden_layers": 3,
  "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 6, "sliding_window": 5,
  "max_position_embeddings": 64, "rms_norm_eps": 1e-05, "initializer_range": 0.2,
  "tie_word_embeddings": false})";

constexpr std::string_view kLively = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 37,
  "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3,
  "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
  "rms_norm_eps": 1e-05, "initializer_range": 0.2, "tie_word_embeddings": true})";

struct Sample {
  int64_t id = 0;
  std::vector<int32_t> ids, targets;
};

Sample make_sample(int64_t id, int length) {
  Sample sample{id, {}, {}};
  for (int i = 0; i < length; ++i) {
    sample.ids.push_back(static_cast<int32_t>((7 * id + 11 * i + i * i) % 37));
    sample.targets.push_back(i % 3 == 0 ? kNoTarget : static_cast<int32_t>((id + 5 * i) % 37));
  }
  return sample;
}

std::vector<Sample> samples() {
  return {make_sample(3, 11), make_sample(900, 1), make_sample(5, 19), make_sample(6, 19)};
}

PackedBatch pack(const std::vector<Sample>& rows, int64_t data_epoch = 2) {
  PackedBatch batch;
  batch.data_epoch = data_epoch;
  batch.segment_offsets = {0};
  for (const Sample& row : rows) {
    batch.ids.insert(batch.ids.end(), row.ids.begin(), row.ids.end());
    batch.targets.insert(batch.targets.end(), row.targets.begin(), row.targets.end());
    for (size_t i = 0; i < row.ids.size(); ++i) {
      batch.positions.push_back(static_cast<int32_t>(i));
    }
    batch.segment_offsets.push_back(static_cast<int32_t>(batch.ids.size()));
    batch.sample_ids.push_back(row.id);
  }
  return batch;
}

HfFolder open_folder(const std::filesystem::path& path) {
  return std::move(HfFolder::open(path)).value();
}

struct Variant {
  bool dora = false;
  Quantization quantization = Quantization::kNone;
};
constexpr Variant kDora{.dora = true};
constexpr Variant kNf4{.quantization = Quantization::kNf4};
constexpr std::array<Variant, 4> kVariants{{{}, kDora, kNf4, {true, Quantization::kNf4}}};

// A model with adapters whose B is not zero, and what it computes.
class Adapted {
 public:
  Adapted(const HfFolder& folder, double dropout, Variant variant = {})
      : layout_(make_layout(folder.config(), variant.dora)),
        arena_(layout_.arena, at::kCPU, ParamArena::Use::kTraining),
        model_(CausalLm::load(folder, at::kCPU, at::kFloat, variant.quantization)) {
    init_lora(layout_, 5, arena_);
    for (const LoraAdapter& adapter : layout_.adapters) {
      const at::NoGradGuard no_grad;
      at::Tensor b = arena_.leaf(adapter.b);
      b.view({-1}).copy_(at::arange(b.numel()).remainder(7).sub(3.0).mul(0.02));
    }
    model_.attach_lora(layout_, arena_, {dropout, 77});
    if (variant.dora) {
      model_.init_magnitudes();
      const at::NoGradGuard no_grad;
      for (const LoraAdapter& adapter : layout_.adapters) {
        at::Tensor m = arena_.leaf(*adapter.magnitude);
        m.mul_(at::arange(m.numel()).remainder(5).mul(0.1).add(0.8));
      }
    }
  }

  CausalLm& model() { return model_; }
  ParamArena& arena() { return arena_; }
  const LoraLayout& layout() { return layout_; }

  struct Step {
    float loss;
    at::Tensor grads;
  };

  // Loss summed and gradients accumulated over micro-batches.
  Step step(const std::vector<PackedBatch>& batches) {
    arena_.zero_grad();
    double loss = 0.0;
    for (const PackedBatch& batch : batches) {
      const at::Tensor sum = model_.loss_sum(batch, Phase::kTraining);
      (sum / 30.0).backward();
      loss += static_cast<double>(sum.item<float>());
    }
    return {static_cast<float>(loss), arena_.grads().clone()};
  }

 private:
  static LoraLayout make_layout(const ModelConfig& config, bool dora) {
    return std::move(make_lora_layout(config, {3, 6.0, false, dora}, kAllTargetModules)).value();
  }

  LoraLayout layout_;
  ParamArena arena_;
  CausalLm model_;
};

void expect_same_bits(const Adapted::Step& a, const Adapted::Step& b) {
  EXPECT_EQ(std::memcmp(&a.loss, &b.loss, sizeof(float)), 0) << a.loss << " " << b.loss;
  EXPECT_TRUE(at::equal(a.grads, b.grads));
  EXPECT_GT(a.grads.abs().sum().item<float>(), 0.0F);
}

void expect_close(const Adapted::Step& a, const Adapted::Step& b) {
  EXPECT_NEAR(a.loss / b.loss, 1.0F, 1e-5F);
  EXPECT_LE((a.grads - b.grads).norm().item<float>(), 1e-5F * b.grads.norm().item<float>());
}

class CausalLmTest : public ::testing::TestWithParam<std::string_view> {
 protected:
  void SetUp() override { make_tiny_model(temp_.path() / "base", GetParam()); }
  [[nodiscard]] HfFolder folder() const { return open_folder(temp_.path() / "base"); }
  TempFolder temp_;
};

INSTANTIATE_TEST_SUITE_P(Families, CausalLmTest, ::testing::Values(kLively, kWindowed),
                         [](const auto& family) {
                           return family.param == kLively ? "TiedLlama" : "WindowedMistral";
                         });

TEST_P(CausalLmTest, PackedRowsGiveWhatEachGivesAlone) {
  Adapted adapted(folder(), 0.0);
  const PackedBatch packed = pack(samples());
  int64_t first = 0;
  for (const Sample& row : samples()) {
    const auto length = static_cast<int64_t>(row.ids.size());
    const at::Tensor alone = adapted.model().logits(pack({row}), 0, length);
    const at::Tensor together = adapted.model().logits(packed, first, first + length);
    EXPECT_LE((alone - together).abs().max().item<float>(), 2e-5F) << row.id;
    first += length;
  }
  std::vector<PackedBatch> singles;
  for (const Sample& row : samples()) {
    singles.push_back(pack({row}));
  }
  expect_close(adapted.step({packed}), adapted.step(singles));
}

TEST_P(CausalLmTest, DropoutDoesNotDependOnMicroBatches) {
  for (const Variant& variant : kVariants) {
    Adapted adapted(folder(), 0.4, variant);
    const std::vector<Sample> rows = samples();
    const auto whole = adapted.step({pack(rows)});
    expect_close(whole, adapted.step({pack({rows[2], rows[0]}), pack({rows[3], rows[1]})}));
    EXPECT_NE(whole.loss, adapted.step({pack(rows, /*data_epoch=*/3)}).loss);
    EXPECT_NE(whole.loss, Adapted(folder(), 0.0, variant).step({pack(rows)}).loss);
  }
}

TEST_P(CausalLmTest, CheckpointingChangesNoBit) {
  for (const Variant& variant : kVariants) {
    for (const double dropout : {0.0, 0.4}) {
      Adapted adapted(folder(), dropout, variant);
      const auto plain = adapted.step({pack(samples())});
      adapted.model().set_gradient_checkpointing(true);
      expect_same_bits(plain, adapted.step({pack(samples())}));
    }
  }
}

TEST_P(CausalLmTest, FreshMagnitudesLeaveTheModelAsItIs) {
  auto layout =
      std::move(make_lora_layout(folder().config(), {3, 6.0, false, true}, kAllTargetModules))
          .value();
  ParamArena arena(layout.arena, at::kCPU, ParamArena::Use::kTraining);
  CausalLm model = CausalLm::load(folder(), at::kCPU, at::kFloat);
  const PackedBatch batch = pack(samples());
  const at::Tensor before = model.logits(batch, 0, 50);
  init_lora(layout, 5, arena);
  model.attach_lora(layout, arena, {});
  model.init_magnitudes();
  EXPECT_LE((model.logits(batch, 0, 50) - before).abs().max().item<float>(), 2e-5F);
}

// The folder with each linear weight of a block replaced by what NF4 keeps of it.
TEST_P(CausalLmTest, Nf4IsTheModelOfTheDenseCopies) {
  const auto rounded = temp_.path() / "rounded";
  CopyFolderArgs args;
  args.selects = [](const FolderTensor& tensor) {
    return tensor.tensor.name.find("_proj.weight") != std::string::npos;
  };
  args.transform = [](const FolderTensor& tensor, std::span<float> values) -> Status {
    at::Tensor w = at::from_blob(values.data(), tensor.tensor.shape, at::kFloat);
    w.copy_(ops::quantize_nf4(w.clone(), at::kCPU).dense());
    return ok();
  };
  ASSERT_TRUE(is_ok(copy_model_folder(folder(), rounded, args)));
  const CausalLm nf4 = CausalLm::load(folder(), at::kCPU, at::kFloat, Quantization::kNf4);
  const CausalLm dense = CausalLm::load(open_folder(rounded), at::kCPU, at::kFloat);
  const PackedBatch batch = pack(samples());
  EXPECT_TRUE(at::equal(nf4.logits(batch, 0, 50), dense.logits(batch, 0, 50)));
}

TEST_P(CausalLmTest, RunsTwiceToTheSameBits) {
  Adapted first(folder(), 0.3), second(folder(), 0.3);
  expect_same_bits(first.step({pack(samples())}), second.step({pack(samples())}));
}

TEST_P(CausalLmTest, LossIsWhatTheLogitsSay) {
  Adapted adapted(folder(), 0.0);
  const PackedBatch batch = pack(samples());
  const auto tokens = static_cast<int64_t>(batch.ids.size());
  const at::Tensor log_p =
      at::log_softmax(adapted.model().logits(batch, 0, tokens).to(at::kDouble), 1);
  double expected = 0.0;
  for (int64_t t = 0; t < tokens; ++t) {
    const int32_t target = batch.targets[static_cast<size_t>(t)];
    expected -= target == kNoTarget ? 0.0 : log_p[t][target].item<double>();
  }
  const NllSum sum = evaluate(adapted.model(), batch);
  EXPECT_EQ(sum.tokens, target_count(batch));
  EXPECT_NEAR(sum.nll / expected, 1.0, 1e-6);
}

TEST_P(CausalLmTest, CachedStepsGiveTheLogitsOfTheWholeText) {
  Adapted adapted(folder(), 0.5, kDora);
  const Sample row = make_sample(1, 23);
  const at::Tensor whole = adapted.model().logits(pack({row}), 0, 23);
  KvCache cache;
  size_t done = 0;
  for (const size_t count : {4, 1, 1, 9, 1, 7}) {
    const at::Tensor next =
        adapted.model().next_logits(std::span(row.ids).subspan(done, count), cache);
    done += count;
    EXPECT_LE((next - whole[static_cast<int64_t>(done) - 1]).abs().max().item<float>(), 2e-5F)
        << done;
  }
}

TEST_P(CausalLmTest, BatchWithoutTargetsHasNoLossAndNoGradient) {
  Adapted adapted(folder(), 0.0);
  PackedBatch batch = pack(samples());
  std::fill(batch.targets.begin(), batch.targets.end(), kNoTarget);
  const auto step = adapted.step({batch});
  EXPECT_EQ(step.loss, 0.0F);
  EXPECT_EQ(step.grads.abs().sum().item<float>(), 0.0F);
}

TEST_P(CausalLmTest, FullMethodIsTheSameModelAndTrainsEveryWeight) {
  ParamArena arena(make_full_layout(folder().config()), at::kCPU, ParamArena::Use::kTraining);
  CausalLm full = CausalLm::load_full(folder(), arena);
  const CausalLm frozen = CausalLm::load(folder(), at::kCPU, at::kFloat);
  const PackedBatch batch = pack(samples());
  EXPECT_TRUE(at::equal(full.logits(batch, 0, 9), frozen.logits(batch, 0, 9)));
  full.loss_sum(batch, Phase::kTraining).backward();
  for (size_t i = 0; i < arena.layout().tensors.size(); ++i) {
    EXPECT_GT(arena.leaf(i).grad().abs().sum().item<float>(), 0.0F)
        << arena.layout().tensors[i].name;
  }
  const at::Tensor plain = arena.grads().clone();
  arena.zero_grad();
  full.set_gradient_checkpointing(true);
  full.loss_sum(batch, Phase::kTraining).backward();
  EXPECT_TRUE(at::equal(plain, arena.grads()));
}

TEST_P(CausalLmTest, MergedFolderGivesTheAdaptedLogits) {
  for (const Variant& variant : {Variant{}, kDora}) {
    Adapted adapted(folder(), 0.0, variant);
    const std::string kind = variant.dora ? "dora" : "lora";
    const auto adapter = temp_.path() / kind, merged = temp_.path() / (kind + "-merged");
    ASSERT_TRUE(is_ok(write_peft_folder(adapter, adapter_config_for(adapted.layout(), "base", 0.0),
                                        adapted.layout(),
                                        ParamArena::host_span(adapted.arena().params()))));
    const HfFolder base = folder();
    const PeftFolder peft = std::move(PeftFolder::open(adapter, base.config())).value();
    ASSERT_TRUE(is_ok(merge_adapter(base, peft, merged)));
    const CausalLm model = CausalLm::load(open_folder(merged), at::kCPU, at::kFloat);
    const PackedBatch batch = pack(samples());
    const at::Tensor off = model.logits(batch, 0, 50) - adapted.model().logits(batch, 0, 50);
    EXPECT_LE(off.abs().max().item<float>(), 2e-5F) << kind;
  }
}

TEST_P(CausalLmTest, SampledTextFollowsItsSeed) {
  Adapted adapted(folder(), 0.0);
  const std::vector<int32_t> prompt = {1, 2, 3};
  GenerateOptions options;
  options.max_new_tokens = 30;
  options.temperature = 1.0;
  const auto text = [&](uint64_t seed) {
    options.seed = seed;
    return generate(adapted.model(), prompt, options);
  };
  EXPECT_EQ(text(1), text(1));
  EXPECT_NE(text(1), text(2));
  options.top_k = 1;
  const std::vector<int32_t> greedy = text(3);
  options.top_k = 0;
  options.top_p = 1e-9;
  EXPECT_EQ(text(4), greedy);
  options.temperature = 0.0;
  options.top_p = 1.0;
  EXPECT_EQ(text(5), greedy);
  options.stop_token_ids = {greedy[4]};
  const std::vector<int32_t> stopped = text(6);
  EXPECT_EQ(stopped.back(), greedy[4]);
  EXPECT_LE(stopped.size(), 5U);
  EXPECT_THROW(generate(adapted.model(), {}, options), c10::Error);
}

TEST_P(CausalLmTest, BadBatchesAreRefused) {
  Adapted adapted(folder(), 0.0);
  PackedBatch batch = pack(samples());
  batch.ids[0] = 37;
  EXPECT_THROW(adapted.step({batch}), c10::Error);
  batch = pack(samples());
  batch.targets[1] = -2;
  EXPECT_THROW(adapted.step({batch}), c10::Error);
  batch = pack(samples());
  batch.positions.pop_back();
  EXPECT_THROW(adapted.step({batch}), c10::Error);
  batch = pack(samples());
  batch.segment_offsets.back() -= 1;
  EXPECT_THROW(adapted.step({batch}), c10::Error);
}

TEST(ParamArena, LeavesAreViewsAndGradientsLandInTheArena) {
  ArenaLayout layout;
  layout.tensors = {{"a", {2, 3}, 0, 6}, {"b", {5}, 16, 5}};
  layout.arena_size = 32;
  ParamArena arena(layout, at::kCPU, ParamArena::Use::kTraining);
  arena.params().narrow(0, 16, 5).fill_(2.0F);
  EXPECT_EQ(arena.leaf(1).sum().item<float>(), 10.0F);
  (arena.leaf(0).sum() + (arena.leaf(1) * arena.leaf(1)).sum()).backward();
  const std::span<float> grads = ParamArena::host_span(arena.grads());
  EXPECT_EQ(grads[0], 1.0F);
  EXPECT_EQ(grads[16], 4.0F);
  EXPECT_EQ(arena.grads().sum().item<float>(), 6.0F + 20.0F);
  arena.zero_grad();
  EXPECT_EQ(arena.leaf(1).grad().sum().item<float>(), 0.0F);
}

TEST(InitLora, IsUniformInAAndZeroInB) {
  const ModelConfig config = ratchet::testing::tiny_config(kLively);
  const LoraLayout layout =
      std::move(make_lora_layout(config, {16, 32.0, false}, kAllTargetModules)).value();
  ParamArena arena(layout.arena, at::kCPU, ParamArena::Use::kInference);
  init_lora(layout, 1, arena);
  for (const LoraAdapter& adapter : layout.adapters) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(adapter.in));
    const at::Tensor a = arena.leaf(adapter.a).to(at::kDouble);
    EXPECT_LE(a.abs().max().item<double>(), bound);
    // Standard deviation of a uniform: bound / sqrt(3); 512 to 640 values.
    EXPECT_NEAR(a.std().item<double>() / bound, 0.577, 0.06);
    EXPECT_EQ(arena.leaf(adapter.b).abs().sum().item<float>(), 0.0F);
  }
  const at::Tensor before = arena.params().clone();
  init_lora(layout, 1, arena);
  EXPECT_TRUE(at::equal(before, arena.params()));
  init_lora(layout, 2, arena);
  EXPECT_FALSE(at::equal(before, arena.params()));
}

// The one trained third-party model: Karpathy's stories260K (formats.md, section 1).
class Stories260K : public ::testing::Test {
 protected:
  void SetUp() override {
    RATCHET_NEEDS_SHARED_INPUTS();
    expected_ = nlohmann::json::parse(std::ifstream(path() / "expected_greedy.json"));
    ids_ = expected_["greedy_ids_after_bos"].get<std::vector<int32_t>>();
  }
  static std::filesystem::path path() { return shared_inputs() / "models" / "stories260K-hf"; }
  nlohmann::json expected_;
  std::vector<int32_t> ids_;
};

TEST_F(Stories260K, GreedyTextIsUpstreams) {
  const CausalLm model = CausalLm::load(open_folder(path()), at::kCPU, at::kFloat);
  GenerateOptions options;
  options.max_new_tokens = 200;
  EXPECT_EQ(generate(model, std::vector<int32_t>{1}, options), ids_);
}

TEST_F(Stories260K, MeanNllAndFirstLogitsAreTheIndependentOnes) {
  const CausalLm model = CausalLm::load(open_folder(path()), at::kCPU, at::kFloat);
  PackedBatch batch;
  batch.ids = {1};
  batch.ids.insert(batch.ids.end(), ids_.begin(), ids_.end() - 1);
  batch.targets = ids_;
  for (size_t i = 0; i < ids_.size(); ++i) {
    batch.positions.push_back(static_cast<int32_t>(i));
  }
  batch.segment_offsets = {0, static_cast<int32_t>(ids_.size())};
  batch.sample_ids = {0};
  const NllSum sum = evaluate(model, batch);
  EXPECT_EQ(sum.tokens, 200);
  EXPECT_NEAR(sum.mean(), 0.473417661, 1e-6);
  const at::Tensor logits = model.logits(batch, 0, 1);
  const auto first = expected_["first_position_logits_0_7_float64"].get<std::vector<double>>();
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_NEAR(logits[0][static_cast<int64_t>(i)].item<double>(), first[i], 2e-5);
  }
}

}  // namespace
}  // namespace ratchet::trainer
