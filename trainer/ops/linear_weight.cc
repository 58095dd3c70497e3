#include "trainer/ops/linear_weight.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "kernels/block_formats.h"
#include "trainer/ops/nf4.h"

namespace ratchet::trainer::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr int64_t kBlock = kernels::kNf4Block;
constexpr int64_t kGrainBlocks = 1024;  // blocks worth a thread's while

template <class T>
std::span<const T> span_of(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<T>(), static_cast<size_t>(tensor.numel())};
}

template <class T>
void fill_dense(const Nf4Blocks& from, at::Tensor& w) {
  const auto codes = span_of<uint8_t>(from.codes);
  const auto absmax_codes = span_of<uint8_t>(from.absmax_codes);
  const auto scales = span_of<float>(from.scales);
  T* out = w.mutable_data_ptr<T>();
  const int64_t count = w.numel();
  at::parallel_for(0, from.absmax_codes.numel(), kGrainBlocks, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const float absmax = nf4_absmax(absmax_codes, scales, from.mean, static_cast<size_t>(block));
      std::array<T, kernels::kNf4Codes> values;
      for (size_t code = 0; code < values.size(); ++code) {
        values[code] = static_cast<T>(kernels::kNf4Values[code] * absmax);
      }
      const int64_t last = std::min(count, (block + 1) * kBlock);
      int64_t i = block * kBlock;
      for (; i + 1 < last; i += 2) {
        const uint8_t pair = codes[static_cast<size_t>(i / 2)];
        out[i] = values[pair >> 4U];
        out[i + 1] = values[pair & 15U];
      }
      if (i < last) out[i] = values[codes[static_cast<size_t>(i / 2)] >> 4U];
    }
  });
}

at::Tensor nf4_dense(const Nf4Blocks& blocks) {
  if (!blocks.codes.is_cpu()) return nf4_dense_by_operators(blocks);
  at::Tensor w = at::empty({blocks.O, blocks.I}, at::TensorOptions().dtype(blocks.dtype));
  if (blocks.dtype == at::kFloat) {
    fill_dense<float>(blocks, w);
  } else {
    fill_dense<at::BFloat16>(blocks, w);
  }
  return w;
}

template <class T, size_t N>
at::Tensor tensor_of(const std::array<T, N>& values, at::Device device) {
  return at::tensor(at::ArrayRef<T>(values.data(), N)).to(device);
}

template <class T>
at::Tensor tensor_of(const std::vector<T>& values, at::ScalarType dtype, at::Device device) {
  at::Tensor host = at::empty({static_cast<int64_t>(values.size())}, dtype);
  std::copy(values.begin(), values.end(), host.mutable_data_ptr<T>());
  return host.to(device);
}

class Nf4Linear : public torch::autograd::Function<Nf4Linear> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const LinearWeight& weight,
                            const std::optional<at::Tensor>& bias) {
    ctx->saved_data["blocks"] = c10::IValue::make_capsule(weight.blocks());
    return at::linear(x, weight.dense(), bias);
  }

  static tensor_list backward(AutogradContext* ctx, const tensor_list& grads) {
    const LinearWeight weight(
        c10::static_intrusive_pointer_cast<Nf4Blocks>(ctx->saved_data["blocks"].toCapsule()));
    return {at::mm(grads[0], weight.dense()), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

LinearWeight::LinearWeight(at::Tensor w_OI) : dense_(std::move(w_OI)) {}

LinearWeight::LinearWeight(c10::intrusive_ptr<Nf4Blocks> blocks) : blocks_(std::move(blocks)) {}

std::int64_t LinearWeight::bytes() const {
  const auto size = [](const at::Tensor& tensor) { return static_cast<int64_t>(tensor.nbytes()); };
  if (is_dense()) return size(dense_);
  return size(blocks_->codes) + size(blocks_->absmax_codes) + size(blocks_->scales);
}

at::Tensor LinearWeight::dense() const { return is_dense() ? dense_ : nf4_dense(*blocks_); }

LinearWeight quantize_nf4(const at::Tensor& w_OI, at::Device device) {
  TORCH_CHECK(w_OI.dim() == 2 && w_OI.is_cpu() && w_OI.is_contiguous(),
              "quantize_nf4: W must be a contiguous matrix on the host, got ", w_OI.sizes());
  TORCH_CHECK(w_OI.scalar_type() == at::kFloat || w_OI.scalar_type() == at::kBFloat16,
              "quantize_nf4: dtype ", w_OI.scalar_type(), " is not fp32 or bf16");
  // A portion at a time: a wide copy of the whole would double the memory of a load.
  constexpr int64_t kPortion = 4096 * kBlock;
  const at::Tensor flat = w_OI.view({-1});
  const int64_t count = flat.numel();
  std::vector<uint8_t> codes(static_cast<size_t>(count + 1) / 2);
  std::vector<float> absmax(nf4_blocks(static_cast<size_t>(count)));
  for (int64_t first = 0; first < count; first += kPortion) {
    const int64_t size = std::min(kPortion, count - first);
    const at::Tensor wide = flat.narrow(0, first, size).to(at::kFloat);
    nf4_quantize(
        span_of<float>(wide),
        std::span(codes).subspan(static_cast<size_t>(first) / 2, static_cast<size_t>(size + 1) / 2),
        std::span(absmax).subspan(static_cast<size_t>(first / kBlock),
                                  nf4_blocks(static_cast<size_t>(size))));
  }
  const Nf4Scales scales = nf4_quantize_absmax(absmax);
  auto blocks = c10::make_intrusive<Nf4Blocks>();
  blocks->O = w_OI.size(0);
  blocks->I = w_OI.size(1);
  blocks->dtype = w_OI.scalar_type();
  blocks->codes = tensor_of(codes, at::kByte, device);
  blocks->absmax_codes = tensor_of(scales.absmax_codes, at::kByte, device);
  blocks->scales = tensor_of(scales.scales, at::kFloat, device);
  blocks->mean = scales.mean;
  return LinearWeight(std::move(blocks));
}

at::Tensor nf4_dense_by_operators(const Nf4Blocks& blocks) {
  const at::Device device = blocks.codes.device();
  const int64_t count = blocks.O * blocks.I;
  const int64_t padded = blocks.absmax_codes.numel() * kBlock;
  const at::Tensor high = blocks.codes.bitwise_right_shift(4);
  const at::Tensor low = blocks.codes.bitwise_and(15);
  const at::Tensor codes = at::constant_pad_nd(at::stack({high, low}, 1).view({-1}),
                                               {0, padded - 2 * blocks.codes.numel()});
  const at::Tensor values =
      tensor_of(kernels::kNf4Values, device).index_select(0, codes.to(at::kInt)).view({-1, kBlock});
  const at::Tensor scales = blocks.scales.repeat_interleave(kernels::kNf4ScaleBlock)
                                .narrow(0, 0, blocks.absmax_codes.numel());
  const at::Tensor absmax = tensor_of(kernels::kSignedValues, device)
                                .index_select(0, blocks.absmax_codes.to(at::kInt))
                                .mul_(scales)
                                .add_(blocks.mean);
  return (values * absmax.unsqueeze(1))
      .view({-1})
      .narrow(0, 0, count)
      .to(blocks.dtype)
      .view({blocks.O, blocks.I});
}

at::Tensor linear(const at::Tensor& x_TI, const LinearWeight& weight, const at::Tensor& bias_O) {
  const auto bias = bias_O.defined() ? std::optional(bias_O) : std::nullopt;
  if (weight.is_dense()) return at::linear(x_TI, weight.dense(), bias);
  return Nf4Linear::apply(x_TI, weight, bias);
}

}  // namespace ratchet::trainer::ops
