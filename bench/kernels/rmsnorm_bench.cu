// RMSNorm against its byte floor: one TSV row for each operation, type and shape
// (bench/support/kernel_bench.h). Before timing, each shape is checked against the double
// reference.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/support/kernel_bench.h"
#include "kernels/reference/compare.h"
#include "kernels/reference/device_array.h"
#include "kernels/reference/rmsnorm_ref.h"
#include "kernels/rmsnorm.h"

namespace ratchet {
namespace {

using bench::require;
using kernels::reference::DeviceArray;
using kernels::reference::random_elements;
using kernels::reference::widened;

struct Shape {
  int64_t T, D;
  const char* what;
};

const std::vector<Shape> kShapes = {
    {8192, 4096, "8B hidden, 2 x 4096 tokens"},
    {8192, 2048, "1B hidden"},
    {8192, 8192, "70B hidden"},
    {262144, 128, "q norm, 32 heads"},
    {512, 4096, "short batch"},
};

constexpr int64_t kCheckedRows = 64;

template <class Element>
class Bench {
 public:
  explicit Bench(const Shape& shape)
      : host_x_(random_elements<Element>(static_cast<size_t>(shape.T * shape.D), 1, 2.0F)),
        host_w_(random_elements<Element>(static_cast<size_t>(shape.D), 2, 0.5F, 1.0F)),
        tensors_(host_x_, 4),
        w_(host_w_),
        rstd_(static_cast<size_t>(shape.T)),
        dw_(static_cast<size_t>(shape.D)),
        workspace_(
            static_cast<size_t>(kernels::rmsnorm_backward_workspace_bytes(shape.T, shape.D) / 4)),
        T_(shape.T),
        D_(shape.D) {}

  void run(const bench::KernelTable& table, const char* dtype) {
    check();
    const int64_t size = sizeof(Element);
    table.row("rmsnorm_forward", dtype, name(), kernels::rmsnorm_forward_bytes(T_, D_, size),
              [&](int i) { return kernels::rmsnorm_forward(forward(i), nullptr); });
    struct Variant {
      const char* op;
      bool residual, weight;
    };
    for (const Variant& v : {Variant{"rmsnorm_backward", false, false},
                             Variant{"rmsnorm_backward_residual", true, false},
                             Variant{"rmsnorm_backward_dw", false, true}}) {
      table.row(v.op, dtype, name(),
                kernels::rmsnorm_backward_bytes(T_, D_, size, v.residual, v.weight), [&](int i) {
                  return kernels::rmsnorm_backward(backward(i, v.residual, v.weight), nullptr);
                });
    }
  }

 private:
  [[nodiscard]] std::string name() const { return bench::shape_name({{"T", T_}, {"D", D_}}); }

  kernels::RmsNormForwardArgs<Element> forward(int i) {
    kernels::RmsNormForwardArgs<Element> args;
    args.x_TD = tensors_.at(i, 0);
    args.w_D = w_.data();
    args.y_TD = tensors_.at(i, 1);
    args.rstd_T = rstd_.data();
    args.T = T_;
    args.D = D_;
    args.eps = 1e-6F;
    return args;
  }

  kernels::RmsNormBackwardArgs<Element> backward(int i, bool residual, bool weight) {
    kernels::RmsNormBackwardArgs<Element> args;
    args.x_TD = tensors_.at(i, 0);
    args.dx_TD = tensors_.at(i, 1);
    args.dy_TD = tensors_.at(i, 2);
    args.residual_TD = residual ? tensors_.at(i, 3) : nullptr;
    args.w_D = w_.data();
    args.rstd_T = rstd_.data();
    args.dw_D = weight ? dw_.data() : nullptr;
    args.workspace = weight ? workspace_.data() : nullptr;
    args.workspace_bytes = kernels::rmsnorm_backward_workspace_bytes(T_, D_);
    args.T = T_;
    args.D = D_;
    return args;
  }

  void check() {
    const int64_t rows = std::min(T_, kCheckedRows);
    require(kernels::rmsnorm_forward(forward(0), nullptr), "forward");
    const std::vector<Element> head(host_x_.begin(), host_x_.begin() + rows * D_);
    const auto exact =
        kernels::reference::rmsnorm_forward(widened(head), widened(host_w_), rows, double{1e-6F});
    bench::stop_if_wrong(
        kernels::reference::first_outside(
            tensors_.read(1, head.size()), exact.y_TD, kernels::reference::magnitudes(exact.y_TD),
            kernels::reference::OpClass::kRow, kernels::reference::dtype_of<Element>(), D_),
        "rmsnorm_forward", name());
  }

  std::vector<Element> host_x_, host_w_;
  bench::RotatedTensors<Element> tensors_;
  DeviceArray<Element> w_;
  DeviceArray<float> rstd_, dw_, workspace_;
  int64_t T_, D_;
};

}  // namespace
}  // namespace ratchet

int main(int argc, char** argv) {
  using namespace ratchet;
  const auto time_shape = [](const bench::KernelTable& table, const Shape& shape) {
    Bench<__nv_bfloat16>(shape).run(table, "bf16");
    Bench<float>(shape).run(table, "fp32");
  };
  return bench::run_kernel_bench(argc, argv, kShapes, time_shape);
}
