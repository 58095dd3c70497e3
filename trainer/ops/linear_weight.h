#pragma once

// The frozen weight W [O, I] of a linear layer: a dense tensor, or NF4 blocks that are made dense
// anew at each use (kernels/block_formats.h, nf4.h), so that 4 bits a weight are all that is kept.
//
// A dense copy has the compute dtype: value * absmax in fp32, rounded once. CPU: loops of our own,
// blocks split over LibTorch's threads. Other devices: LibTorch operators. Copies of a LinearWeight
// share the memory. Immutable; any thread.

#include <ATen/core/Tensor.h>
#include <torch/custom_class.h>

#include <cstdint>

namespace ratchet::trainer::ops {

struct Nf4Blocks : torch::CustomClassHolder {
  std::int64_t O = 0, I = 0;
  at::ScalarType dtype = at::kFloat;  // of the dense copy
  at::Tensor codes;                   // uint8 [(O I + 1) / 2], the earlier weight in the upper half
  at::Tensor absmax_codes;            // uint8 [blocks]
  at::Tensor scales;                  // fp32 [(blocks + 255) / 256]
  float mean = 0.0F;
};

class LinearWeight {
 public:
  LinearWeight() = default;
  // Implicit on purpose: a dense tensor is a weight.
  LinearWeight(at::Tensor w_OI);  // NOLINT(google-explicit-constructor): see above
  explicit LinearWeight(c10::intrusive_ptr<Nf4Blocks> blocks);

  [[nodiscard]] bool is_dense() const { return blocks_ == nullptr; }
  [[nodiscard]] std::int64_t out() const { return blocks_ ? blocks_->O : dense_.size(0); }
  [[nodiscard]] std::int64_t in() const { return blocks_ ? blocks_->I : dense_.size(1); }
  [[nodiscard]] at::ScalarType dtype() const {
    return blocks_ ? blocks_->dtype : dense_.scalar_type();
  }
  [[nodiscard]] bool requires_grad() const { return is_dense() && dense_.requires_grad(); }
  // The bytes that are kept.
  [[nodiscard]] std::int64_t bytes() const;

  // W [O, I]: the tensor itself, or a new one.
  [[nodiscard]] at::Tensor dense() const;
  // Null when dense.
  [[nodiscard]] const c10::intrusive_ptr<Nf4Blocks>& blocks() const { return blocks_; }

 private:
  at::Tensor dense_;
  c10::intrusive_ptr<Nf4Blocks> blocks_;
};

// NF4 of a dense weight on the CPU, in fp32 or bf16; moved to `device`.
LinearWeight quantize_nf4(const at::Tensor& w_OI, at::Device device);

// The dense copy by LibTorch operators: the route of devices without loops of our own.
at::Tensor nf4_dense_by_operators(const Nf4Blocks& blocks);

// x W^T + bias (undefined: none) for x [T, I]; differentiable in x, and in a dense W that asks for
// it. Keeps no dense copy of NF4 blocks.
at::Tensor linear(const at::Tensor& x_TI, const LinearWeight& weight, const at::Tensor& bias_O);

}  // namespace ratchet::trainer::ops
