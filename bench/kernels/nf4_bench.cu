// NF4 against its byte floor: one TSV row for each operation, type and shape
// (bench/support/kernel_bench.h). Before timing, each shape is checked against the reference.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/support/kernel_bench.h"
#include "kernels/nf4.h"
#include "kernels/reference/device_array.h"
#include "kernels/reference/nf4_ref.h"

namespace ratchet {
namespace {

using kernels::reference::DeviceArray;

struct Shape {
  int64_t O, K;
  const char* what;
};

const std::vector<Shape> kShapes = {
    {28672, 4096, "8B gate and up"},
    {6144, 4096, "8B q, k and v"},
    {4096, 14336, "8B down"},
    {57344, 8192, "70B gate and up"},
};

constexpr int64_t kTail = 64;      // columns of a wider block beside the weights
constexpr size_t kChecked = 4096;  // weights, of the first row

template <class Element>
class Bench {
 public:
  explicit Bench(const Shape& shape)
      : host_(kernels::reference::random_elements<Element>(
            static_cast<size_t>(shape.O * (shape.K + kTail)), 1, 0.05F)),
        tensors_(host_, 1),
        codes_(std::vector<uint8_t>(static_cast<size_t>(shape.O * shape.K / 2)), 1),
        absmax_(static_cast<size_t>(shape.O * shape.K / 64)),
        absmax_codes_(std::vector<uint8_t>(static_cast<size_t>(shape.O * shape.K / 64), 77)),
        scale_(std::vector<float>(static_cast<size_t>(shape.O * shape.K / 64 / 256 + 1), 0.01F)),
        O_(shape.O),
        K_(shape.K) {}

  void run(const bench::KernelTable& table, const char* dtype) {
    check();
    const int64_t size = sizeof(Element), N = O_ * K_;
    const std::string name = bench::shape_name({{"O", O_}, {"K", K_}});
    table.row("nf4_quantize", dtype, name, kernels::nf4_quantize_bytes(N, size),
              [&](int i) { return kernels::nf4_quantize(quantize(i), nullptr); });
    for (const bool nested : {false, true}) {
      table.row(nested ? "nf4_dequantize_nested" : "nf4_dequantize", dtype, name,
                kernels::nf4_dequantize_bytes(N, size, nested),
                [&](int i) { return kernels::nf4_dequantize(dequantize(i, nested), nullptr); });
    }
  }

 private:
  kernels::Nf4QuantizeArgs<Element> quantize(int i) {
    kernels::Nf4QuantizeArgs<Element> args;
    args.x_N = tensors_.at(i, 0);
    args.codes = codes_.at(i, 0);
    args.absmax_B = absmax_.data();
    args.N = O_ * K_;
    return args;
  }

  kernels::Nf4DequantizeArgs<Element> dequantize(int i, bool nested) {
    kernels::Nf4DequantizeArgs<Element> args;
    args.codes = codes_.at(i, 0);
    if (nested) {
      args.absmax_codes_B = absmax_codes_.data();
      args.absmax_scale_S = scale_.data();
      args.absmax_mean = 0.05F;
    } else {
      args.absmax_B = absmax_.data();
    }
    args.w_OK = tensors_.at(i, 0);
    args.w_stride = K_ + kTail;
    args.O = O_;
    args.K = K_;
    return args;
  }

  void check() {
    const std::vector<Element> head(host_.begin(), host_.begin() + kChecked);
    const auto packed = kernels::reference::nf4_quantize(kernels::reference::widened(head));
    const auto exact = kernels::reference::nf4_dequantize(packed.codes, packed.absmax_B);
    bench::require(kernels::nf4_quantize(quantize(0), nullptr), "nf4_quantize");
    bench::require(kernels::nf4_dequantize(dequantize(0, false), nullptr), "nf4_dequantize");
    const std::vector<Element> got = tensors_.read(0, kChecked);
    int64_t wrong = -1;
    for (size_t i = 0; i < kChecked && wrong < 0; ++i) {
      const auto want = kernels::reference::narrow<Element>(exact[i]);
      if (kernels::reference::widen(got[i]) != kernels::reference::widen(want)) {
        wrong = static_cast<int64_t>(i);
      }
    }
    bench::stop_if_wrong(wrong, "nf4", bench::shape_name({{"O", O_}, {"K", K_}}));
  }

  std::vector<Element> host_;
  bench::RotatedTensors<Element> tensors_;
  bench::RotatedTensors<uint8_t> codes_;
  DeviceArray<float> absmax_;
  DeviceArray<uint8_t> absmax_codes_;
  DeviceArray<float> scale_;
  int64_t O_, K_;
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
