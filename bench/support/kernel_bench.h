#pragma once

// What all kernel benchmarks share: flags, buffers that are cold in the cache, the copy bandwidth
// they are compared with, and the table they print. Method: bench/README.md.
//
//   <op>_bench [--commit HASH] [--repeats N]

#include <cuda_runtime_api.h>

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "bench/support/gpu_timing.h"
#include "bench/support/stats.h"

namespace ratchet::bench {

inline constexpr int kWarmUp = 20;
inline constexpr size_t kRotatedBytesMin = size_t{512} << 20;  // ten times an H200's L2

struct KernelBenchOptions {
  std::string commit = "unknown";
  int repeats = 100;
};

[[noreturn]] inline void wrong_usage(const std::string& argument) {
  std::fprintf(stderr, "Cannot use '%s'. Known: [--commit HASH] [--repeats N]\n", argument.c_str());
  std::exit(2);
}

// A wrong flag ends the program with status 2.
inline KernelBenchOptions kernel_bench_options(const std::vector<std::string>& arguments) {
  KernelBenchOptions options;
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

// As many sets of `tensors` buffers as it takes to leave the cache cold, each buffer a copy of
// `host`, whose values are drawn once. Owns device memory; not copyable.
template <class Element>
class RotatedTensors {
 public:
  RotatedTensors(const std::vector<Element>& host, size_t tensors)
      : count_(host.size()), tensors_(tensors) {
    const size_t bytes = count_ * sizeof(Element);
    sets_ = kRotatedBytesMin / (tensors * bytes) + 1;
    require(cudaMalloc(&base_, sets_ * tensors * bytes), "cudaMalloc");
    for (size_t i = 0; i < sets_ * tensors; ++i) {
      require(cudaMemcpy(base_ + i * count_, host.data(), bytes, cudaMemcpyHostToDevice),
              "cudaMemcpy");
    }
  }
  ~RotatedTensors() { cudaFree(base_); }
  RotatedTensors(const RotatedTensors&) = delete;
  RotatedTensors& operator=(const RotatedTensors&) = delete;

  // Buffer `which` of the set that launch i uses.
  Element* at(int i, size_t which) {
    return base_ + (static_cast<size_t>(i) % sets_ * tensors_ + which) * count_;
  }
  // The first `count` elements of a buffer of set 0.
  std::vector<Element> read(size_t which, size_t count) {
    std::vector<Element> out(count);
    require(cudaMemcpy(out.data(), at(0, which), count * sizeof(Element), cudaMemcpyDeviceToHost),
            "cudaMemcpy");
    return out;
  }

 private:
  size_t count_, tensors_;
  size_t sets_ = 0;
  Element* base_ = nullptr;
};

// "T8192 D4096" for {{"T", 8192}, {"D", 4096}}.
inline std::string shape_name(std::initializer_list<std::pair<const char*, int64_t>> sizes) {
  std::string name;
  for (const auto& [letter, size] : sizes) {
    if (!name.empty()) name.push_back(' ');
    name.append(letter).append(std::to_string(size));
  }
  return name;
}

// Bytes read plus bytes written by a device-to-device copy, over its median time.
inline double copy_gigabytes_per_second(int repeats) {
  constexpr size_t kBytes = size_t{2} << 30;
  char *from = nullptr, *to = nullptr;
  require(cudaMalloc(&from, kBytes), "cudaMalloc");
  require(cudaMalloc(&to, kBytes), "cudaMalloc");
  require(cudaMemset(from, 0x5A, kBytes), "cudaMemset");
  const auto times = time_launches(kWarmUp, repeats, [&](int) {
    require(cudaMemcpyAsync(to, from, kBytes, cudaMemcpyDeviceToDevice, nullptr), "copy");
  });
  require(cudaFree(from), "cudaFree");
  require(cudaFree(to), "cudaFree");
  return 2.0 * static_cast<double>(kBytes) / spread_of(times).median / 1e6;
}

// Prints the table to standard output: one row for each operation, type and shape.
class KernelTable {
 public:
  explicit KernelTable(const KernelBenchOptions& options)
      : options_(options),
        facts_(device_facts()),
        copy_(copy_gigabytes_per_second(options.repeats)),
        date_(utc_date()) {
    std::printf(
        "op\tdtype\tshape\tp10_ms\tmedian_ms\tp90_ms\tfloor_bytes\tGB_per_s\tcopy_GB_per_s\t"
        "of_copy\trepeats\tgpu\tcuda_driver\tcommit\tdate\n");
  }

  // Times `launch(i)`, which enqueues launch i on the default stream. `floor_bytes`: the fewest
  // that the operation must move.
  void row(const char* op, const char* dtype, const std::string& shape, int64_t floor_bytes,
           const std::function<cudaError_t(int)>& launch) const {
    const Spread ms =
        spread_of(time_launches(kWarmUp, options_.repeats, [&](int i) { require(launch(i), op); }));
    const double rate = static_cast<double>(floor_bytes) / ms.median / 1e6;
    std::printf("%s\t%s\t%s\t%.5f\t%.5f\t%.5f\t%lld\t%.1f\t%.1f\t%.3f\t%d\t%s\t%s\t%s\t%s\n", op,
                dtype, shape.c_str(), ms.p10, ms.median, ms.p90,
                static_cast<long long>(floor_bytes), rate, copy_, rate / copy_, options_.repeats,
                facts_.name.c_str(), facts_.driver.c_str(), options_.commit.c_str(), date_.c_str());
  }

 private:
  KernelBenchOptions options_;
  DeviceFacts facts_;
  double copy_;
  std::string date_;
};

// A wrong kernel has no speed: ends the program when the check of a shape found element `index`.
inline void stop_if_wrong(int64_t index, const char* op, const std::string& shape) {
  if (index < 0) return;
  std::fprintf(stderr, "%s is wrong at element %lld of %s\n", op, static_cast<long long>(index),
               shape.c_str());
  std::exit(1);
}

// main() of a kernel benchmark: `bench(table, shape)` for each shape, whose `what` is shown on
// standard error before it. Returns the exit status.
template <class Shape, class Bench>
int run_kernel_bench(int argc, char** argv, const std::vector<Shape>& shapes, const Bench& bench) {
  const KernelBenchOptions options = kernel_bench_options({argv + 1, argv + argc});
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::fprintf(stderr, "no GPU: this benchmark times device work and found no device.\n");
    return 1;
  }
  const KernelTable table(options);
  for (const Shape& shape : shapes) {
    std::fprintf(stderr, "%s\n", shape.what);
    bench(table, shape);
  }
  return 0;
}

}  // namespace ratchet::bench
