#pragma once

// Data parallel on one node: one process a device, gradients summed through c10d (Gloo on CPU,
// NCCL on GPUs). Rendezvous is a file in the output folder, so nothing listens beyond loopback.
//
// Every call is collective: all ranks make the same calls in the same order. A peer that died makes
// the call throw (c10::Error) within the timeout. Not thread-safe.

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

namespace at {
class Tensor;
}

namespace ratchet::trainer {

class ProcessGroup {
 public:
  struct Options {
    std::filesystem::path rendezvous;  // a file that no earlier group used
    int rank = 0;
    int world_size = 1;
    bool cuda = false;
    std::chrono::seconds timeout{20};
  };
  // A group of one needs no peers and makes every call a no-op.
  explicit ProcessGroup(const Options& options);
  ~ProcessGroup();
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;

  [[nodiscard]] int rank() const { return options_.rank; }
  [[nodiscard]] int world_size() const { return options_.world_size; }

  // Sums `flat` (contiguous) over all ranks, in place.
  void all_reduce_sum(at::Tensor& flat);
  // Rank 0's text on every rank, at most 1 MiB.
  std::string broadcast(const std::string& text);

 private:
  struct Impl;
  const Options options_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ratchet::trainer
