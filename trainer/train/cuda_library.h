#pragma once

// LibTorch's CUDA half, loaded at run time. The trainer links only libtorch_cpu; on a machine with
// a GPU libratchet_cuda.so (which links libtorch_cuda and NCCL) is opened from the folder beside
// the program, and registers CUDA with LibTorch. Without a GPU nothing of it is mapped.

#include <chrono>
#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "proto/result.h"

namespace ratchet::trainer {

// True when the driver reports at least one device. Opens libcuda.so.1 only.
bool gpu_is_present();

// Loads the CUDA half once per process. kUnavailable says which file was missing.
Status load_cuda_library();

// NCCL backend of the loaded library; throws when load_cuda_library did not succeed before.
c10::intrusive_ptr<c10d::Backend> make_nccl_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                                    int rank, int world_size,
                                                    std::chrono::seconds timeout);

}  // namespace ratchet::trainer
