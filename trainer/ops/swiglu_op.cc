#include "trainer/ops/swiglu_op.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

namespace ratchet::trainer::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

class Swiglu : public torch::autograd::Function<Swiglu> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up) {
    ctx->save_for_backward({gate, up});
    return at::silu(gate).mul_(up);
  }

  static tensor_list backward(AutogradContext* ctx, const tensor_list& grads) {
    const tensor_list saved = ctx->get_saved_variables();
    const at::Tensor &gate = saved[0], &up = saved[1], &dh = grads[0];
    const at::Tensor dup = at::silu(gate).mul_(dh);
    const at::Tensor dgate = at::silu_backward(dh * up, gate);
    return {dgate, dup};
  }
};

}  // namespace

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  TORCH_CHECK(gate.sizes() == up.sizes() && gate.scalar_type() == up.scalar_type() &&
                  gate.device() == up.device(),
              "swiglu: gate is ", gate.sizes(), " ", gate.scalar_type(), ", up is ", up.sizes(),
              " ", up.scalar_type());
  return Swiglu::apply(gate, up);
}

}  // namespace ratchet::trainer::ops
