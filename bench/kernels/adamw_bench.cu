// Global norm and AdamW against their byte floors: one TSV row for each operation and count
// (bench/support/kernel_bench.h). Before timing, each count is checked against the double
// reference.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/support/kernel_bench.h"
#include "kernels/adamw.h"
#include "kernels/reference/adamw_ref.h"
#include "kernels/reference/compare.h"
#include "kernels/reference/device_array.h"

namespace ratchet {
namespace {

using kernels::reference::DeviceArray;

struct Shape {
  int64_t N;
  const char* what;
};

const std::vector<Shape> kShapes = {
    {41943040, "8B, all linear layers, rank 16"},
    {11272192, "1B, all linear layers, rank 16"},
    {207093760, "70B, all linear layers, rank 16"},
};

constexpr size_t kChecked = 4096;

class Bench {
 public:
  explicit Bench(const Shape& shape)
      : host_(kernels::reference::random_elements<float>(static_cast<size_t>(shape.N), 1, 0.5F,
                                                         0.75F)),
        tensors_(host_, 4),
        publish_(host_.size()),
        norm_(1),
        workspace_(static_cast<size_t>(kernels::global_norm_workspace_bytes(shape.N) / 8)),
        N_(shape.N) {}

  void run(const bench::KernelTable& table) {
    check();
    const std::string name = bench::shape_name({{"N", N_}});
    table.row("global_norm", "fp32", name, kernels::global_norm_bytes(N_),
              [&](int i) { return kernels::global_norm(norm(i), nullptr); });
    for (const bool publish : {false, true}) {
      table.row(publish ? "adamw_publish" : "adamw", "fp32", name,
                kernels::adamw_bytes(N_, publish),
                [&](int i) { return kernels::adamw_step(step(i, publish), nullptr); });
    }
  }

 private:
  kernels::GlobalNormArgs norm(int i) {
    kernels::GlobalNormArgs args;
    args.values_N = tensors_.at(i, 1);
    args.norm = norm_.data();
    args.workspace = workspace_.data();
    args.workspace_bytes = kernels::global_norm_workspace_bytes(N_);
    args.N = N_;
    return args;
  }

  kernels::AdamWArgs step(int i, bool publish) {
    kernels::AdamWArgs args;
    args.params_N = tensors_.at(i, 0);
    args.grads_N = tensors_.at(i, 1);
    args.exp_avg_N = tensors_.at(i, 2);
    args.exp_avg_sq_N = tensors_.at(i, 3);
    args.publish_N = publish ? publish_.data() : nullptr;
    args.norm = norm_.data();
    args.max_norm = 1.0;
    args.N = N_;
    args.step = 10;
    args.learning_rate = 1e-4;
    return args;
  }

  void check() {
    bench::require(kernels::global_norm(norm(0), nullptr), "global_norm");
    const double exact_norm = kernels::reference::global_norm(host_);
    const double got_norm = norm_.read()[0];
    const bool close = std::fabs(got_norm - exact_norm) <= 1e-9 * exact_norm;
    bench::stop_if_wrong(close ? -1 : 0, "global_norm", bench::shape_name({{"N", N_}}));
    bench::require(kernels::adamw_step(step(0, true), nullptr), "adamw_step");
    const std::vector<float> head(host_.begin(), host_.begin() + kChecked);
    const auto exact =
        kernels::reference::adamw_step(head, head, head, head,
                                       {.step = 10,
                                        .learning_rate = 1e-4,
                                        .clip = kernels::reference::clip_factor(exact_norm, 1.0)});
    bench::stop_if_wrong(
        kernels::reference::first_outside(tensors_.read(0, kChecked), exact.p, exact.p_scale,
                                          kernels::reference::OpClass::kElement,
                                          kernels::reference::DType::kF32, 1),
        "adamw_step", bench::shape_name({{"N", N_}}));
  }

  std::vector<float> host_;
  bench::RotatedTensors<float> tensors_;
  DeviceArray<__nv_bfloat16> publish_;
  DeviceArray<double> norm_, workspace_;
  int64_t N_;
};

}  // namespace
}  // namespace ratchet

int main(int argc, char** argv) {
  using namespace ratchet;
  const auto time_shape = [](const bench::KernelTable& table, const Shape& shape) {
    Bench(shape).run(table);
  };
  return bench::run_kernel_bench(argc, argv, kShapes, time_shape);
}
