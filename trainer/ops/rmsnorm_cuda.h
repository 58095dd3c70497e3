#pragma once

// The bridge from LibTorch tensors to kernels/rmsnorm.h. In a build without RATCHET_CUDA
// rmsnorm_cuda_takes() is always false and the other two throw.
//
// x, dy [T, D] contiguous and w [D] on one CUDA device, equal dtype fp32 or bf16; rstd [T] fp32.

#include <ATen/core/Tensor.h>

#include <tuple>

namespace ratchet::trainer::ops {

// True when the kernels cover this tensor: CUDA, fp32 or bf16, D a multiple of 8 and not too wide.
bool rmsnorm_cuda_takes(const at::Tensor& x_TD);

// {y, rstd}
std::tuple<at::Tensor, at::Tensor> rmsnorm_cuda_forward(const at::Tensor& x_TD,
                                                        const at::Tensor& w_D, double eps);

// dx
at::Tensor rmsnorm_cuda_backward(const at::Tensor& dy_TD, const at::Tensor& x_TD,
                                 const at::Tensor& w_D, const at::Tensor& rstd_T);

}  // namespace ratchet::trainer::ops
