#pragma once

// GPUs of this node. The driver's library can hang for ever when a device is broken, so it is only
// called on a thread of its own, and whoever asks waits for a bounded time.

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "proto/sync_message.h"

namespace ratchet::agent {

struct Gpu {
  GpuFacts facts;
  std::string pci_bus;  // "0000:3b:00", as the kernel log names it
};
using GpuReader = std::function<Result<std::vector<Gpu>>()>;

// Reads by NVML, loaded from the system at the first call: no library or no device gives an empty
// list (a CPU node). kUnavailable: the driver answers with an error.
GpuReader nvml_reader();

class GpuProbe {
 public:
  explicit GpuProbe(GpuReader reader);
  ~GpuProbe();  // does not wait for a call that hangs
  GpuProbe(const GpuProbe&) = delete;
  GpuProbe& operator=(const GpuProbe&) = delete;

  // Blocks at most `limit`. kUnavailable when the driver does not answer in time; a call that hangs
  // is never repeated: later ones fail at once until it comes back. Any thread, one at a time.
  Result<std::vector<Gpu>> read(std::chrono::milliseconds limit);

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;  // with the thread, which may outlive this object
};

}  // namespace ratchet::agent
