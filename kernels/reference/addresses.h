#pragma once

// Pointers for contract tests, which need no GPU: a broken contract is refused before the device is
// touched, so most are addresses that nobody reads.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace ratchet::kernels {

template <class T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);  // NOLINT(performance-no-int-to-ptr): never dereferenced
}

// What the contract allows gets as far as the device. With a GPU the addresses lie in zeroed memory
// and the launches succeed; without one they fail for want of it.
class Slab {
 public:
  Slab() : gpu_(cudaMalloc(&memory_, kBytes) == cudaSuccess) {
    if (gpu_) gpu_ = cudaMemset(memory_, 0, kBytes) == cudaSuccess;
  }
  ~Slab() { cudaFree(memory_); }
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  template <class T>
  [[nodiscard]] T* at(uintptr_t offset) const {
    return kernels::at<T>(reinterpret_cast<uintptr_t>(memory_) + offset);
  }
  [[nodiscard]] bool reached(cudaError_t error) const {
    return gpu_ ? error == cudaSuccess && cudaDeviceSynchronize() == cudaSuccess
                : error != cudaSuccess && error != cudaErrorInvalidValue;
  }

 private:
  static constexpr size_t kBytes = 0x100000;
  void* memory_ = nullptr;
  bool gpu_;
};

}  // namespace ratchet::kernels
