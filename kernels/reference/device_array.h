#pragma once

// Device memory and inputs for kernel tests and benchmarks. Memory comes poisoned, between guard
// bands, so that an element that was not written and a byte that should not have been are both
// seen. Plain C++.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace ratchet::kernels::reference {

inline bool gpu_is_present() {
  int devices = 0;
  return cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0;
}

// Test plumbing may throw: a failed copy is no verdict on a kernel.
inline void require(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
  }
}

// `count` elements of T between two guard bands. All bytes start as 0xFF: NaN in bf16 and in fp32.
// Owns its memory; not copyable. All operations are synchronous.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count) {
    require(cudaMalloc(&base_, bytes()), "cudaMalloc");
    require(cudaMemset(base_, 0xFF, bytes()), "cudaMemset");
    require(cudaMemset(base_, kGuardByte, kGuard), "cudaMemset");
    require(cudaMemset(base_ + bytes() - kGuard, kGuardByte, kGuard), "cudaMemset");
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    require(cudaMemcpy(data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
            "cudaMemcpy");
  }
  ~DeviceArray() { cudaFree(base_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  [[nodiscard]] T* data() { return reinterpret_cast<T*>(base_ + kGuard); }

  [[nodiscard]] std::vector<T> read() const {
    std::vector<T> out(count_);
    require(cudaMemcpy(out.data(), base_ + kGuard, count_ * sizeof(T), cudaMemcpyDeviceToHost),
            "cudaMemcpy");
    return out;
  }

  [[nodiscard]] bool guards_intact() const {
    std::vector<unsigned char> all(bytes());
    require(cudaMemcpy(all.data(), base_, bytes(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    for (size_t i = 0; i < kGuard; ++i) {
      if (all[i] != kGuardByte || all[all.size() - 1 - i] != kGuardByte) return false;
    }
    return true;
  }

 private:
  static constexpr size_t kGuard = 256;  // keeps the alignment that cudaMalloc gives
  static constexpr unsigned char kGuardByte = 0xA5;

  // The upper band starts right behind the last element; whole bands keep the arithmetic plain.
  [[nodiscard]] size_t bytes() const { return count_ * sizeof(T) + 2 * kGuard; }

  size_t count_;
  char* base_ = nullptr;
};

// A stream beside the default one, for launches that must not depend on theirs. Not copyable.
class Stream {
 public:
  Stream() { require(cudaStreamCreate(&stream_), "cudaStreamCreate"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  [[nodiscard]] cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

inline float widen(float value) { return value; }
inline float widen(__nv_bfloat16 value) { return __bfloat162float(value); }

template <class Element>
Element narrow(float value) {
  if constexpr (sizeof(Element) == sizeof(float)) {
    return value;
  } else {
    return __float2bfloat16(value);
  }
}

// Uniform in [-1, 1), 24 bits, from splitmix64: the same values on every platform.
inline float uniform(uint64_t seed, uint64_t index) {
  uint64_t z = seed * 0x9E3779B97F4A7C15U + (index + 1) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  z ^= z >> 31;
  return static_cast<float>(z >> 40) / 8388608.0F - 1.0F;
}

// Random values rounded to Element, scaled; `offset` is added before rounding.
template <class Element>
std::vector<Element> random_elements(size_t count, uint64_t seed, float scale, float offset = 0) {
  std::vector<Element> out(count);
  for (size_t i = 0; i < count; ++i) out[i] = narrow<Element>(scale * uniform(seed, i) + offset);
  return out;
}

template <class Element>
std::vector<float> widened(const std::vector<Element>& values) {
  std::vector<float> out(values.size());
  for (size_t i = 0; i < values.size(); ++i) out[i] = widen(values[i]);
  return out;
}

}  // namespace ratchet::kernels::reference
