#include "trainer/ops/rmsnorm_cuda.h"

#include <ATen/ATen.h>

#if defined(RATCHET_CUDA)
#include <c10/core/impl/VirtualGuardImpl.h>

#include "kernels/rmsnorm.h"
#endif

namespace ratchet::trainer::ops {

#if defined(RATCHET_CUDA)
namespace {

constexpr int64_t kWidestRowBytes = 65536;  // kernels/rmsnorm.h: D * sizeof(Element)

// LibTorch's current stream, through the device-generic interface: libc10_cuda is loaded at run
// time and not linked.
cudaStream_t current_stream(const at::Tensor& tensor) {
  const c10::impl::VirtualGuardImpl guard(tensor.device().type());
  return static_cast<cudaStream_t>(guard.getStream(tensor.device()).native_handle());
}

void check(cudaError_t error, const char* what, const at::Tensor& x) {
  TORCH_CHECK(error == cudaSuccess, what, " of ", x.sizes(), " ", x.scalar_type(),
              " failed: ", cudaGetErrorString(error));
}

template <class Element>
Element* data(const at::Tensor& tensor) {
  return static_cast<Element*>(tensor.data_ptr());
}

template <class Element>
void run_forward(const at::Tensor& x, const at::Tensor& w, double eps, at::Tensor& y,
                 at::Tensor& rstd) {
  kernels::RmsNormForwardArgs<Element> args;
  args.x_TD = data<Element>(x);
  args.w_D = data<Element>(w);
  args.y_TD = data<Element>(y);
  args.rstd_T = data<float>(rstd);
  args.T = x.size(0);
  args.D = x.size(1);
  args.eps = static_cast<float>(eps);
  check(kernels::rmsnorm_forward(args, current_stream(x)), "rmsnorm_forward", x);
}

template <class Element>
void run_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& w,
                  const at::Tensor& rstd, at::Tensor& dx) {
  kernels::RmsNormBackwardArgs<Element> args;
  args.dy_TD = data<Element>(dy);
  args.x_TD = data<Element>(x);
  args.w_D = data<Element>(w);
  args.rstd_T = data<float>(rstd);
  args.dx_TD = data<Element>(dx);
  args.T = x.size(0);
  args.D = x.size(1);
  check(kernels::rmsnorm_backward(args, current_stream(x)), "rmsnorm_backward", x);
}

}  // namespace

bool rmsnorm_cuda_takes(const at::Tensor& x_TD) {
  const bool dtype = x_TD.scalar_type() == at::kFloat || x_TD.scalar_type() == at::kBFloat16;
  return x_TD.is_cuda() && dtype && x_TD.size(1) % 8 == 0 &&
         x_TD.size(1) * x_TD.element_size() <= kWidestRowBytes;
}

std::tuple<at::Tensor, at::Tensor> rmsnorm_cuda_forward(const at::Tensor& x_TD,
                                                        const at::Tensor& w_D, double eps) {
  at::Tensor y = at::empty_like(x_TD);
  at::Tensor rstd = at::empty({x_TD.size(0)}, x_TD.options().dtype(at::kFloat));
  if (x_TD.scalar_type() == at::kFloat) {
    run_forward<float>(x_TD, w_D, eps, y, rstd);
  } else {
    run_forward<__nv_bfloat16>(x_TD, w_D, eps, y, rstd);
  }
  return {y, rstd};
}

at::Tensor rmsnorm_cuda_backward(const at::Tensor& dy_TD, const at::Tensor& x_TD,
                                 const at::Tensor& w_D, const at::Tensor& rstd_T) {
  at::Tensor dx = at::empty_like(x_TD);
  if (x_TD.scalar_type() == at::kFloat) {
    run_backward<float>(dy_TD, x_TD, w_D, rstd_T, dx);
  } else {
    run_backward<__nv_bfloat16>(dy_TD, x_TD, w_D, rstd_T, dx);
  }
  return dx;
}

#else

bool rmsnorm_cuda_takes(const at::Tensor& /*x_TD*/) { return false; }

std::tuple<at::Tensor, at::Tensor> rmsnorm_cuda_forward(const at::Tensor& /*x_TD*/,
                                                        const at::Tensor& /*w_D*/, double /*eps*/) {
  TORCH_CHECK(false, "this build has no CUDA kernels (RATCHET_CUDA is off)");
}

at::Tensor rmsnorm_cuda_backward(const at::Tensor& /*dy_TD*/, const at::Tensor& /*x_TD*/,
                                 const at::Tensor& /*w_D*/, const at::Tensor& /*rstd_T*/) {
  TORCH_CHECK(false, "this build has no CUDA kernels (RATCHET_CUDA is off)");
}

#endif

}  // namespace ratchet::trainer::ops
