// RMSNorm against its byte floor: one TSV row for each operation, type and shape.
//
//   rmsnorm_bench [--commit HASH] [--repeats N]
//
// Method (bench/README.md): random data, buffers rotated past the L2 cache, CUDA events, median of
// the repeats. `of_copy` divides by what a device-to-device copy reaches in the same run, bytes
// read plus bytes written. Before timing, each shape is checked against the double reference.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/support/gpu_timing.h"
#include "bench/support/stats.h"
#include "kernels/reference/device_array.h"
#include "kernels/reference/rmsnorm_ref.h"
#include "kernels/reference/tolerance.h"
#include "kernels/rmsnorm.h"

namespace ratchet {
namespace {

using bench::require;
using kernels::reference::DeviceArray;
using kernels::reference::random_elements;
using kernels::reference::widen;

struct Options {
  std::string commit = "unknown";
  int repeats = 100;
};

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

constexpr int kWarmUp = 20;
constexpr size_t kRotatedBytesMin = size_t{512} << 20;  // ten times an H200's L2
constexpr int64_t kCheckedRows = 64;

// Buffers for one shape, as many sets as it takes to leave the cache cold. All sets hold the same
// random values, which are drawn on the host once.
template <class Element>
class Buffers {
 public:
  Buffers(int64_t T, int64_t D)
      : w_(random_elements<Element>(static_cast<size_t>(D), 2, 0.5F, 1.0F)),
        rstd_(static_cast<size_t>(T)),
        dw_(static_cast<size_t>(D)),
        workspace_(static_cast<size_t>(kernels::rmsnorm_backward_workspace_bytes(T, D) / 4)),
        count_(static_cast<size_t>(T * D)) {
    host_x = random_elements<Element>(count_, 1, 2.0F);
    host_w = w_.read();
    const size_t tensor_bytes = count_ * sizeof(Element);
    sets_ = kRotatedBytesMin / (4 * tensor_bytes) + 1;
    require(cudaMalloc(&base_, sets_ * 4 * tensor_bytes), "cudaMalloc");
    for (size_t i = 0; i < sets_ * 4; ++i) {
      require(cudaMemcpy(base_ + i * count_, host_x.data(), tensor_bytes, cudaMemcpyHostToDevice),
              "cudaMemcpy");
    }
  }
  ~Buffers() { cudaFree(base_); }
  Buffers(const Buffers&) = delete;
  Buffers& operator=(const Buffers&) = delete;

  kernels::RmsNormForwardArgs<Element> forward(int i, int64_t T, int64_t D) {
    kernels::RmsNormForwardArgs<Element> args;
    args.x_TD = tensor(i, 0);
    args.w_D = w_.data();
    args.y_TD = tensor(i, 1);
    args.rstd_T = rstd_.data();
    args.T = T;
    args.D = D;
    args.eps = 1e-6F;
    return args;
  }

  kernels::RmsNormBackwardArgs<Element> backward(int i, int64_t T, int64_t D, bool residual,
                                                 bool weight) {
    kernels::RmsNormBackwardArgs<Element> args;
    args.x_TD = tensor(i, 0);
    args.dx_TD = tensor(i, 1);
    args.dy_TD = tensor(i, 2);
    args.residual_TD = residual ? tensor(i, 3) : nullptr;
    args.w_D = w_.data();
    args.rstd_T = rstd_.data();
    args.dw_D = weight ? dw_.data() : nullptr;
    args.workspace = weight ? workspace_.data() : nullptr;
    args.workspace_bytes = kernels::rmsnorm_backward_workspace_bytes(T, D);
    args.T = T;
    args.D = D;
    return args;
  }

  Element* tensor(int i, size_t which) {
    return base_ + (static_cast<size_t>(i) % sets_ * 4 + which) * count_;
  }

  std::vector<Element> host_x, host_w;

 private:
  DeviceArray<Element> w_;
  DeviceArray<float> rstd_, dw_, workspace_;
  size_t count_;
  size_t sets_ = 0;
  Element* base_ = nullptr;
};

// A wrong kernel has no speed: the first rows of forward must agree with the reference.
template <class Element>
void check(Buffers<Element>& buffers, const Shape& shape) {
  constexpr auto kDType =
      sizeof(Element) == 2 ? kernels::reference::DType::kBf16 : kernels::reference::DType::kF32;
  const int64_t rows = std::min(shape.T, kCheckedRows);
  require(kernels::rmsnorm_forward(buffers.forward(0, shape.T, shape.D), nullptr), "forward");
  std::vector<Element> got(static_cast<size_t>(rows * shape.D));
  require(cudaMemcpy(got.data(), buffers.tensor(0, 1), got.size() * sizeof(Element),
                     cudaMemcpyDeviceToHost),
          "cudaMemcpy");
  const std::vector<Element> head(buffers.host_x.begin(), buffers.host_x.begin() + rows * shape.D);
  const auto exact = kernels::reference::rmsnorm_forward(
      kernels::reference::widened(head), kernels::reference::widened(buffers.host_w), rows,
      double{1e-6F});
  for (size_t i = 0; i < got.size(); ++i) {
    const double allowed =
        kernels::reference::tolerance(kernels::reference::OpClass::kRow, kDType, shape.D,
                                      exact.y_TD[i], std::fabs(exact.y_TD[i]));
    if (!(std::fabs(double{widen(got[i])} - exact.y_TD[i]) <= allowed)) {
      std::fprintf(stderr, "forward is wrong at element %zu of T %lld, D %lld\n", i,
                   static_cast<long long>(shape.T), static_cast<long long>(shape.D));
      std::exit(1);
    }
  }
}

double copy_gigabytes_per_second(const Options& options) {
  constexpr size_t kBytes = size_t{2} << 30;
  char *from = nullptr, *to = nullptr;
  require(cudaMalloc(&from, kBytes), "cudaMalloc");
  require(cudaMalloc(&to, kBytes), "cudaMalloc");
  require(cudaMemset(from, 0x5A, kBytes), "cudaMemset");
  const auto times = bench::time_launches(kWarmUp, options.repeats, [&](int) {
    require(cudaMemcpyAsync(to, from, kBytes, cudaMemcpyDeviceToDevice, nullptr), "copy");
  });
  require(cudaFree(from), "cudaFree");
  require(cudaFree(to), "cudaFree");
  return 2.0 * static_cast<double>(kBytes) / bench::spread_of(times).median / 1e6;
}

class Table {
 public:
  Table(const Options& options, const bench::DeviceFacts& facts, double copy)
      : options_(options), facts_(facts), copy_(copy), date_(bench::utc_date()) {
    std::printf(
        "op\tdtype\tT\tD\tp10_ms\tmedian_ms\tp90_ms\tfloor_bytes\tGB_per_s\tcopy_GB_per_s\t"
        "of_copy\trepeats\tgpu\tcuda_driver\tcommit\tdate\n");
  }

  void row(const char* op, const char* dtype, const Shape& shape, int64_t bytes,
           const std::vector<double>& times) const {
    const bench::Spread ms = bench::spread_of(times);
    const double rate = static_cast<double>(bytes) / ms.median / 1e6;
    std::printf(
        "%s\t%s\t%lld\t%lld\t%.5f\t%.5f\t%.5f\t%lld\t%.1f\t%.1f\t%.3f\t%d\t%s\t%s\t%s\t%s\n", op,
        dtype, static_cast<long long>(shape.T), static_cast<long long>(shape.D), ms.p10, ms.median,
        ms.p90, static_cast<long long>(bytes), rate, copy_, rate / copy_, options_.repeats,
        facts_.name.c_str(), facts_.driver.c_str(), options_.commit.c_str(), date_.c_str());
  }

 private:
  const Options& options_;
  const bench::DeviceFacts& facts_;
  double copy_;
  std::string date_;
};

template <class Element>
void bench_shape(const Options& options, const Table& table, const Shape& shape,
                 const char* dtype) {
  constexpr auto kSize = static_cast<int64_t>(sizeof(Element));
  Buffers<Element> buffers(shape.T, shape.D);
  check(buffers, shape);
  const auto time = [&](const auto& launch) {
    return bench::time_launches(kWarmUp, options.repeats, launch);
  };
  table.row("rmsnorm_forward", dtype, shape,
            kernels::rmsnorm_forward_bytes(shape.T, shape.D, kSize), time([&](int i) {
              require(kernels::rmsnorm_forward(buffers.forward(i, shape.T, shape.D), nullptr),
                      "rmsnorm_forward");
            }));
  struct Variant {
    const char* op;
    bool residual, weight;
  };
  for (const Variant& v : {Variant{"rmsnorm_backward", false, false},
                           Variant{"rmsnorm_backward_residual", true, false},
                           Variant{"rmsnorm_backward_dw", false, true}}) {
    table.row(v.op, dtype, shape,
              kernels::rmsnorm_backward_bytes(shape.T, shape.D, kSize, v.residual, v.weight),
              time([&](int i) {
                const auto args = buffers.backward(i, shape.T, shape.D, v.residual, v.weight);
                require(kernels::rmsnorm_backward(args, nullptr), v.op);
              }));
  }
}

[[noreturn]] void wrong_usage(const std::string& argument) {
  std::fprintf(stderr, "Cannot use '%s'. Usage: rmsnorm_bench [--commit HASH] [--repeats N]\n",
               argument.c_str());
  std::exit(2);
}

Options parse(const std::vector<std::string>& arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); i += 2) {
    const std::string& flag = arguments[i];
    if (i + 1 == arguments.size()) wrong_usage(flag);
    const std::string& value = arguments[i + 1];
    if (flag == "--commit") {
      options.commit = value;
    } else if (flag == "--repeats") {
      const char* end = value.data() + value.size();
      const auto [stop, error] = std::from_chars(value.data(), end, options.repeats);
      if (error != std::errc{} || stop != end || options.repeats < 1) wrong_usage(value);
    } else {
      wrong_usage(flag);
    }
  }
  return options;
}

}  // namespace
}  // namespace ratchet

int main(int argc, char** argv) {
  using namespace ratchet;
  const Options options = parse({argv + 1, argv + argc});
  if (!kernels::reference::gpu_is_present()) {
    std::fprintf(stderr, "no GPU: this benchmark times device work and found no device.\n");
    return 1;
  }
  const bench::DeviceFacts facts = bench::device_facts();
  const Table table(options, facts, copy_gigabytes_per_second(options));
  for (const Shape& shape : kShapes) {
    std::fprintf(stderr, "T %lld, D %lld: %s\n", static_cast<long long>(shape.T),
                 static_cast<long long>(shape.D), shape.what);
    bench_shape<__nv_bfloat16>(options, table, shape, "bf16");
    bench_shape<float>(options, table, shape, "fp32");
  }
  return 0;
}
