#include "trainer/ops/rmsnorm_op.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "trainer/ops/rmsnorm_cuda.h"

namespace ratchet::trainer::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr int64_t kLanes = 16;             // independent partial sums: order fixed, vectorisable
constexpr int64_t kGrainElements = 32768;  // elements worth a thread's while

// Sums are kept in fp32, except for fp64 tensors.
template <class T>
using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class S>
S fold(const std::array<S, kLanes>& lanes) {
  S total = 0;
  for (const S lane : lanes) {
    total += lane;
  }
  return total;
}

// sum_d term(d), in an order that depends on D alone.
template <class S, class Term>
S lane_sum(int64_t D, const Term& term) {
  std::array<S, kLanes> lanes{};
  int64_t d = 0;
  for (; d + kLanes <= D; d += kLanes) {
    for (int64_t i = 0; i < kLanes; ++i) {
      lanes[static_cast<size_t>(i)] += term(d + i);
    }
  }
  for (int64_t i = 0; d < D; ++d, ++i) {
    lanes[static_cast<size_t>(i)] += term(d);
  }
  return fold(lanes);
}

int64_t row_grain(int64_t D) {
  return std::max<int64_t>(1, kGrainElements / std::max<int64_t>(1, D));
}

template <class T>
void forward_rows(const at::Tensor& x, const at::Tensor& w, double eps, at::Tensor& y,
                  at::Tensor& rstd) {
  using S = Sum<T>;
  const int64_t T_rows = x.size(0), D = x.size(1);
  const T* xs = x.const_data_ptr<T>();
  const T* ws = w.const_data_ptr<T>();
  T* ys = y.mutable_data_ptr<T>();
  S* rstds = rstd.mutable_data_ptr<S>();
  at::parallel_for(0, T_rows, row_grain(D), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const T* row = xs + t * D;
      T* out = ys + t * D;
      const S squares = lane_sum<S>(D, [row](int64_t d) {
        const S value = static_cast<S>(row[d]);
        return value * value;
      });
      const S r = S{1} / std::sqrt(squares / static_cast<S>(D) + static_cast<S>(eps));
      rstds[t] = r;
      for (int64_t d = 0; d < D; ++d) {
        out[d] = static_cast<T>(static_cast<S>(row[d]) * r * static_cast<S>(ws[d]));
      }
    }
  });
}

// dx[t,d] = rstd (dy w - x rstd^2 mean_d(dy w x)).
template <class T>
void backward_rows(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& w,
                   const at::Tensor& rstd, at::Tensor& dx) {
  using S = Sum<T>;
  const int64_t T_rows = x.size(0), D = x.size(1);
  const T* dys = dy.const_data_ptr<T>();
  const T* xs = x.const_data_ptr<T>();
  const T* ws = w.const_data_ptr<T>();
  const S* rstds = rstd.const_data_ptr<S>();
  T* dxs = dx.mutable_data_ptr<T>();
  at::parallel_for(0, T_rows, row_grain(D), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const T* g = dys + t * D;
      const T* row = xs + t * D;
      T* out = dxs + t * D;
      const S dot = lane_sum<S>(D, [g, row, ws](int64_t d) {
        return static_cast<S>(g[d]) * static_cast<S>(ws[d]) * static_cast<S>(row[d]);
      });
      const S r = rstds[t];
      const S pull = r * r * dot / static_cast<S>(D);
      for (int64_t d = 0; d < D; ++d) {
        out[d] = static_cast<T>(
            r * (static_cast<S>(g[d]) * static_cast<S>(ws[d]) - static_cast<S>(row[d]) * pull));
      }
    }
  });
}

at::Tensor weight_gradient(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& rstd) {
  return (dy.to(rstd.scalar_type()) * (x.to(rstd.scalar_type()) * rstd.unsqueeze(1))).sum(0);
}

at::Tensor rows_of(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}).contiguous(); }

struct Forward {
  at::Tensor y, rstd;
};

Forward forward_cpu(const at::Tensor& x, const at::Tensor& w, double eps) {
  const bool fp64 = x.scalar_type() == at::kDouble;
  Forward out{at::empty_like(x),
              at::empty({x.size(0)}, x.options().dtype(fp64 ? at::kDouble : at::kFloat))};
  if (fp64) {
    forward_rows<double>(x, w, eps, out.y, out.rstd);
  } else if (x.scalar_type() == at::kFloat) {
    forward_rows<float>(x, w, eps, out.y, out.rstd);
  } else {
    forward_rows<at::BFloat16>(x, w, eps, out.y, out.rstd);
  }
  return out;
}

Forward forward_operators(const at::Tensor& x, const at::Tensor& w, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor rstd = wide.square().mean(1).add_(eps).rsqrt_();
  return {(wide * rstd.unsqueeze(1)).mul_(w).to(x.scalar_type()), rstd};
}

at::Tensor backward_cpu(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& w,
                        const at::Tensor& rstd) {
  at::Tensor dx = at::empty_like(x);
  if (x.scalar_type() == at::kDouble) {
    backward_rows<double>(dy, x, w, rstd, dx);
  } else if (x.scalar_type() == at::kFloat) {
    backward_rows<float>(dy, x, w, rstd, dx);
  } else {
    backward_rows<at::BFloat16>(dy, x, w, rstd, dx);
  }
  return dx;
}

at::Tensor backward_operators(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& w,
                              const at::Tensor& rstd) {
  const at::Tensor g = dy.to(at::kFloat).mul_(w);
  const at::Tensor normed = x.to(at::kFloat).mul_(rstd.unsqueeze(1));
  const at::Tensor pull = (g * normed).mean(1, true);
  return (g - normed * pull).mul_(rstd.unsqueeze(1)).to(x.scalar_type());
}

class RmsNorm : public torch::autograd::Function<RmsNorm> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& w,
                            double eps) {
    const at::Tensor rows = rows_of(x);
    Forward out;
    if (x.is_cpu()) {
      out = forward_cpu(rows, w, eps);
    } else if (rmsnorm_cuda_takes(rows)) {
      std::tie(out.y, out.rstd) = rmsnorm_cuda_forward(rows, w, eps);
    } else {
      out = forward_operators(rows, w, eps);
    }
    ctx->save_for_backward({rows, w, out.rstd});
    return out.y.view(x.sizes());
  }

  static tensor_list backward(AutogradContext* ctx, const tensor_list& grads) {
    const tensor_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &w = saved[1], &rstd = saved[2];
    const at::Tensor dy = rows_of(grads[0]);
    at::Tensor dx, dw;
    if (ctx->needs_input_grad(0)) {
      dx = x.is_cpu()              ? backward_cpu(dy, x, w, rstd)
           : rmsnorm_cuda_takes(x) ? rmsnorm_cuda_backward(dy, x, w, rstd)
                                   : backward_operators(dy, x, w, rstd);
      dx = dx.view(grads[0].sizes());
    }
    if (ctx->needs_input_grad(1)) {
      dw = weight_gradient(dy, x, rstd).to(w.scalar_type());
    }
    return {dx, dw, at::Tensor()};
  }
};

}  // namespace

at::Tensor rmsnorm(const at::Tensor& x, const at::Tensor& w_D, double eps) {
  TORCH_CHECK(x.dim() >= 1 && w_D.dim() == 1 && x.size(-1) == w_D.size(0) && w_D.is_contiguous(),
              "rmsnorm: the weight must be a contiguous [", x.dim() > 0 ? x.size(-1) : 0,
              "] vector, got ", w_D.sizes());
  TORCH_CHECK(x.scalar_type() == w_D.scalar_type() && x.device() == w_D.device(), "rmsnorm: x is ",
              x.scalar_type(), " on ", x.device(), ", the weight ", w_D.scalar_type(), " on ",
              w_D.device());
  TORCH_CHECK(x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16 ||
                  x.scalar_type() == at::kDouble,
              "rmsnorm: dtype ", x.scalar_type(), " is not fp32, bf16 or fp64");
  return RmsNorm::apply(x, w_D, eps);
}

}  // namespace ratchet::trainer::ops
