// libratchet_cuda.so: the part of the trainer that links LibTorch's CUDA half and NCCL. Loading it
// registers CUDA with LibTorch; see trainer/train/cuda_library.h for who loads it.

#include <chrono>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

// Takes one reference to `store` and gives one reference to the backend, as raw pointers, because
// intrusive_ptr cannot cross a C symbol.
extern "C" c10d::Backend* ratchet_make_nccl(c10d::Store* store, int rank, int world_size,
                                            int64_t timeout_s) {
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = std::chrono::seconds(timeout_s);
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(
             c10::intrusive_ptr<c10d::Store>::reclaim(store), rank, world_size, options)
      .release();
}
