// libratchet_cuda.so: the part of the trainer that links LibTorch's CUDA half and NCCL. Loading it
// registers CUDA with LibTorch; see trainer/train/cuda_library.h for who loads it.

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <cuda_runtime_api.h>

#include <chrono>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "trainer/train/cuda_library.h"

namespace ratchet::trainer {
namespace {

c10d::Backend* make_nccl(c10d::Store* store, int rank, int world_size, std::int64_t timeout_s) {
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = std::chrono::seconds(timeout_s);
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(
             c10::intrusive_ptr<c10d::Store>::reclaim(store), rank, world_size, options)
      .release();
}

void device_info(CudaDeviceInfo* info) {
  cudaDeviceProp properties{};
  C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  int driver = 0;
  int runtime = 0;
  C10_CUDA_CHECK(cudaDriverGetVersion(&driver));
  C10_CUDA_CHECK(cudaRuntimeGetVersion(&runtime));
  info->name = properties.name;
  info->sm_count = static_cast<std::uint32_t>(properties.multiProcessorCount);
  info->driver = std::to_string(driver);
  info->cuda = std::to_string(runtime);
}

void memory(std::size_t* free_bytes, std::size_t* total_bytes) {
  C10_CUDA_CHECK(cudaMemGetInfo(free_bytes, total_bytes));
}

void copy_to_host(void* host, const void* device, std::size_t bytes) {
  cudaStream_t stream = nullptr;
  C10_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  const cudaError_t copied = cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream);
  const cudaError_t arrived = cudaStreamSynchronize(stream);
  C10_CUDA_CHECK(cudaStreamDestroy(stream));
  C10_CUDA_CHECK(copied);
  C10_CUDA_CHECK(arrived);
}

void synchronize() { C10_CUDA_CHECK(cudaDeviceSynchronize()); }

void allocator(std::int64_t* allocated, std::int64_t* reserved, std::int64_t* peak) {
  const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(0);
  const auto all = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  *allocated = stats.allocated_bytes[all].current;
  *reserved = stats.reserved_bytes[all].current;
  *peak = stats.allocated_bytes[all].peak;
}

}  // namespace
}  // namespace ratchet::trainer

extern "C" const ratchet::trainer::CudaApi* ratchet_cuda_api() {
  using namespace ratchet::trainer;
  static const CudaApi api{make_nccl, device_info, memory, copy_to_host, synchronize, allocator};
  return &api;
}
