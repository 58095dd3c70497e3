#include "agent/daemon/gpu_probe.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>

namespace ratchet::agent {
namespace {

// The part of NVML's interface that is used (nvml.h of the CUDA toolkit; stable by its versioned
// names).
using NvmlDevice = void*;
struct NvmlMemory {
  unsigned long long total, free, used;
};
struct NvmlPci {
  char bus_id_legacy[16];
  unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
  char bus_id[32];
};
constexpr unsigned kMaxGpus = 64;

class Nvml {
 public:
  static std::unique_ptr<Nvml> load() {
    void* library = ::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return nullptr;
    auto nvml = std::unique_ptr<Nvml>(new Nvml);
    const bool whole = nvml->find(library, "nvmlInit_v2", nvml->init_) &&
                       nvml->find(library, "nvmlDeviceGetCount_v2", nvml->count_) &&
                       nvml->find(library, "nvmlDeviceGetHandleByIndex_v2", nvml->handle_) &&
                       nvml->find(library, "nvmlDeviceGetUUID", nvml->uuid_) &&
                       nvml->find(library, "nvmlDeviceGetName", nvml->name_) &&
                       nvml->find(library, "nvmlDeviceGetMemoryInfo", nvml->memory_) &&
                       nvml->find(library, "nvmlDeviceGetPciInfo_v3", nvml->pci_);
    // The library stays loaded: a call of it may still be under way when the agent ends.
    return whole && nvml->init_() == 0 ? std::move(nvml) : nullptr;
  }

  Result<std::vector<Gpu>> read() const {
    unsigned count = 0;
    if (const int code = count_(&count); code != 0) return failed("count the GPUs", code);
    std::vector<Gpu> gpus;
    for (unsigned i = 0; i < std::min(count, kMaxGpus); ++i) {
      NvmlDevice device = nullptr;
      std::array<char, 96> uuid{};
      std::array<char, 96> name{};
      NvmlMemory memory{};
      NvmlPci pci{};
      int code = handle_(i, &device);
      if (code == 0) code = uuid_(device, uuid.data(), static_cast<unsigned>(uuid.size()));
      if (code == 0) code = name_(device, name.data(), static_cast<unsigned>(name.size()));
      if (code == 0) code = memory_(device, &memory);
      if (code == 0) code = pci_(device, &pci);
      if (code != 0) return failed("read GPU " + std::to_string(i), code);
      Gpu gpu;
      gpu.facts.uuid = uuid.data();
      gpu.facts.name = name.data();
      gpu.facts.memory_total = Bytes(static_cast<std::int64_t>(memory.total));
      gpu.facts.memory_used = Bytes(static_cast<std::int64_t>(memory.used));
      gpu.pci_bus = short_bus(pci.bus_id_legacy);
      gpus.push_back(std::move(gpu));
    }
    return gpus;
  }

 private:
  template <class F>
  static bool find(void* library, const char* name, F& out) {
    void* symbol = ::dlsym(library, name);
    std::memcpy(&out, &symbol, sizeof out);
    return symbol != nullptr;
  }
  static Error failed(const std::string& what, int code) {
    return Error{Code::kUnavailable, "The GPU driver could not " + what + " (NVML error " +
                                         std::to_string(code) + ")."};
  }
  // "0000:3B:00.0" -> "0000:3b:00", as the kernel log writes it.
  static std::string short_bus(std::string bus) {
    for (char& c : bus) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return bus.substr(0, bus.rfind('.'));
  }

  int (*init_)() = nullptr;
  int (*count_)(unsigned*) = nullptr;
  int (*handle_)(unsigned, NvmlDevice*) = nullptr;
  int (*uuid_)(NvmlDevice, char*, unsigned) = nullptr;
  int (*name_)(NvmlDevice, char*, unsigned) = nullptr;
  int (*memory_)(NvmlDevice, NvmlMemory*) = nullptr;
  int (*pci_)(NvmlDevice, NvmlPci*) = nullptr;
};

}  // namespace

GpuReader nvml_reader() {
  struct Loaded {
    std::once_flag once;
    std::unique_ptr<Nvml> nvml;
  };
  return [loaded = std::make_shared<Loaded>()]() -> Result<std::vector<Gpu>> {
    std::call_once(loaded->once, [&] { loaded->nvml = Nvml::load(); });
    return loaded->nvml ? loaded->nvml->read() : std::vector<Gpu>{};
  };
}

struct GpuProbe::Shared {
  GpuReader reader;
  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex.
  bool asked = false;
  bool stop = false;
  std::optional<Result<std::vector<Gpu>>> answer;
};

GpuProbe::GpuProbe(GpuReader reader) : shared_(std::make_shared<Shared>()) {
  shared_->reader = std::move(reader);
  std::thread([shared = shared_] {
    std::unique_lock lock(shared->mutex);
    while (true) {
      shared->changed.wait(lock, [&] { return shared->stop || shared->asked; });
      if (shared->stop) return;
      lock.unlock();
      auto answer = shared->reader();
      lock.lock();
      shared->asked = false;
      shared->answer = std::move(answer);
      shared->changed.notify_all();
    }
  }).detach();
}

GpuProbe::~GpuProbe() {
  const std::lock_guard lock(shared_->mutex);
  shared_->stop = true;
  shared_->changed.notify_all();
}

Result<std::vector<Gpu>> GpuProbe::read(std::chrono::milliseconds limit) {
  const Error hung{Code::kUnavailable,
                   "The GPU driver does not answer. The node needs a reset of its GPUs or a "
                   "restart."};
  std::unique_lock lock(shared_->mutex);
  if (shared_->asked) return hung;
  shared_->answer.reset();
  shared_->asked = true;
  shared_->changed.notify_all();
  if (!shared_->changed.wait_for(lock, limit, [&] { return shared_->answer.has_value(); })) {
    return hung;
  }
  return *shared_->answer;
}

}  // namespace ratchet::agent
