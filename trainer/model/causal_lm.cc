#include "trainer/model/causal_lm.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <functional>

#include "trainer/model/decoder_layer.h"
#include "trainer/model/weights.h"
#include "trainer/ops/linear_cross_entropy_op.h"
#include "trainer/ops/rmsnorm_op.h"

namespace ratchet::trainer {
namespace {

template <class T>
at::Tensor to_device(std::span<const T> values, at::Device device) {
  at::Tensor host = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), host.mutable_data_ptr<int64_t>());
  return host.to(device);
}

bool has_bias(const ModelConfig& config, TargetModule module) {
  switch (module) {
    case TargetModule::kQ:
    case TargetModule::kK:
    case TargetModule::kV:
      return config.qkv_bias;
    case TargetModule::kO:
      return config.o_bias;
    case TargetModule::kGate:
    case TargetModule::kUp:
    case TargetModule::kDown:
      return config.mlp_bias;
  }
  return false;
}

void check_batch(const PackedBatch& batch, int64_t vocab) {
  const size_t tokens = batch.ids.size();
  TORCH_CHECK(batch.targets.size() == tokens && batch.positions.size() == tokens, "a batch of ",
              tokens, " tokens has ", batch.targets.size(), " targets and ", batch.positions.size(),
              " positions");
  TORCH_CHECK(!batch.segment_offsets.empty() &&
                  batch.segment_offsets.back() == static_cast<int64_t>(tokens) &&
                  batch.sample_ids.size() + 1 == batch.segment_offsets.size(),
              "a batch of ", tokens, " tokens has ", batch.segment_offsets.size(),
              " segment offsets and ", batch.sample_ids.size(), " sample ids");
  const auto outside = [vocab](int32_t id) { return id < 0 || id >= vocab; };
  TORCH_CHECK(std::none_of(batch.ids.begin(), batch.ids.end(), outside),
              "a batch holds a token id outside the vocabulary of ", vocab);
  TORCH_CHECK(std::none_of(batch.targets.begin(), batch.targets.end(),
                           [&](int32_t id) { return id != kNoTarget && outside(id); }),
              "a batch holds a target outside the vocabulary of ", vocab);
}

std::vector<int64_t> sample_of_each_token(const PackedBatch& batch) {
  std::vector<int64_t> samples;
  samples.reserve(batch.ids.size());
  for (size_t s = 0; s < batch.sample_ids.size(); ++s) {
    samples.insert(samples.end(),
                   static_cast<size_t>(batch.segment_offsets[s + 1] - batch.segment_offsets[s]),
                   batch.sample_ids[s]);
  }
  return samples;
}

void choose_rows(BatchContext& context, const std::vector<int64_t>& rows, at::Device device) {
  if (static_cast<int64_t>(rows.size()) == context.tokens) {
    return;
  }
  context.rows_R = to_device(std::span(rows), device);
  const ops::TokenPlaces& places = context.dropout.places;
  context.row_places_R = {places.sample_T.index_select(0, context.rows_R),
                          places.position_T.index_select(0, context.rows_R)};
}

}  // namespace

CausalLm::CausalLm(ModelConfig config, at::Device device, at::ScalarType dtype)
    : config_(std::move(config)), device_(device), dtype_(dtype) {}
CausalLm::CausalLm(CausalLm&&) noexcept = default;
CausalLm& CausalLm::operator=(CausalLm&&) noexcept = default;
CausalLm::~CausalLm() = default;

std::unique_ptr<DecoderLayer> CausalLm::make_layer(const ModelConfig& config, int64_t index,
                                                   const WeightSource& source) {
  const auto& weight = source.tensor;
  auto layer = std::make_unique<DecoderLayer>();
  const std::string prefix = layer_prefix(index);
  layer->index = static_cast<uint32_t>(index);
  layer->head_dim = config.head_dim;
  layer->eps = config.rms_norm_eps;
  layer->window = config.sliding_windows.at(static_cast<size_t>(index));
  layer->input_norm_D = weight(prefix + "input_layernorm.weight");
  for (const TargetModule module : kAllTargetModules) {
    Linear& linear = layer->linears[static_cast<size_t>(module)];
    const std::string path = prefix + target_module_path(module);
    linear.weight = source.matrix(path + ".weight");
    if (has_bias(config, module)) {
      linear.bias_O = weight(path + ".bias");
    }
  }
  if (config.qk_norm) {
    layer->q_norm_K = weight(prefix + "self_attn.q_norm.weight");
    layer->k_norm_K = weight(prefix + "self_attn.k_norm.weight");
  }
  layer->attention_norm_D = weight(prefix + "post_attention_layernorm.weight");
  return layer;
}

CausalLm CausalLm::build(const ModelConfig& config, at::Device device, at::ScalarType dtype,
                         const WeightSource& source) {
  CausalLm model(config, device, dtype);
  const auto& weight = source.tensor;
  model.embedding_VD_ = weight(std::string(kEmbeddingName));
  for (int64_t layer = 0; layer < config.layer_count; ++layer) {
    model.layers_.push_back(make_layer(config, layer, source));
  }
  model.final_norm_D_ = weight(std::string(kFinalNormName));
  model.head_VD_ =
      config.tie_word_embeddings ? model.embedding_VD_ : weight(std::string(kHeadName));
  model.inverse_frequencies_J_ =
      ops::rope_inverse_frequencies(config.head_dim, config.rope_theta, config.rope_scaling)
          .to(device);
  return model;
}

CausalLm CausalLm::load(const HfFolder& folder, at::Device device, at::ScalarType dtype,
                        Quantization quantization) {
  if (const Status tied = folder.check_tied_head(); !tied) {
    throw ErrorException(tied.error());
  }
  WeightSource source;
  source.tensor = [&](const std::string& name) { return read_weight(folder, name, device, dtype); };
  source.matrix = source.tensor;
  if (quantization == Quantization::kNf4) {
    source.matrix = [&](const std::string& name) {
      return ops::quantize_nf4(read_weight(folder, name, at::kCPU, dtype), device);
    };
  }
  return build(folder.config(), device, dtype, source);
}

CausalLm CausalLm::load_full(const HfFolder& folder, ParamArena& arena) {
  if (const Status tied = folder.check_tied_head(); !tied) {
    throw ErrorException(tied.error());
  }
  const std::vector<ArenaTensor>& tensors = arena.layout().tensors;
  WeightSource source;
  source.tensor = [&](const std::string& name) {
    const auto found = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const ArenaTensor& t) { return t.name == name; });
    TORCH_CHECK(found != tensors.end(), "the arena has no tensor '", name, "'");
    const at::Tensor& leaf = arena.leaf(static_cast<size_t>(found - tensors.begin()));
    read_weight_into(folder, name, leaf);
    return leaf;
  };
  source.matrix = source.tensor;
  return build(folder.config(), arena.device(), at::kFloat, source);
}

void CausalLm::attach_lora(const LoraLayout& layout, const ParamArena& arena, const LoraRun& run) {
  TORCH_CHECK(arena.layout().arena_size == layout.arena.arena_size && arena.device() == device_,
              "attach_lora: the arena has ", arena.layout().arena_size, " floats on ",
              arena.device(), ", the layout ", layout.arena.arena_size, ", the model is on ",
              device_);
  for (const LoraAdapter& adapter : layout.adapters) {
    DecoderLayer& layer = *layers_.at(static_cast<size_t>(adapter.site.layer));
    Linear& linear = layer.linears[static_cast<size_t>(adapter.site.module)];
    TORCH_CHECK(!linear.lora.a_RI.defined() && !linear.weight.requires_grad(),
                "attach_lora: the layer has an adapter already, or its base is not frozen");
    linear.lora.a_RI = arena.leaf(adapter.a);
    linear.lora.b_OR = arena.leaf(adapter.b);
    linear.lora.scaling = layout.scaling();
    if (adapter.magnitude) {
      linear.lora.magnitude_O = arena.leaf(*adapter.magnitude);
      linear.lora.row_squares_O = ops::row_squares(linear.weight, at::kFloat);
    }
  }
  lora_run_ = run;
}

void CausalLm::init_magnitudes() {
  const at::NoGradGuard no_grad;
  for (const auto& layer : layers_) {
    for (Linear& linear : layer->linears) {
      if (linear.lora.magnitude_O.defined()) {
        linear.lora.magnitude_O.copy_(ops::dora_norm(linear.weight, linear.lora));
      }
    }
  }
}

std::shared_ptr<BatchContext> CausalLm::upload(const PackedBatch& batch, Phase phase) const {
  check_batch(batch, config_.vocab_size);
  auto context = std::make_shared<BatchContext>();
  context->tokens = static_cast<int64_t>(batch.ids.size());
  context->ids_T = to_device(std::span(batch.ids), device_);
  context->attention = ops::make_attention_plan(batch.segment_offsets, device_);
  ops::LoraDropout& dropout = context->dropout;
  dropout.p = phase == Phase::kTraining ? lora_run_.dropout : 0.0;
  dropout.key.seed = lora_run_.seed;
  dropout.key.data_epoch = batch.data_epoch;
  const std::vector<int64_t> samples = sample_of_each_token(batch);
  dropout.places = {to_device(std::span(samples), device_),
                    to_device(std::span(batch.positions), device_)};
  context->rope = ops::rope_table(inverse_frequencies_J_, dropout.places.position_T);
  return context;
}

at::Tensor CausalLm::hidden(const std::shared_ptr<BatchContext>& context) const {
  const bool checkpoint = checkpointing_ && at::GradMode::is_enabled();
  const at::Tensor anchor =
      checkpoint ? at::zeros({}, at::kFloat).set_requires_grad(true) : at::Tensor();
  at::Tensor x = at::embedding(embedding_VD_, context->ids_T);
  for (const auto& layer : layers_) {
    const bool last = layer == layers_.back();
    x = checkpoint ? forward_checkpointed(*layer, x, anchor, context, last)
                   : layer->forward(x, *context, last);
  }
  return ops::rmsnorm(x, final_norm_D_, config_.rms_norm_eps);
}

at::Tensor CausalLm::loss_sum(const PackedBatch& batch, Phase phase) const {
  const at::AutoGradMode mode(phase == Phase::kTraining && at::GradMode::is_enabled());
  std::vector<int64_t> rows, targets;
  for (size_t t = 0; t < batch.targets.size(); ++t) {
    if (batch.targets[t] != kNoTarget) {
      rows.push_back(static_cast<int64_t>(t));
      targets.push_back(batch.targets[t]);
    }
  }
  if (rows.empty()) {
    return at::zeros({}, at::TensorOptions().dtype(at::kFloat).device(device_))
        .set_requires_grad(at::GradMode::is_enabled());
  }
  const auto context = upload(batch, phase);
  choose_rows(*context, rows, device_);
  return ops::linear_cross_entropy(hidden(context), head_VD_,
                                   to_device(std::span<const int64_t>(targets), device_));
}

at::Tensor CausalLm::logits(const PackedBatch& batch, int64_t begin, int64_t end) const {
  TORCH_CHECK(begin >= 0 && begin <= end && end <= static_cast<int64_t>(batch.ids.size()),
              "logits: tokens [", begin, ", ", end, ") of a batch of ", batch.ids.size());
  const at::NoGradGuard no_grad;
  const auto context = upload(batch, Phase::kEvaluation);
  std::vector<int64_t> rows;
  for (int64_t t = begin; t < end; ++t) {
    rows.push_back(t);
  }
  choose_rows(*context, rows, device_);
  return at::linear(hidden(context), head_VD_).to(at::kFloat);
}

at::Tensor CausalLm::next_logits(std::span<const int32_t> ids, KvCache& cache) const {
  TORCH_CHECK(!ids.empty(), "next_logits: no token given");
  const at::NoGradGuard no_grad;
  const auto count = static_cast<int64_t>(ids.size());
  cache.layers.resize(layers_.size());
  const at::Tensor positions = at::arange(cache.length, cache.length + count,
                                          at::TensorOptions().dtype(at::kLong).device(device_));
  const ops::RopeTable rope = ops::rope_table(inverse_frequencies_J_, positions);
  at::Tensor x = at::embedding(embedding_VD_, to_device(ids, device_));
  for (size_t i = 0; i < layers_.size(); ++i) {
    x = layers_[i]->forward_cached(x, rope, cache.length, cache.layers[i]);
  }
  cache.length += count;
  const at::Tensor last =
      ops::rmsnorm(x.narrow(0, count - 1, 1).contiguous(), final_norm_D_, config_.rms_norm_eps);
  return at::linear(last, head_VD_).view({-1}).to(at::kFloat).to(at::kCPU);
}

int64_t target_count(const PackedBatch& batch) {
  return std::count_if(batch.targets.begin(), batch.targets.end(),
                       [](int32_t target) { return target != kNoTarget; });
}

NllSum evaluate(const CausalLm& model, const PackedBatch& batch) {
  const at::NoGradGuard no_grad;
  return {static_cast<double>(model.loss_sum(batch, Phase::kEvaluation).item<float>()),
          target_count(batch)};
}

}  // namespace ratchet::trainer
