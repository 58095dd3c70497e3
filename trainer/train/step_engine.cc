#include "trainer/train/step_engine.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/GradMode.h>
#include <torch/version.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <utility>

#include "trainer/model/causal_lm.h"
#include "trainer/model/param_arena.h"
#include "trainer/model/peft_folder.h"
#include "trainer/train/adamw.h"
#include "trainer/train/adamw_8bit.h"
#include "trainer/train/build_name.h"
#include "trainer/train/cuda_library.h"
#include "trainer/train/process_group.h"
#include "trainer/train/sample_batch.h"

namespace ratchet::trainer {
namespace {

double now_ms() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

bool has_8bit_moments(const JobSpec& job) {
  return job.optimizer.kind == OptimizerKind::kAdamW8bit;
}

bool runs_on_cuda(const JobSpec& job) {
  return job.devices.kind == DeviceKind::kCuda ||
         (job.devices.kind == DeviceKind::kAuto && cuda_is_usable());
}

class TorchEngine : public StepEngine {
 public:
  TorchEngine(const EngineArgs& args, at::Device device, const CudaApi* cuda);

  Status start(const EngineArgs& args);

  LossSum accumulate(const TokenizedDataset& data, std::span<const Segment> segments,
                     std::uint64_t data_epoch, double scale) override;
  LossSum evaluate(const TokenizedDataset& data, std::span<const Segment> segments) override;
  void reduce(LossSum& loss) override;
  double gradient_norm() override;
  void update(const UpdateArgs& args) override;
  void clear_gradients() override { arena_.zero_grad(); }
  std::string broadcast(const std::string& text) override { return group_.broadcast(text); }
  Status copy_arenas(const ArenaTargets& snapshot) override;
  void restore_arenas(const ArenaViews& state) override;
  std::string device_digest(std::uint64_t step) override;
  PhaseTimes take_times() override { return std::exchange(times_, PhaseTimes{}); }
  [[nodiscard]] std::optional<VramUse> vram() const override;
  [[nodiscard]] EnvFingerprint fingerprint() const override;
  [[nodiscard]] std::string active_kernels() const override;

 private:
  Status initialise(const EngineArgs& args);
  void update_on_device(const UpdateArgs& args);

  const JobSpec& job_;
  const JobInputs& inputs_;
  const at::Device device_;
  const CudaApi* const cuda_;  // null on the CPU
  ParamArena arena_;
  std::optional<EightBitMoments> moments_;  // instead of the arena's
  std::optional<CausalLm> model_;
  ProcessGroup group_;
  PhaseTimes times_;
};

TorchEngine::TorchEngine(const EngineArgs& args, at::Device device, const CudaApi* cuda)
    : job_(*args.job),
      inputs_(*args.inputs),
      device_(device),
      cuda_(cuda),
      arena_(
          args.inputs->arena, device,
          has_8bit_moments(*args.job) ? ParamArena::Use::kGradients : ParamArena::Use::kTraining),
      group_({args.rendezvous, args.rank, args.world_size, cuda != nullptr}) {
  if (has_8bit_moments(job_)) {
    moments_.emplace(inputs_.arena);
  }
}

Status TorchEngine::start(const EngineArgs& args) {
  const auto dtype = job_.training.precision == Precision::kBf16 ? at::kBFloat16 : at::kFloat;
  if (job_.method == Method::kFull) {
    model_.emplace(CausalLm::load_full(inputs_.folder, arena_));
  } else {
    model_.emplace(CausalLm::load(inputs_.folder, device_, dtype, job_.quantization));
    if (auto done = initialise(args); !done) {
      return done;
    }
    model_->attach_lora(*inputs_.lora, arena_, {job_.lora.dropout, job_.training.seed});
    if (job_.lora.dora && !args.init_adapter) {
      model_->init_magnitudes();
    }
  }
  model_->set_gradient_checkpointing(job_.training.gradient_checkpointing);
  return ok();
}

Status TorchEngine::initialise(const EngineArgs& args) {
  if (!args.init_adapter) {
    init_lora(*inputs_.lora, job_.training.seed, arena_);
    return ok();
  }
  const auto adapter = PeftFolder::open(*args.init_adapter, inputs_.folder.config());
  if (!adapter) {
    return adapter.error();
  }
  const LoraLayout& layout = adapter->layout();
  if (layout.rank != inputs_.lora->rank || layout.dora != inputs_.lora->dora ||
      layout.arena.arena_size != inputs_.arena.arena_size ||
      layout.scaling() != inputs_.lora->scaling()) {
    return Error{
        Code::kInvalidArgument,
        "The adapter '" + *args.init_adapter + "' has rank " + std::to_string(layout.rank) +
            " and " + std::to_string(layout.adapters.size()) +
            " adapted layers; the job asks for "
            "rank " +
            std::to_string(inputs_.lora->rank) + " and " +
            std::to_string(inputs_.lora->adapters.size()) +
            ". Rank, alpha, rslora, dora and target modules must be those of init_adapter."};
  }
  std::vector<float> host(static_cast<size_t>(inputs_.arena.arena_size));
  if (auto read = adapter->read_into(host); !read) {
    return read;
  }
  c10::NoGradGuard no_grad;
  arena_.params().copy_(at::from_blob(host.data(), {inputs_.arena.arena_size}, at::kFloat));
  return ok();
}

LossSum TorchEngine::accumulate(const TokenizedDataset& data, std::span<const Segment> segments,
                                std::uint64_t data_epoch, double scale) {
  const double begun = now_ms();
  const PackedBatch batch = make_batch(data, segments, data_epoch);
  const at::Tensor loss = model_->loss_sum(batch, Phase::kTraining);
  const double nll = loss.item<double>();  // waits for the device, so the times below are true
  const double forward_done = now_ms();
  if (loss.requires_grad()) {
    loss.backward(at::full({}, scale, loss.options().requires_grad(false)));
  }
  if (cuda_ != nullptr) {
    cuda_->synchronize();
  }
  times_.forward_ms += forward_done - begun;
  times_.backward_ms += now_ms() - forward_done;
  return {nll, target_count(batch)};
}

LossSum TorchEngine::evaluate(const TokenizedDataset& data, std::span<const Segment> segments) {
  const NllSum sum = trainer::evaluate(*model_, make_batch(data, segments, 0));
  return {sum.nll, sum.tokens};
}

void TorchEngine::reduce(LossSum& loss) {
  if (group_.world_size() == 1) {
    return;
  }
  at::Tensor grads = arena_.grads();
  group_.all_reduce_sum(grads);
  auto sums =
      at::tensor({loss.nll, static_cast<double>(loss.trained_tokens)}, at::kDouble).to(device_);
  group_.all_reduce_sum(sums);
  sums = sums.cpu();
  loss.nll = sums[0].item<double>();
  loss.trained_tokens = static_cast<std::int64_t>(sums[1].item<double>());
}

double TorchEngine::gradient_norm() {
  if (cuda_ == nullptr) {
    return global_norm(ParamArena::host_span(arena_.grads()));
  }
  return arena_.grads().to(at::kDouble).norm().item<double>();
}

void TorchEngine::update(const UpdateArgs& args) {
  c10::NoGradGuard no_grad;
  if (cuda_ != nullptr) {
    update_on_device(args);
    cuda_->synchronize();  // a snapshot may start on another stream right after this
    return;
  }
  AdamWArgs step;
  step.params = ParamArena::host_span(arena_.params());
  step.grads = ParamArena::host_span(arena_.grads());
  step.step = args.step;
  step.learning_rate = args.learning_rate;
  step.beta1 = job_.optimizer.beta1;
  step.beta2 = job_.optimizer.beta2;
  step.eps = job_.optimizer.eps;
  step.weight_decay = job_.optimizer.weight_decay;
  step.grad_scale = args.clip_factor;
  if (moments_) {
    moments_->step(step);
    return;
  }
  step.exp_avg = ParamArena::host_span(arena_.exp_avg());
  step.exp_avg_sq = ParamArena::host_span(arena_.exp_avg_sq());
  adamw_step(step);
}

// The update of adamw.cc in whole-arena operations.
void TorchEngine::update_on_device(const UpdateArgs& args) {
  const OptimizerSpec& adamw = job_.optimizer;
  const double step = static_cast<double>(args.step);
  const double correction1 = 1.0 - std::pow(adamw.beta1, step);
  const double correction2 = 1.0 - std::pow(adamw.beta2, step);
  const at::Tensor grads = arena_.grads() * args.clip_factor;
  at::Tensor mean = arena_.exp_avg();
  at::Tensor square = arena_.exp_avg_sq();
  mean.lerp_(grads, 1.0 - adamw.beta1);
  square.mul_(adamw.beta2).addcmul_(grads, grads, 1.0 - adamw.beta2);
  const at::Tensor denominator = square.sqrt().div_(std::sqrt(correction2)).add_(adamw.eps);
  at::Tensor params = arena_.params();
  params.mul_(1.0 - args.learning_rate * adamw.weight_decay);
  params.addcdiv_(mean, denominator, -args.learning_rate / correction1);
}

Status TorchEngine::copy_arenas(const ArenaTargets& snapshot) {
  std::vector<std::pair<at::Tensor, std::span<float>>> parts = {{arena_.params(), snapshot.params}};
  if (moments_) {
    moments_->read(snapshot.exp_avg, snapshot.exp_avg_sq);
  } else {
    parts.emplace_back(arena_.exp_avg(), snapshot.exp_avg);
    parts.emplace_back(arena_.exp_avg_sq(), snapshot.exp_avg_sq);
  }
  try {
    for (const auto& [from, to] : parts) {
      if (cuda_ != nullptr) {
        cuda_->copy_to_host(to.data(), from.data_ptr(), to.size_bytes());
      } else {
        std::memcpy(to.data(), from.data_ptr(), to.size_bytes());
      }
    }
  } catch (const std::exception& error) {
    return Error{Code::kUnavailable,
                 std::string("The state could not be copied from the device: ") + error.what()};
  }
  return ok();
}

void TorchEngine::restore_arenas(const ArenaViews& state) {
  c10::NoGradGuard no_grad;
  std::vector<std::pair<at::Tensor, std::span<const float>>> parts = {
      {arena_.params(), state.params}};
  if (moments_) {
    moments_->write(state.exp_avg, state.exp_avg_sq);
  } else {
    parts.emplace_back(arena_.exp_avg(), state.exp_avg);
    parts.emplace_back(arena_.exp_avg_sq(), state.exp_avg_sq);
  }
  for (auto [to, from] : parts) {
    // from_blob wants a mutable pointer; the blob is only read.
    to.copy_(at::from_blob(const_cast<float*>(from.data()), {static_cast<int64_t>(from.size())},
                           at::kFloat));
  }
}

std::string TorchEngine::device_digest(std::uint64_t step) {
  std::vector<float> params(static_cast<size_t>(inputs_.arena.arena_size));
  std::vector<float> exp_avg(params.size());
  std::vector<float> exp_avg_sq(params.size());
  const auto copied = copy_arenas({params, exp_avg, exp_avg_sq});
  return copied ? tensors_digest(inputs_.arena, {params, exp_avg, exp_avg_sq}, step) : "";
}

std::optional<VramUse> TorchEngine::vram() const {
  if (cuda_ == nullptr) {
    return std::nullopt;
  }
  std::int64_t allocated = 0;
  std::int64_t reserved = 0;
  std::int64_t peak = 0;
  cuda_->allocator(&allocated, &reserved, &peak);
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  cuda_->memory(&free_bytes, &total_bytes);
  return VramUse{Bytes(allocated), Bytes(reserved), Bytes(peak),
                 Bytes(static_cast<std::int64_t>(total_bytes - free_bytes))};
}

EnvFingerprint TorchEngine::fingerprint() const {
  EnvFingerprint env;
  env.trainer_build = trainer_build();
  env.cpu_isa = at::get_cpu_capability();
  env.threads = static_cast<std::uint32_t>(at::get_num_threads());
  env.device = cuda_ != nullptr ? "cuda" : "cpu";
  env.libtorch = TORCH_VERSION;
  env.attention = "sdpa-segments";
  if (job_.training.precision == Precision::kBf16) {
    env.flags.push_back("bf16");
  }
  env.deterministic = cuda_ == nullptr || job_.devices.deterministic;
  env.world_size = static_cast<std::uint32_t>(group_.world_size());
  env.micro_batch = static_cast<std::uint32_t>(job_.training.micro_batch);
  if (cuda_ != nullptr) {
    CudaDeviceInfo info;
    cuda_->device_info(&info);
    env.gpu_name = info.name;
    env.sm_count = info.sm_count;
    env.driver = info.driver;
    env.cuda = info.cuda;
  }
  return env;
}

std::string TorchEngine::active_kernels() const {
  return std::string("device ") + (cuda_ != nullptr ? fingerprint().gpu_name : "cpu") + ", " +
         std::to_string(at::get_num_threads()) + " threads, rmsnorm: " +
         (cuda_ != nullptr ? "kernels/rmsnorm" : "trainer/ops on the host") +
         ", attention: LibTorch SDPA by segment, linear: LibTorch" +
         (job_.quantization == Quantization::kNf4 ? " over NF4 blocks made dense at each use"
                                                  : "") +
         ", optimizer: AdamW, moments " + (moments_ ? "8-bit" : "fp32");
}

void choose_arithmetic(const JobSpec& job) {
  auto& context = at::globalContext();
  context.setAllowTF32CuBLAS(false);
  context.setAllowBF16ReductionCuBLAS(false);
  context.setBenchmarkCuDNN(false);
  if (job.devices.deterministic) {
    ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
    context.setDeterministicAlgorithms(true, false);
    context.setDeterministicCuDNN(true);
  }
}

// One device a process: each rank sees its own as device 0.
void show_only_device(int rank) {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  std::string name = std::to_string(rank);
  if (visible != nullptr) {
    std::string rest = visible;
    for (int i = 0; i < rank && !rest.empty(); ++i) {
      const size_t comma = rest.find(',');
      rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
    }
    name = rest.substr(0, rest.find(','));
  }
  ::setenv("CUDA_VISIBLE_DEVICES", name.c_str(), 1);
}

}  // namespace

Result<std::unique_ptr<StepEngine>> StepEngine::create(const EngineArgs& args) {
  const JobSpec& job = *args.job;
  choose_arithmetic(job);
  if (auto runs = check_device(job); !runs) {
    return runs.error();
  }
  const CudaApi* cuda = nullptr;
  if (runs_on_cuda(job)) {
    if (args.world_size > 1) {
      show_only_device(args.rank);
    }
    auto loaded = load_cuda_library();
    if (!loaded) {
      return loaded.error();
    }
    cuda = *loaded;
  } else if (args.world_size > 1) {
    at::set_num_threads(std::max(1, at::get_num_threads() / args.world_size));
  }
  const at::Device device = cuda != nullptr ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  auto engine = std::make_unique<TorchEngine>(args, device, cuda);
  if (auto started = engine->start(args); !started) {
    return started.error();
  }
  return std::unique_ptr<StepEngine>(std::move(engine));
}

double measure_matmul_flops(Precision precision, DeviceKind kind) {
  const bool cuda = kind != DeviceKind::kCpu && cuda_is_usable();
  const CudaApi* api = cuda ? *load_cuda_library() : nullptr;
  const int64_t n = cuda ? 8192 : 1024;
  const auto options = at::TensorOptions()
                           .device(cuda ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU))
                           .dtype(precision == Precision::kBf16 ? at::kBFloat16 : at::kFloat);
  const at::Tensor a = at::ones({n, n}, options);
  const at::Tensor b = at::ones({n, n}, options);
  at::Tensor product = at::matmul(a, b);  // the first one warms up
  if (api != nullptr) {
    api->synchronize();
  }
  const double begun = now_ms();
  int64_t rounds = 0;
  do {
    product = at::matmul(a, b);
    if (api != nullptr) {
      api->synchronize();
    }
    ++rounds;
  } while (now_ms() - begun < 300.0);
  const double seconds = (now_ms() - begun) / 1e3;
  return static_cast<double>(rounds) * 2.0 * static_cast<double>(n * n * n) / seconds;
}

bool cuda_is_usable() { return gpu_is_present() && load_cuda_library().has_value(); }

Status check_device(const JobSpec& job) {
  if (has_8bit_moments(job) && runs_on_cuda(job)) {
    return Error{
        Code::kInvalidArgument,
        "optimizer.kind \"adamw_8bit\" runs on the CPU so far, and this job would run on a "
        "GPU; write \"adamw\", or \"cpu\" as devices.kind."};
  }
  return ok();
}

Failure describe_failure() {
  try {
    throw;
  } catch (const ErrorException& error) {
    const bool ours = error.error().code == Code::kInternal || error.error().code == Code::kIo;
    return {ours ? ExitKind::kInternal : ExitKind::kUserError, error.error().message};
  } catch (const c10::OutOfMemoryError& error) {
    return {ExitKind::kOomGpu, std::string("GPU memory ran out: ") +
                                   error.what_without_backtrace() +
                                   " Halve training.micro_batch, or turn on "
                                   "training.gradient_checkpointing."};
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    for (const char* sign : {"out of memory", "CUBLAS_STATUS_ALLOC_FAILED"}) {
      if (text.find(sign) != std::string::npos) {
        return {ExitKind::kOomGpu, "GPU memory ran out in a library: " + text};
      }
    }
    const bool device = text.find("CUDA error") != std::string::npos;
    return {device ? ExitKind::kGpuFault : ExitKind::kInternal, text};
  } catch (const std::bad_alloc&) {
    return {ExitKind::kInternal,
            "Host memory ran out. Lower training.micro_batch or data.sequence_length, or use a "
            "machine with more memory."};
  } catch (const std::exception& error) {
    return {ExitKind::kInternal, error.what()};
  }
}

}  // namespace ratchet::trainer
