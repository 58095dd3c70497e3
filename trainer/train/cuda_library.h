#pragma once

// LibTorch's CUDA half, loaded at run time. The trainer links only libtorch_cpu; on a machine with
// a GPU libratchet_cuda.so (which links libtorch_cuda and NCCL) is opened from the folder beside
// the program, and registers CUDA with LibTorch. Without a GPU nothing of it is mapped.
//
// What the trainer needs from the CUDA runtime crosses as the plain functions of CudaApi, so that
// no other file names a CUDA header.

#include <cstddef>
#include <cstdint>
#include <string>

#include "proto/result.h"

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace ratchet::trainer {

struct CudaDeviceInfo {
  std::string name;
  std::uint32_t sm_count = 0;
  std::string driver;  // "13000": as the CUDA driver API numbers versions
  std::string cuda;    // runtime, the same numbering
};

// Functions of libratchet_cuda.so. All act on device 0 of this process and throw c10::Error when
// CUDA reports an error.
struct CudaApi {
  // Takes one reference to `store` and gives one reference to the backend: intrusive_ptr cannot
  // cross a C symbol.
  c10d::Backend* (*make_nccl)(c10d::Store* store, int rank, int world_size, std::int64_t timeout_s);
  void (*device_info)(CudaDeviceInfo* info);
  void (*memory)(std::size_t* free_bytes, std::size_t* total_bytes);
  // Device to host on a stream of its own; returns when the bytes are there. Any thread.
  void (*copy_to_host)(void* host, const void* device, std::size_t bytes);
  void (*synchronize)();
  // Allocator figures in bytes: in use, reserved, peak in use.
  void (*allocator)(std::int64_t* allocated, std::int64_t* reserved, std::int64_t* peak);
};

// True when the driver reports at least one device. Opens libcuda.so.1 only.
bool gpu_is_present();

// Loads the CUDA half once per process. kUnavailable says what was missing.
Result<const CudaApi*> load_cuda_library();

}  // namespace ratchet::trainer
