#pragma once

// Timing of device work with CUDA events, and what a result row says about the device.
// For benchmark programs: a CUDA error ends the program with its text.

#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

namespace ratchet::bench {

inline void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s failed: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

struct DeviceFacts {
  std::string name;
  std::string driver;  // CUDA version of the driver, "13.0"
  int multiprocessors = 0;
  size_t l2_bytes = 0;
};

inline DeviceFacts device_facts() {
  cudaDeviceProp properties{};
  require(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  int version = 0;
  require(cudaDriverGetVersion(&version), "cudaDriverGetVersion");
  return {properties.name,
          std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10),
          properties.multiProcessorCount, static_cast<size_t>(properties.l2CacheSize)};
}

// Milliseconds of each of `repeats` calls after `warm_up` untimed ones. `launch(i)` enqueues call i
// on the default stream; rotate buffers by i so that a call does not find its data in the cache.
// Events bracket each call on the device, and the host runs ahead, so launch time is not counted.
inline std::vector<double> time_launches(int warm_up, int repeats,
                                         const std::function<void(int)>& launch) {
  std::vector<cudaEvent_t> events(static_cast<size_t>(repeats) * 2);
  for (cudaEvent_t& event : events) require(cudaEventCreate(&event), "cudaEventCreate");
  for (int i = 0; i < warm_up; ++i) launch(i);
  for (int i = 0; i < repeats; ++i) {
    const auto slot = static_cast<size_t>(i) * 2;
    require(cudaEventRecord(events[slot], nullptr), "cudaEventRecord");
    launch(warm_up + i);
    require(cudaEventRecord(events[slot + 1], nullptr), "cudaEventRecord");
  }
  require(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  std::vector<double> milliseconds;
  for (size_t slot = 0; slot < events.size(); slot += 2) {
    float elapsed = 0.0F;
    require(cudaEventElapsedTime(&elapsed, events[slot], events[slot + 1]), "cudaEventElapsedTime");
    milliseconds.push_back(static_cast<double>(elapsed));
  }
  for (cudaEvent_t event : events) require(cudaEventDestroy(event), "cudaEventDestroy");
  return milliseconds;
}

}  // namespace ratchet::bench
