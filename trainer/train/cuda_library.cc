#include "trainer/train/cuda_library.h"

#include <dlfcn.h>

#include <filesystem>
#include <string>
#include <system_error>

namespace ratchet::trainer {
namespace {

using GetApi = const CudaApi* (*)();
using DriverInit = int (*)(unsigned int);
using DriverCount = int (*)(int*);

struct Loaded {
  const CudaApi* api = nullptr;
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
    void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
    const auto get =
        handle == nullptr ? nullptr : reinterpret_cast<GetApi>(::dlsym(handle, "ratchet_cuda_api"));
    if (get == nullptr) {
      const char* text = ::dlerror();
      result.problem = text == nullptr ? path : text;
    } else {
      result.api = get();
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
    const auto init = reinterpret_cast<DriverInit>(::dlsym(driver, "cuInit"));
    const auto count = reinterpret_cast<DriverCount>(::dlsym(driver, "cuDeviceGetCount"));
    int devices = 0;
    return init != nullptr && count != nullptr && init(0) == 0 && count(&devices) == 0 &&
           devices > 0;
  }();
  return present;
}

Result<const CudaApi*> load_cuda_library() {
  if (!gpu_is_present()) {
    return Error{Code::kUnavailable,
                 "No NVIDIA GPU is visible: the driver is absent or reports no device. Set "
                 "devices.kind to \"cpu\", or run on a GPU node."};
  }
  if (loaded_library().api == nullptr) {
    return Error{Code::kUnavailable,
                 "A GPU is there, but the CUDA half of the trainer could not be loaded: " +
                     loaded_library().problem + ". Build it with `make build` on this machine."};
  }
  return loaded_library().api;
}

}  // namespace ratchet::trainer
