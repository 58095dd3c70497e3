#include "trainer/ops/rope_op.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <numbers>

namespace ratchet::trainer::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr int64_t kRotatedGrainElements = 32768;  // elements worth a thread's while

template <class T>
void rotate_rows(const at::Tensor& x, const RopeTable& table, float direction, at::Tensor& y) {
  using S = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const int64_t tokens = x.size(0), heads = x.size(1), K = x.size(2), half = K / 2;
  const T* xs = x.const_data_ptr<T>();
  T* ys = y.mutable_data_ptr<T>();
  const float* cosines = table.cos_TJ.const_data_ptr<float>();
  const float* sines = table.sin_TJ.const_data_ptr<float>();
  const int64_t grain =
      std::max<int64_t>(1, kRotatedGrainElements / std::max<int64_t>(1, heads * K));
  at::parallel_for(0, tokens, grain, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* c = cosines + t * half;
      const float* s = sines + t * half;
      for (int64_t h = 0; h < heads; ++h) {
        const T* low = xs + (t * heads + h) * K;
        const T* high = low + half;
        T* out = ys + (t * heads + h) * K;
        for (int64_t j = 0; j < half; ++j) {
          const S cosine = static_cast<S>(c[j]);
          const S sine = static_cast<S>(s[j] * direction);
          const S a = static_cast<S>(low[j]), b = static_cast<S>(high[j]);
          out[j] = static_cast<T>(a * cosine - b * sine);
          out[half + j] = static_cast<T>(b * cosine + a * sine);
        }
      }
    }
  });
}

at::Tensor rotate_operators(const at::Tensor& x, const RopeTable& table, float direction) {
  const int64_t half = x.size(2) / 2;
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor low = wide.narrow(2, 0, half), high = wide.narrow(2, half, half);
  const at::Tensor c = table.cos_TJ.unsqueeze(1);
  const at::Tensor s = (table.sin_TJ * direction).unsqueeze(1);
  return at::cat({low * c - high * s, high * c + low * s}, 2).to(x.scalar_type());
}

// direction 1 turns forward; -1 back, which is also the transpose that backward needs.
at::Tensor rotate(const at::Tensor& x, const RopeTable& table, float direction) {
  if (!x.is_cpu()) {
    return rotate_operators(x, table, direction);
  }
  at::Tensor y = at::empty_like(x);
  if (x.scalar_type() == at::kDouble) {
    rotate_rows<double>(x, table, direction, y);
  } else if (x.scalar_type() == at::kFloat) {
    rotate_rows<float>(x, table, direction, y);
  } else {
    rotate_rows<at::BFloat16>(x, table, direction, y);
  }
  return y;
}

class Rope : public torch::autograd::Function<Rope> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& cosines,
                            const at::Tensor& sines) {
    ctx->save_for_backward({cosines, sines});
    return rotate(x, {cosines, sines}, 1.0F);
  }

  static tensor_list backward(AutogradContext* ctx, const tensor_list& grads) {
    const tensor_list saved = ctx->get_saved_variables();
    return {rotate(grads[0].contiguous(), {saved[0], saved[1]}, -1.0F), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor rope_inverse_frequencies(int64_t head_dim, double theta,
                                    const std::optional<Llama3RopeScaling>& scaling) {
  TORCH_CHECK(head_dim > 0 && head_dim % 2 == 0, "rope needs an even head_dim, got ", head_dim);
  const at::Tensor exponents =
      at::arange(0, head_dim, 2, at::kLong).to(at::kFloat) / static_cast<double>(head_dim);
  const at::Tensor plain = at::pow(theta, exponents).reciprocal();
  if (!scaling) {
    return plain;
  }
  const auto original = static_cast<double>(scaling->original_max_position_embeddings);
  const at::Tensor wavelength = 2.0 * std::numbers::pi / plain;
  const double long_wave = original / scaling->low_freq_factor;
  const double short_wave = original / scaling->high_freq_factor;
  const at::Tensor divided = at::where(wavelength.gt(long_wave), plain / scaling->factor, plain);
  const at::Tensor smooth = (original / wavelength - scaling->low_freq_factor) /
                            (scaling->high_freq_factor - scaling->low_freq_factor);
  const at::Tensor blended = (1.0 - smooth) * divided / scaling->factor + smooth * divided;
  const at::Tensor medium = wavelength.ge(short_wave).logical_and(wavelength.le(long_wave));
  return at::where(medium, blended, divided);
}

RopeTable rope_table(const at::Tensor& inverse_frequencies_J, const at::Tensor& positions_T) {
  const at::Tensor angles = positions_T.to(at::kFloat).unsqueeze(1) *
                            inverse_frequencies_J.to(positions_T.device()).unsqueeze(0);
  return {angles.cos(), angles.sin()};
}

at::Tensor rope(const at::Tensor& x_THK, const RopeTable& table) {
  TORCH_CHECK(x_THK.dim() == 3 && x_THK.is_contiguous(), "rope: x must be contiguous [T, H, K]");
  TORCH_CHECK(table.cos_TJ.dim() == 2 && table.cos_TJ.size(0) == x_THK.size(0) &&
                  table.cos_TJ.size(1) * 2 == x_THK.size(2) && table.cos_TJ.is_contiguous() &&
                  table.sin_TJ.is_contiguous(),
              "rope: the table is ", table.cos_TJ.sizes(), " for x ", x_THK.sizes());
  return Rope::apply(x_THK, table.cos_TJ, table.sin_TJ);
}

}  // namespace ratchet::trainer::ops
