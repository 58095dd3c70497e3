#include "trainer/ops/lora_linear_op.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

namespace ratchet::trainer::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr int64_t kGrainElements = 65536;  // elements worth a thread's while

template <class T>
void mask_elements(const at::Tensor& x, const at::Tensor& keep, at::Tensor& y) {
  const T* xs = x.const_data_ptr<T>();
  const uint8_t* keeps = keep.const_data_ptr<uint8_t>();
  T* ys = y.mutable_data_ptr<T>();
  at::parallel_for(0, x.numel(), kGrainElements, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      ys[i] = keeps[i] != 0 ? xs[i] : T{0};
    }
  });
}

// x where keep is 1, else 0, into y, which may be x. A dropped NaN is gone, as with a product by
// zero it would not be: a NaN in x still reaches y = x W^T.
void apply_mask(const at::Tensor& x, const at::Tensor& keep, at::Tensor& y) {
  if (!x.is_cpu()) {
    at::where_out(y, keep.to(at::kBool), x, at::zeros({}, x.options()));
  } else if (x.scalar_type() == at::kDouble) {
    mask_elements<double>(x, keep, y);
  } else if (x.scalar_type() == at::kFloat) {
    mask_elements<float>(x, keep, y);
  } else {
    mask_elements<at::BFloat16>(x, keep, y);
  }
}

// a b with the sum in fp32 and no rounding of it: gradients of fp32 masters.
at::Tensor mm_wide(const at::Tensor& a, const at::Tensor& b, at::ScalarType dtype) {
  if (a.scalar_type() == dtype) {
    return at::mm(a, b);
  }
  return a.is_cuda() ? at::mm(a, b, dtype) : at::mm(a.to(dtype), b.to(dtype));
}

struct Call {
  double scale = 1.0;  // scaling / (1 - p): the mask itself is not scaled
  at::Tensor bias;     // not an argument of its own: those must be defined
  LoraDropout dropout;
};

void remember(AutogradContext* ctx, const Call& call) {
  ctx->saved_data["scale"] = call.scale;
  ctx->saved_data["p"] = call.dropout.p;
  ctx->saved_data["seed"] = static_cast<int64_t>(call.dropout.key.seed);
  ctx->saved_data["data_epoch"] = call.dropout.key.data_epoch;
  ctx->saved_data["layer"] = static_cast<int64_t>(call.dropout.key.layer);
  ctx->saved_data["module"] = static_cast<int64_t>(call.dropout.key.module);
}

Call recall(AutogradContext* ctx, const at::Tensor& sample, const at::Tensor& position) {
  Call call;
  call.scale = ctx->saved_data["scale"].toDouble();
  call.dropout.p = ctx->saved_data["p"].toDouble();
  call.dropout.key = {static_cast<uint64_t>(ctx->saved_data["seed"].toInt()),
                      ctx->saved_data["data_epoch"].toInt(),
                      static_cast<uint32_t>(ctx->saved_data["layer"].toInt()),
                      static_cast<uint32_t>(ctx->saved_data["module"].toInt())};
  call.dropout.places = {sample, position};
  return call;
}

at::Tensor keep_mask(const LoraDropout& dropout, int64_t columns) {
  return dropout.p > 0.0 ? dropout_keep_mask(dropout.key, dropout.places, columns, dropout.p)
                         : at::Tensor();
}

at::Tensor dropped(const at::Tensor& x, const at::Tensor& keep) {
  if (!keep.defined()) {
    return x;
  }
  at::Tensor y = at::empty_like(x);
  apply_mask(x, keep, y);
  return y;
}

class LoraLinear : public torch::autograd::Function<LoraLinear> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& a,
                            const at::Tensor& b, const at::Tensor& w, const Call& call) {
    remember(ctx, call);
    const auto dtype = x.scalar_type();
    const at::Tensor xa = at::mm(dropped(x, keep_mask(call.dropout, x.size(1))), a.to(dtype).t());
    at::Tensor y = at::linear(x, w, call.bias.defined() ? std::optional(call.bias) : std::nullopt);
    y.addmm_(xa, b.to(dtype).t(), 1, call.scale);
    ctx->save_for_backward(
        {x, a, b, w, xa, call.dropout.places.sample_T, call.dropout.places.position_T});
    return y;
  }

  static tensor_list backward(AutogradContext* ctx, const tensor_list& grads) {
    const tensor_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &a = saved[1], &b = saved[2], &w = saved[3], &xa = saved[4];
    const Call call = recall(ctx, saved[5], saved[6]);
    const auto dtype = x.scalar_type();
    const at::Tensor dy = grads[0].contiguous();
    const at::Tensor keep = keep_mask(call.dropout, x.size(1));
    const at::Tensor dxa = at::mm(dy, b.to(dtype)).mul_(call.scale);
    at::Tensor dx, da, db;
    if (ctx->needs_input_grad(1)) {
      da = mm_wide(dxa.t(), dropped(x, keep), a.scalar_type());
    }
    if (ctx->needs_input_grad(2)) {
      db = mm_wide(dy.t(), xa, b.scalar_type()).mul_(call.scale);
    }
    if (ctx->needs_input_grad(0)) {
      dx = at::mm(dy, w);
      if (keep.defined()) {
        at::Tensor through = at::mm(dxa, a.to(dtype));
        apply_mask(through, keep, through);
        dx.add_(through);
      } else {
        dx.addmm_(dxa, a.to(dtype));
      }
    }
    return {dx, da, db, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor lora_linear(const at::Tensor& x_TI, const at::Tensor& w_OI, const at::Tensor& bias_O,
                       const LoraFactors& lora, const LoraDropout& dropout) {
  const at::Tensor &a = lora.a_RI, &b = lora.b_OR;
  TORCH_CHECK(x_TI.dim() == 2 && w_OI.dim() == 2 && x_TI.size(1) == w_OI.size(1) && a.dim() == 2 &&
                  b.dim() == 2 && a.size(1) == x_TI.size(1) && b.size(0) == w_OI.size(0) &&
                  a.size(0) == b.size(1),
              "lora_linear: x ", x_TI.sizes(), ", W ", w_OI.sizes(), ", A ", a.sizes(), ", B ",
              b.sizes());
  TORCH_CHECK(x_TI.is_contiguous() && x_TI.scalar_type() == w_OI.scalar_type(),
              "lora_linear: x must be contiguous and of W's dtype, got ", x_TI.scalar_type(),
              " and ", w_OI.scalar_type());
  TORCH_CHECK(!w_OI.requires_grad(), "lora_linear: W is frozen and must not ask for a gradient");
  TORCH_CHECK(dropout.p >= 0.0 && dropout.p < 1.0, "lora_linear: dropout ", dropout.p);
  TORCH_CHECK(dropout.p == 0.0 || dropout.places.sample_T.numel() == x_TI.size(0),
              "lora_linear: dropout needs the place of each of the ", x_TI.size(0), " tokens");
  return LoraLinear::apply(x_TI, a, b, w_OI,
                           Call{lora.scaling / (1.0 - dropout.p), bias_O, dropout});
}

}  // namespace ratchet::trainer::ops
