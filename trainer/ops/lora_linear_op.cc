#include "trainer/ops/lora_linear_op.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>

namespace ratchet::trainer::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr int64_t kMaskGrainElements = 65536;  // elements worth a thread's while

template <class T>
void mask_elements(const at::Tensor& x, const at::Tensor& keep, at::Tensor& y) {
  const T* xs = x.const_data_ptr<T>();
  const uint8_t* keeps = keep.const_data_ptr<uint8_t>();
  T* ys = y.mutable_data_ptr<T>();
  at::parallel_for(0, x.numel(), kMaskGrainElements, [&](int64_t begin, int64_t end) {
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
  double scale = 1.0;   // scaling / (1 - p): the mask itself is not scaled
  LinearWeight weight;  // these two are no arguments of their own: those must be defined tensors
  at::Tensor bias;
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

// Of a dense W the tensor is kept, of NF4 the blocks.
void keep_weight(AutogradContext* ctx, const LinearWeight& weight) {
  if (!weight.is_dense()) {
    ctx->saved_data["blocks"] = c10::IValue::make_capsule(weight.blocks());
  }
}

at::Tensor dense_of(AutogradContext* ctx, const at::Tensor& kept) {
  if (kept.defined()) {
    return kept;
  }
  return LinearWeight(
             c10::static_intrusive_pointer_cast<Nf4Blocks>(ctx->saved_data["blocks"].toCapsule()))
      .dense();
}

at::Tensor kept_tensor(const LinearWeight& weight) {
  return weight.is_dense() ? weight.dense() : at::Tensor();
}

// x W^T + scale drop(x) A^T B^T (+ bias), and drop(x) A^T on the side.
at::Tensor adapted(const at::Tensor& x, const at::Tensor& a, const at::Tensor& b, const Call& call,
                   const at::Tensor& bias, at::Tensor& xa) {
  const auto dtype = x.scalar_type();
  xa = at::mm(dropped(x, keep_mask(call.dropout, x.size(1))), a.to(dtype).t());
  at::Tensor y =
      at::linear(x, call.weight.dense(), bias.defined() ? std::optional(bias) : std::nullopt);
  return y.addmm_(xa, b.to(dtype).t(), 1, call.scale);
}

struct LoraGradients {
  at::Tensor x, a, b;
};

// Of adapted(), where dz is the gradient of its result.
LoraGradients backward_of(AutogradContext* ctx, const tensor_list& saved, const at::Tensor& dz) {
  const at::Tensor &x = saved[0], &a = saved[1], &b = saved[2], &xa = saved[4];
  const Call call = recall(ctx, saved[5], saved[6]);
  const auto dtype = x.scalar_type();
  const at::Tensor keep = keep_mask(call.dropout, x.size(1));
  const at::Tensor dxa = at::mm(dz, b.to(dtype)).mul_(call.scale);
  LoraGradients out;
  if (ctx->needs_input_grad(1)) {
    out.a = mm_wide(dxa.t(), dropped(x, keep), a.scalar_type());
  }
  if (ctx->needs_input_grad(2)) {
    out.b = mm_wide(dz.t(), xa, b.scalar_type()).mul_(call.scale);
  }
  if (ctx->needs_input_grad(0)) {
    out.x = at::mm(dz, dense_of(ctx, saved[3]));
    if (keep.defined()) {
      at::Tensor through = at::mm(dxa, a.to(dtype));
      apply_mask(through, keep, through);
      out.x.add_(through);
    } else {
      out.x.addmm_(dxa, a.to(dtype));
    }
  }
  return out;
}

class LoraLinear : public torch::autograd::Function<LoraLinear> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& a,
                            const at::Tensor& b, const Call& call) {
    remember(ctx, call);
    keep_weight(ctx, call.weight);
    at::Tensor xa;
    at::Tensor y = adapted(x, a, b, call, call.bias, xa);
    ctx->save_for_backward({x, a, b, kept_tensor(call.weight), xa, call.dropout.places.sample_T,
                            call.dropout.places.position_T});
    return y;
  }

  static tensor_list backward(AutogradContext* ctx, const tensor_list& grads) {
    const LoraGradients out = backward_of(ctx, ctx->get_saved_variables(), grads[0].contiguous());
    return {out.x, out.a, out.b, at::Tensor()};
  }
};

class DoraLinear : public torch::autograd::Function<DoraLinear> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& a,
                            const at::Tensor& b, const at::Tensor& m, const at::Tensor& norm,
                            const Call& call) {
    remember(ctx, call);
    keep_weight(ctx, call.weight);
    at::Tensor xa;
    const at::Tensor z = adapted(x, a, b, call, {}, xa);
    at::Tensor y = z * (m / norm);
    if (call.bias.defined()) {
      y.add_(call.bias);
    }
    ctx->save_for_backward({x, a, b, kept_tensor(call.weight), xa, call.dropout.places.sample_T,
                            call.dropout.places.position_T, m, norm, z});
    return y.to(x.scalar_type());
  }

  static tensor_list backward(AutogradContext* ctx, const tensor_list& grads) {
    const tensor_list saved = ctx->get_saved_variables();
    const at::Tensor &m = saved[7], &norm = saved[8], &z = saved[9];
    const at::Tensor dy = grads[0].contiguous();
    at::Tensor dm;
    if (ctx->needs_input_grad(3)) {
      dm = (dy.to(m.scalar_type()) * z).sum(0).div_(norm);
    }
    const LoraGradients out = backward_of(ctx, saved, (dy * (m / norm)).to(dy.scalar_type()));
    return {out.x, out.a, out.b, dm, at::Tensor(), at::Tensor()};
  }
};

constexpr int64_t kNormRows = 512;      // of W that are widened at once
constexpr double kLeastSquare = 1e-24;  // so that a row of zeros stays one: 0 / norm is no NaN

}  // namespace

at::Tensor lora_linear(const at::Tensor& x_TI, const LinearWeight& weight, const at::Tensor& bias_O,
                       const LoraFactors& lora, const LoraDropout& dropout) {
  const at::Tensor &a = lora.a_RI, &b = lora.b_OR, &m = lora.magnitude_O;
  TORCH_CHECK(x_TI.dim() == 2 && x_TI.size(1) == weight.in() && a.dim() == 2 && b.dim() == 2 &&
                  a.size(1) == weight.in() && b.size(0) == weight.out() && a.size(0) == b.size(1),
              "lora_linear: x ", x_TI.sizes(), ", W [", weight.out(), ", ", weight.in(), "], A ",
              a.sizes(), ", B ", b.sizes());
  TORCH_CHECK(x_TI.is_contiguous() && x_TI.scalar_type() == weight.dtype(),
              "lora_linear: x must be contiguous and of W's dtype, got ", x_TI.scalar_type(),
              " and ", weight.dtype());
  TORCH_CHECK(!weight.requires_grad(), "lora_linear: W is frozen and must not ask for a gradient");
  TORCH_CHECK(dropout.p >= 0.0 && dropout.p < 1.0, "lora_linear: dropout ", dropout.p);
  TORCH_CHECK(dropout.p == 0.0 || dropout.places.sample_T.numel() == x_TI.size(0),
              "lora_linear: dropout needs the place of each of the ", x_TI.size(0), " tokens");
  const Call call{lora.scaling / (1.0 - dropout.p), weight, bias_O, dropout};
  if (!m.defined()) {
    return LoraLinear::apply(x_TI, a, b, call);
  }
  TORCH_CHECK(m.dim() == 1 && m.size(0) == weight.out() && m.scalar_type() == a.scalar_type(),
              "lora_linear: the magnitude is ", m.sizes(), " ", m.scalar_type(), " for W [",
              weight.out(), ", ", weight.in(), "] and A of ", a.scalar_type());
  return DoraLinear::apply(x_TI, a, b, m, dora_norm(weight, lora), call);
}

at::Tensor row_squares(const LinearWeight& weight, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  const at::Tensor w = weight.dense();
  at::Tensor out = at::empty({weight.out()}, w.options().dtype(dtype));
  for (int64_t row = 0; row < weight.out(); row += kNormRows) {
    const int64_t rows = std::min(kNormRows, weight.out() - row);
    out.narrow(0, row, rows).copy_(w.narrow(0, row, rows).to(dtype).square().sum(1));
  }
  return out;
}

at::Tensor dora_norm(const LinearWeight& weight, const LoraFactors& lora) {
  const at::NoGradGuard no_grad;
  const at::Tensor w = weight.dense();
  // What the products see: A and B rounded to W's dtype.
  const auto dtype = lora.a_RI.scalar_type();
  const at::Tensor a = lora.a_RI.detach().to(weight.dtype()).to(dtype);
  const at::Tensor b = lora.b_OR.detach().to(weight.dtype()).to(dtype);
  at::Tensor wa = at::empty({weight.out(), a.size(0)}, a.options());
  for (int64_t row = 0; row < weight.out(); row += kNormRows) {
    const int64_t rows = std::min(kNormRows, weight.out() - row);
    wa.narrow(0, row, rows).copy_(at::mm(w.narrow(0, row, rows).to(dtype), a.t()));
  }
  const at::Tensor cross = (wa * b).sum(1);
  const at::Tensor own = (at::mm(b, at::mm(a, a.t())) * b).sum(1);
  return (lora.row_squares_O + cross * (2.0 * lora.scaling) + own * (lora.scaling * lora.scaling))
      .clamp_min_(kLeastSquare)
      .sqrt_();
}

}  // namespace ratchet::trainer::ops
