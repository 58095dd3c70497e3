#pragma once

// The computing half of a training step: model, arenas and device behind a LibTorch-free door, so
// that the loop (train_loop.cc) reads as a page and builds without LibTorch.
//
// One thread calls it, the training thread; copy_arenas() alone may run on another thread while
// accumulate() or evaluate() runs. Failures of LibTorch or the device are thrown (c10::Error and
// its kind); describe_failure() turns the exception in flight into an ExitKind.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "proto/events.h"
#include "proto/exit_record.h"
#include "proto/job_spec.h"
#include "proto/result.h"
#include "trainer/checkpoint/content.h"
#include "trainer/data/packing.h"
#include "trainer/data/tokenized_dataset.h"
#include "trainer/train/job_inputs.h"

namespace ratchet::trainer {

struct EngineArgs {
  const JobSpec* job = nullptr;
  const JobInputs* inputs = nullptr;
  std::optional<std::string> init_adapter;  // folder
  int rank = 0;                             // of this process
  int world_size = 1;
  std::string rendezvous;  // file for the process group; unused when world_size is 1
};

struct UpdateArgs {
  std::int64_t step = 1;  // that this update completes
  double learning_rate = 0.0;
  double clip_factor = 1.0;
};

struct LossSum {
  double nll = 0.0;  // sum over the trained tokens
  std::int64_t trained_tokens = 0;
};

struct PhaseTimes {  // of accumulate() since the last take_times()
  double forward_ms = 0.0;
  double backward_ms = 0.0;
};

class StepEngine {
 public:
  // Loads the base model, initialises what is trained (PEFT's initialisation, or init_adapter).
  static Result<std::unique_ptr<StepEngine>> create(const EngineArgs& args);
  virtual ~StepEngine() = default;

  // Forward and backward of one micro-batch: the samples of `segments`, back to back, attention
  // inside each alone. Adds `scale` times the gradient of the NLL sum to the gradients.
  virtual LossSum accumulate(const TokenizedDataset& data, std::span<const Segment> segments,
                             std::uint64_t data_epoch, double scale) = 0;
  // The same sum without dropout and gradient.
  virtual LossSum evaluate(const TokenizedDataset& data, std::span<const Segment> segments) = 0;

  // Sums gradients and `loss` over all ranks; a no-op for one.
  virtual void reduce(LossSum& loss) = 0;
  virtual double gradient_norm() = 0;
  virtual void update(const UpdateArgs& args) = 0;
  virtual void clear_gradients() = 0;

  // Rank 0's text on every rank.
  virtual std::string broadcast(const std::string& text) = 0;

  // Parameters and moments to host memory, as fp32 in whatever form the moments are held, and back:
  // exact in both directions. copy_arenas returns when the copy is complete.
  virtual Status copy_arenas(const ArenaTargets& snapshot) = 0;
  virtual void restore_arenas(const ArenaViews& state) = 0;
  // tensors_digest() of what is on the device now (rung V7).
  virtual std::string device_digest(std::uint64_t step) = 0;

  virtual PhaseTimes take_times() = 0;
  [[nodiscard]] virtual std::optional<VramUse> vram() const = 0;
  [[nodiscard]] virtual EnvFingerprint fingerprint() const = 0;
  // "RMSNorm: kernels/rmsnorm, attention: ...", for the log.
  [[nodiscard]] virtual std::string active_kernels() const = 0;
};

// What the exception in flight means for the exit record. Call inside a catch block.
struct Failure {
  ExitKind kind = ExitKind::kInternal;
  std::string message;
};
Failure describe_failure();

// FLOP/s of a large matrix product on this machine, measured for about 0.3 s: for forecasts.
double measure_matmul_flops(Precision precision, DeviceKind kind);

// Whether a GPU is there and its library loads; devices.kind auto and cuda ask.
bool cuda_is_usable();

// kInvalidArgument when the device that the job would get here cannot run it, with what to write
// instead. create() asks too; asked before, it spares the user the loading.
Status check_device(const JobSpec& job);

}  // namespace ratchet::trainer
