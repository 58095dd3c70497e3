#include "trainer/model/param_arena.h"

#include <ATen/ATen.h>

#include <cmath>

#include "trainer/ops/dropout_mask.h"
#include "trainer/ops/philox.h"

namespace ratchet::trainer {
namespace {

at::Tensor piece(const at::Tensor& buffer, const ArenaTensor& tensor) {
  // Detached: the view is a leaf of its own that shares the buffer's memory.
  return buffer.narrow(0, tensor.offset, tensor.size).view(tensor.shape).detach();
}

void fill_uniform(ops::PhiloxKey key, float bound, std::span<float> values) {
  constexpr size_t kWords = 4;
  for (size_t i = 0; i < values.size(); i += kWords) {
    const uint64_t block = i / kWords;
    const ops::PhiloxCounter words = ops::philox4x32(
        {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), 0, 0}, key);
    for (size_t j = 0; j < kWords && i + j < values.size(); ++j) {
      values[i + j] = (2.0F * ops::uniform_from_bits(words[j]) - 1.0F) * bound;
    }
  }
}

}  // namespace

ParamArena::ParamArena(ArenaLayout layout, at::Device device, Use use)
    : layout_(std::move(layout)), use_(use) {
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  params_ = at::zeros({layout_.arena_size}, options);
  const bool training = use != Use::kInference;
  if (training) {
    grads_ = at::zeros({layout_.arena_size}, options);
  }
  if (use == Use::kTraining) {
    exp_avg_ = at::zeros({layout_.arena_size}, options);
    exp_avg_sq_ = at::zeros({layout_.arena_size}, options);
  }
  leaves_.reserve(layout_.tensors.size());
  for (const ArenaTensor& tensor : layout_.tensors) {
    at::Tensor leaf = piece(params_, tensor);
    if (training) {
      leaf.set_requires_grad(true);
      leaf.mutable_grad() = piece(grads_, tensor);
    }
    leaves_.push_back(std::move(leaf));
  }
}

void ParamArena::zero_grad() {
  if (grads_.defined()) {
    grads_.zero_();
  }
}

std::span<float> ParamArena::host_span(const at::Tensor& buffer) {
  TORCH_CHECK(buffer.is_cpu() && buffer.scalar_type() == at::kFloat && buffer.is_contiguous(),
              "host_span: the buffer is on ", buffer.device(), ", not a host arena");
  return {buffer.mutable_data_ptr<float>(), static_cast<size_t>(buffer.numel())};
}

void init_lora(const LoraLayout& layout, uint64_t seed, ParamArena& arena) {
  at::Tensor host = at::zeros({layout.arena.arena_size}, at::kFloat);
  const std::span<float> values = ParamArena::host_span(host);
  for (const LoraAdapter& adapter : layout.adapters) {
    const ArenaTensor& a = layout.arena.tensors[adapter.a];
    const auto stream = static_cast<uint32_t>(adapter.site.layer * ops::kModulesPerLayer +
                                              static_cast<int64_t>(adapter.site.module));
    const auto bound = static_cast<float>(1.0 / std::sqrt(static_cast<double>(adapter.in)));
    fill_uniform(ops::stream_key(seed, ops::RandomUse::kLoraInit, 0, stream), bound,
                 values.subspan(static_cast<size_t>(a.offset), static_cast<size_t>(a.size)));
  }
  arena.params().copy_(host);
}

}  // namespace ratchet::trainer
