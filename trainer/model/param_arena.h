#pragma once

// Trainable parameters and all that belongs to them, flat: parameters, gradients and AdamW's two
// moments, each one fp32 buffer on one device with the same layout (lora_layout.h). Snapshots,
// clipping, the optimizer and all-reduce work on whole buffers.
//
// The autograd leaves are views of the parameters whose .grad is already set to views of the
// gradients, so that backward accumulates in place and no gradient is ever allocated elsewhere.
// Gaps between tensors are zero and stay zero: their gradients are zero, hence so are their
// moments.
//
// Owned by the training loop, borrowed by CausalLm, and must outlive it. Not movable (leaves refer
// to it). One thread at a time. Throws c10::Error when memory cannot be had.

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "trainer/model/lora_layout.h"

namespace ratchet::trainer {

class ParamArena {
 public:
  enum class Use {
    kTraining,   // all four buffers
    kGradients,  // parameters and gradients: the moments are held elsewhere, in another form
    kInference,  // parameters only; leaves ask for no gradient
  };

  // All zero.
  ParamArena(ArenaLayout layout, at::Device device, Use use);
  ParamArena(const ParamArena&) = delete;
  ParamArena& operator=(const ParamArena&) = delete;

  [[nodiscard]] const ArenaLayout& layout() const { return layout_; }
  [[nodiscard]] at::Device device() const { return params_.device(); }
  [[nodiscard]] Use use() const { return use_; }

  // The leaf of layout().tensors[index], in its shape.
  [[nodiscard]] const at::Tensor& leaf(size_t index) const { return leaves_.at(index); }

  // Whole buffers, fp32 [arena_size]. The moments are defined for kTraining only, the gradients
  // not for kInference.
  [[nodiscard]] const at::Tensor& params() const { return params_; }
  [[nodiscard]] const at::Tensor& grads() const { return grads_; }
  [[nodiscard]] const at::Tensor& exp_avg() const { return exp_avg_; }
  [[nodiscard]] const at::Tensor& exp_avg_sq() const { return exp_avg_sq_; }

  void zero_grad();

  // The floats of one of the buffers above. CPU only; throws on another device.
  static std::span<float> host_span(const at::Tensor& buffer);

 private:
  ArenaLayout layout_;
  Use use_;
  at::Tensor params_, grads_, exp_avg_, exp_avg_sq_;
  std::vector<at::Tensor> leaves_;
};

// PEFT's initialisation: A uniform in +-1/sqrt(in) (kaiming_uniform with a = sqrt(5)), B zero.
// Each value is a pure function of (seed, layer, module, element); same bits on every machine.
void init_lora(const LoraLayout& layout, uint64_t seed, ParamArena& arena);

}  // namespace ratchet::trainer
