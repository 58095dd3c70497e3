#include "trainer/train/preflight.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <chrono>
#include <cstdint>

#include "trainer/ops/rmsnorm_op.h"
#include "trainer/train/cuda_library.h"
#include "trainer/train/step_engine.h"

namespace ratchet::trainer {
namespace {

// N x N. Every product and sum is a small integer, exact in fp32 whatever the order.
constexpr std::int64_t kN = 256;
constexpr std::int64_t kRows = 64;
constexpr std::int64_t kWidth = 1024;
constexpr double kEps = 1e-6;
// fp32 sums of 1,024 squares in another order: a few units of the last place.
constexpr double kTolerance = 1e-5;

double monotonic_ms() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

float left_value(std::int64_t row, std::int64_t k) { return static_cast<float>((row + k) % 7 - 3); }
float right_value(std::int64_t k, std::int64_t column) {
  return static_cast<float>((3 * k + column) % 5 - 2);
}

template <class F>
at::Tensor filled(std::int64_t rows, std::int64_t columns, F value) {
  at::Tensor out = at::empty({rows, columns}, at::kFloat);
  auto* data = out.data_ptr<float>();
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) data[i * columns + j] = value(i, j);
  }
  return out;
}

std::int64_t wrong_elements(const at::Tensor& product) {
  const at::Tensor host = product.cpu().contiguous();
  const auto* data = host.data_ptr<float>();
  std::int64_t wrong = 0;
  for (std::int64_t i = 0; i < kN; ++i) {
    for (std::int64_t j = 0; j < kN; ++j) {
      std::int64_t sum = 0;
      for (std::int64_t k = 0; k < kN; ++k) {
        sum += static_cast<std::int64_t>(left_value(i, k)) *
               static_cast<std::int64_t>(right_value(k, j));
      }
      wrong += data[i * kN + j] == static_cast<float>(sum) ? 0 : 1;
    }
  }
  return wrong;
}

double kernel_difference(at::Device device) {
  const at::Tensor x = filled(kRows, kWidth, [](std::int64_t i, std::int64_t j) {
    return static_cast<float>((i * 31 + j * 17) % 101 - 50) / 16.0F;
  });
  const at::Tensor w = filled(1, kWidth, [](std::int64_t, std::int64_t j) {
                         return 1.0F + static_cast<float>(j % 8) / 8.0F;
                       }).reshape({kWidth});
  const at::Tensor expected = ops::rmsnorm(x, w, kEps);
  const at::Tensor got = ops::rmsnorm(x.to(device), w.to(device), kEps).cpu();
  return (got - expected).abs().max().item<double>();
}

PreflightResult check(DeviceKind kind) {
  const c10::NoGradGuard no_grad;
  PreflightResult result;
  result.device = "cpu";
  const CudaApi* api = nullptr;
  if (kind == DeviceKind::kCuda || (kind == DeviceKind::kAuto && gpu_is_present())) {
    const auto loaded = load_cuda_library();
    if (!loaded) {
      result.device = "cuda";
      result.message = loaded.error().message;
      return result;
    }
    api = *loaded;
    CudaDeviceInfo info;
    api->device_info(&info);
    result.device = info.name;
  }
  const at::Device device = api != nullptr ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  const at::Tensor a = filled(kN, kN, left_value).to(device);
  const at::Tensor b = filled(kN, kN, right_value).to(device);
  at::Tensor product = at::matmul(a, b);  // the first one warms up
  if (api != nullptr) api->synchronize();
  const double begun = monotonic_ms();
  product = at::matmul(a, b);
  if (api != nullptr) api->synchronize();
  result.kernel_ms = monotonic_ms() - begun;
  if (const std::int64_t wrong = wrong_elements(product); wrong > 0) {
    result.message = "The device multiplies wrongly: " + std::to_string(wrong) + " of " +
                     std::to_string(kN * kN) +
                     " elements of a product of small integers are "
                     "not right. Do not train on it.";
    return result;
  }
  if (api != nullptr) {
    const double difference = kernel_difference(device);
    if (!(difference <= kTolerance)) {
      result.message = "The RMSNorm kernel differs from the CPU by " + std::to_string(difference) +
                       ". Do not train on this device.";
      return result;
    }
  }
  result.passed = true;
  return result;
}

}  // namespace

PreflightResult check_device(DeviceKind kind) {
  try {
    return check(kind);
  } catch (...) {
    return {false, 0.0, kind == DeviceKind::kCpu ? "cpu" : "cuda", describe_failure().message};
  }
}

}  // namespace ratchet::trainer
