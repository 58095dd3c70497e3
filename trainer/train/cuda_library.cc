#include "trainer/train/cuda_library.h"

#include <dlfcn.h>

#include <c10/util/Exception.h>

#include <filesystem>
#include <system_error>

namespace ratchet::trainer {
namespace {

using MakeNccl = c10d::Backend* (*)(c10d::Store*, int, int, int64_t);
using DriverCall = int (*)(unsigned int);
using DriverCount = int (*)(int*);

struct Loaded {
  void* handle = nullptr;
  std::string problem;
};

const Loaded& loaded_library() {
  static const Loaded loaded = [] {
    std::error_code failed;
    const auto program = std::filesystem::read_symlink("/proc/self/exe", failed);
    const auto beside = program.parent_path().parent_path() / "lib" / "libratchet_cuda.so";
    const std::string path =
        std::filesystem::exists(beside, failed) ? beside.string() : "libratchet_cuda.so";
    Loaded result;
    result.handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (result.handle == nullptr) {
      const char* text = ::dlerror();
      result.problem = text == nullptr ? path : text;
    }
    return result;
  }();
  return loaded;
}

}  // namespace

bool gpu_is_present() {
  static const bool present = [] {
    void* driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (driver == nullptr) {
      return false;
    }
    const auto init = reinterpret_cast<DriverCall>(::dlsym(driver, "cuInit"));
    const auto count = reinterpret_cast<DriverCount>(::dlsym(driver, "cuDeviceGetCount"));
    int devices = 0;
    return init != nullptr && count != nullptr && init(0) == 0 && count(&devices) == 0 &&
           devices > 0;
  }();
  return present;
}

Status load_cuda_library() {
  if (!gpu_is_present()) {
    return Error{Code::kUnavailable,
                 "No NVIDIA GPU is visible (the driver is absent or reports no device). Use "
                 "devices.kind \"cpu\", or run on a GPU node."};
  }
  if (loaded_library().handle == nullptr) {
    return Error{Code::kUnavailable, "A GPU is there, but its library could not be loaded: " +
                                         loaded_library().problem +
                                         ". Build it with `make build` on a machine that has the "
                                         "CUDA half of LibTorch."};
  }
  return ok();
}

c10::intrusive_ptr<c10d::Backend> make_nccl_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                                    int rank, int world_size,
                                                    std::chrono::seconds timeout) {
  const auto make = reinterpret_cast<MakeNccl>(
      loaded_library().handle == nullptr ? nullptr
                                         : ::dlsym(loaded_library().handle, "ratchet_make_nccl"));
  TORCH_CHECK(make != nullptr, "NCCL is not available: ", loaded_library().problem);
  auto kept = store;
  return c10::intrusive_ptr<c10d::Backend>::reclaim(
      make(kept.release(), rank, world_size, timeout.count()));
}

}  // namespace ratchet::trainer
