// RoPE against its byte floor: one TSV row for each operation, type and shape
// (bench/support/kernel_bench.h). Before timing, each shape is checked against the double
// reference.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/support/kernel_bench.h"
#include "kernels/reference/compare.h"
#include "kernels/reference/device_array.h"
#include "kernels/reference/rope_ref.h"
#include "kernels/rope.h"

namespace ratchet {
namespace {

using kernels::reference::DeviceArray;

struct Shape {
  int64_t T, q_heads, k_heads, K;
  const char* what;
};

const std::vector<Shape> kShapes = {
    {8192, 32, 8, 128, "8B, 2 x 4096 tokens"},
    {8192, 32, 8, 64, "1B"},
    {4096, 64, 8, 128, "70B"},
    {512, 32, 8, 128, "short batch"},
};

template <class Element>
class Bench {
 public:
  explicit Bench(const Shape& shape)
      : shape_(shape),
        stride_((shape.q_heads + 2 * shape.k_heads) * shape.K),
        host_(kernels::reference::random_elements<Element>(static_cast<size_t>(shape.T * stride_),
                                                           1, 2.0F)),
        host_cosine_(static_cast<size_t>(shape.T * shape.K / 2), std::cos(0.7F)),
        host_sine_(host_cosine_.size(), std::sin(0.7F)),
        tensors_(host_, 1),
        cosine_(host_cosine_),
        sine_(host_sine_) {}

  void run(const bench::KernelTable& table, const char* dtype) {
    check();
    const int64_t bytes =
        kernels::rope_bytes(shape_.T, shape_.q_heads + shape_.k_heads, shape_.K, sizeof(Element));
    table.row("rope_forward", dtype, name(), bytes,
              [&](int i) { return kernels::rope_forward(args(i), nullptr); });
    table.row("rope_backward", dtype, name(), bytes,
              [&](int i) { return kernels::rope_backward(args(i), nullptr); });
  }

 private:
  [[nodiscard]] std::string name() const {
    return bench::shape_name(
        {{"T", shape_.T}, {"q", shape_.q_heads}, {"k", shape_.k_heads}, {"K", shape_.K}});
  }

  // As the trainer has them: q and k in the fused buffer [T, q | k | v].
  kernels::RopeArgs<Element> args(int i) {
    kernels::RopeArgs<Element> args;
    args.q_THK = tensors_.at(i, 0);
    args.k_THK = args.q_THK + shape_.q_heads * shape_.K;
    args.cos_TJ = cosine_.data();
    args.sin_TJ = sine_.data();
    args.q_stride = args.k_stride = stride_;
    args.T = shape_.T;
    args.q_heads = shape_.q_heads;
    args.k_heads = shape_.k_heads;
    args.K = shape_.K;
    return args;
  }

  // The first token, all heads.
  void check() {
    bench::require(kernels::rope_forward(args(0), nullptr), "rope_forward");
    const auto count = static_cast<size_t>((shape_.q_heads + shape_.k_heads) * shape_.K);
    const std::vector<Element> head(host_.begin(),
                                    host_.begin() + static_cast<std::ptrdiff_t>(count));
    const auto exact = kernels::reference::rope(
        kernels::reference::widened(head), host_cosine_, host_sine_,
        static_cast<size_t>(shape_.q_heads + shape_.k_heads), static_cast<size_t>(shape_.K), 1.0);
    bench::stop_if_wrong(
        kernels::reference::first_outside(tensors_.read(0, count), exact.y_THK, exact.scale_THK,
                                          kernels::reference::OpClass::kElement,
                                          kernels::reference::dtype_of<Element>(), 1),
        "rope_forward", name());
  }

  Shape shape_;
  int64_t stride_;
  std::vector<Element> host_;
  std::vector<float> host_cosine_, host_sine_;
  bench::RotatedTensors<Element> tensors_;
  DeviceArray<float> cosine_, sine_;
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
