// SwiGLU against its byte floor: one TSV row for each operation, type and shape
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
#include "kernels/reference/swiglu_ref.h"
#include "kernels/swiglu.h"

namespace ratchet {
namespace {

using kernels::reference::widened;

struct Shape {
  int64_t T, F;
  const char* what;
};

const std::vector<Shape> kShapes = {
    {8192, 14336, "8B, 2 x 4096 tokens"},
    {8192, 8192, "1B"},
    {4096, 28672, "70B"},
    {512, 14336, "short batch"},
};

constexpr int64_t kCheckedRows = 16;

template <class Element>
class Bench {
 public:
  explicit Bench(const Shape& shape)
      : host_(kernels::reference::random_elements<Element>(
            static_cast<size_t>(shape.T * 2 * shape.F), 1, 4.0F)),
        tensors_(host_, 3),
        T_(shape.T),
        F_(shape.F) {}

  void run(const bench::KernelTable& table, const char* dtype) {
    check();
    const int64_t size = sizeof(Element);
    const std::string name = bench::shape_name({{"T", T_}, {"F", F_}});
    table.row("swiglu_forward", dtype, name, kernels::swiglu_forward_bytes(T_, F_, size),
              [&](int i) { return kernels::swiglu_forward(forward(i), nullptr); });
    table.row("swiglu_backward", dtype, name, kernels::swiglu_backward_bytes(T_, F_, size),
              [&](int i) { return kernels::swiglu_backward(backward(i), nullptr); });
  }

 private:
  // As the trainer has them: gate and up are halves of one buffer, and so are their gradients.
  kernels::SwigluForwardArgs<Element> forward(int i) {
    kernels::SwigluForwardArgs<Element> args;
    args.gate_TF = tensors_.at(i, 0);
    args.up_TF = args.gate_TF + F_;
    args.gate_stride = args.up_stride = 2 * F_;
    args.h_TF = tensors_.at(i, 1);
    args.h_stride = F_;
    args.T = T_;
    args.F = F_;
    return args;
  }

  kernels::SwigluBackwardArgs<Element> backward(int i) {
    kernels::SwigluBackwardArgs<Element> args;
    args.gate_TF = tensors_.at(i, 0);
    args.up_TF = args.gate_TF + F_;
    args.dh_TF = tensors_.at(i, 1);
    args.dh_stride = F_;
    args.dgate_TF = tensors_.at(i, 2);
    args.dup_TF = args.dgate_TF + F_;
    args.gate_stride = args.up_stride = args.dgate_stride = args.dup_stride = 2 * F_;
    args.T = T_;
    args.F = F_;
    return args;
  }

  void check() {
    const int64_t rows = std::min(T_, kCheckedRows);
    std::vector<Element> gate, up;
    for (int64_t t = 0; t < rows; ++t) {
      const auto row = host_.begin() + t * 2 * F_;
      gate.insert(gate.end(), row, row + F_);
      up.insert(up.end(), row + F_, row + 2 * F_);
    }
    bench::require(kernels::swiglu_forward(forward(0), nullptr), "forward");
    const auto exact = kernels::reference::swiglu_forward(widened(gate), widened(up));
    bench::stop_if_wrong(
        kernels::reference::first_outside(tensors_.read(1, gate.size()), exact.h, exact.h_scale,
                                          kernels::reference::OpClass::kFastExp,
                                          kernels::reference::dtype_of<Element>(), 1),
        "swiglu_forward", bench::shape_name({{"T", T_}, {"F", F_}}));
  }

  std::vector<Element> host_;
  bench::RotatedTensors<Element> tensors_;
  int64_t T_, F_;
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
