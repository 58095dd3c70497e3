#include "trainer/ops/linear_cross_entropy_op.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

namespace ratchet::trainer::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr int64_t kChunkLogitsCpu = int64_t{1} << 22;   // 16 MiB of fp32: near the caches
constexpr int64_t kChunkLogitsCuda = int64_t{1} << 28;  // 1 GiB: 2048 rows of a 128 K vocabulary
constexpr int64_t kChunkRowsLeast = 64;                 // fewer rows starve the matrix product

struct Wanted {
  bool hidden, weight;
};

int64_t chunk_rows(const at::Tensor& w) {
  const int64_t logits = w.is_cpu() ? kChunkLogitsCpu : kChunkLogitsCuda;
  return std::max(kChunkRowsLeast, logits / std::max<int64_t>(1, w.size(0)));
}

// Turns log probabilities into the gradient of the summed loss by the logits: p - onehot(target).
void to_gradient(at::Tensor& log_p, const at::Tensor& target) {
  log_p.exp_();
  const at::Tensor index = target.unsqueeze(1);
  log_p.scatter_(1, index, log_p.gather(1, index).sub_(1.0));
}

class LinearCrossEntropy : public torch::autograd::Function<LinearCrossEntropy> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& h, const at::Tensor& w,
                            const at::Tensor& target, const Wanted& wanted) {
    const auto wide = h.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    at::Tensor sum = at::zeros({}, h.options().dtype(at::kDouble));
    at::Tensor dh = wanted.hidden ? at::empty_like(h) : at::Tensor();
    at::Tensor dw = wanted.weight ? at::zeros_like(w) : at::Tensor();
    const int64_t rows = h.size(0), step = chunk_rows(w);
    for (int64_t begin = 0; begin < rows; begin += step) {
      const int64_t count = std::min(step, rows - begin);
      const at::Tensor h_chunk = h.narrow(0, begin, count);
      const at::Tensor target_chunk = target.narrow(0, begin, count);
      at::Tensor log_p =
          at::_log_softmax(at::mm(h_chunk, w.t()).to(wide), 1, /*half_to_float=*/false);
      sum.sub_(log_p.gather(1, target_chunk.unsqueeze(1)).sum(at::kDouble));
      if (!wanted.hidden && !wanted.weight) {
        continue;
      }
      to_gradient(log_p, target_chunk);
      const at::Tensor dlogits = log_p.to(h.scalar_type());
      if (wanted.hidden) {
        at::Tensor dh_chunk = dh.narrow(0, begin, count);
        at::mm_out(dh_chunk, dlogits, w);
      }
      if (wanted.weight) {
        dw.addmm_(dlogits.t(), h_chunk);
      }
    }
    ctx->save_for_backward({dh, dw});
    return sum.to(wide);
  }

  static tensor_list backward(AutogradContext* ctx, const tensor_list& grads) {
    const tensor_list saved = ctx->get_saved_variables();
    const auto scaled = [&grads](const at::Tensor& gradient) {
      return gradient.defined() ? gradient * grads[0].to(gradient.scalar_type()) : at::Tensor();
    };
    return {scaled(saved[0]), scaled(saved[1]), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor linear_cross_entropy(const at::Tensor& h_RD, const at::Tensor& w_VD,
                                const at::Tensor& target_R) {
  TORCH_CHECK(h_RD.dim() == 2 && w_VD.dim() == 2 && h_RD.size(1) == w_VD.size(1) &&
                  target_R.dim() == 1 && target_R.size(0) == h_RD.size(0) &&
                  target_R.scalar_type() == at::kLong,
              "linear_cross_entropy: h ", h_RD.sizes(), ", W ", w_VD.sizes(), ", targets ",
              target_R.sizes(), " ", target_R.scalar_type());
  TORCH_CHECK(h_RD.scalar_type() == w_VD.scalar_type(), "linear_cross_entropy: h is ",
              h_RD.scalar_type(), ", W ", w_VD.scalar_type());
  const bool grad = at::GradMode::is_enabled();
  return LinearCrossEntropy::apply(
      h_RD, w_VD, target_R, Wanted{grad && h_RD.requires_grad(), grad && w_VD.requires_grad()});
}

}  // namespace ratchet::trainer::ops
