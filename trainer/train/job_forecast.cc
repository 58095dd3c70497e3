#include "trainer/train/job_forecast.h"

#include <algorithm>

#include "trainer/model/model_tensors.h"
#include "trainer/train/adamw_8bit.h"

namespace ratchet::trainer {
namespace {

constexpr std::int64_t kLossChunkRows = 1024;

// Bytes saved for backward, a token and layer, at two bytes an element: two norm inputs 4h,
// normed inputs 4h, q 2h, k and v 4kv, attention output 2h, gate, up and product 6f, log-sum-exp
// 4 a head, LoRA products 2 a rank and module.
double saved_bytes_a_token(const ModelConfig& config, const JobSpec& job) {
  const auto h = static_cast<double>(config.hidden_size);
  const auto kv = static_cast<double>(config.kv_size());
  const auto f = static_cast<double>(config.intermediate_size);
  const auto heads = static_cast<double>(config.head_count);
  const double modules = static_cast<double>(job.lora.target_modules.size());
  return 12 * h + 4 * kv + 6 * f + 4 * heads +
         (job.method == Method::kLora ? 2 * static_cast<double>(job.lora.rank) * modules : 0.0);
}

// A linear layer in NF4 takes half a byte a weight, a byte for 64 of them and four for 64 x 256;
// one dense copy of the largest stands beside them while it is used.
std::int64_t weight_bytes(const ModelConfig& config, const JobSpec& job, double element) {
  const auto all = static_cast<double>(parameter_count(config));
  if (job.quantization == Quantization::kNone) {
    return static_cast<std::int64_t>(element * all);
  }
  double linear = 0.0;
  double largest = 0.0;
  for (const TargetModule module : kAllTargetModules) {
    const LinearSize size = target_module_size(config, module);
    const double weights = static_cast<double>(size.in) * static_cast<double>(size.out);
    linear += weights * static_cast<double>(config.layer_count);
    largest = std::max(largest, weights);
  }
  constexpr double kNf4Bytes = 0.5 + 1.0 / 64.0 + 4.0 / (64.0 * 256.0);
  return static_cast<std::int64_t>(element * (all - linear + largest) + kNf4Bytes * linear);
}

}  // namespace

Result<JobForecast> forecast_job(const JobSpec& job, const JobInputs& inputs) {
  auto data = forecast_data(inputs.train, inputs.packing, inputs.run_length);
  if (!data) {
    return data.error();
  }
  const ModelConfig& config = inputs.folder.config();
  const bool full = job.method == Method::kFull;
  const double element = !full && job.training.precision == Precision::kBf16 ? 2.0 : 4.0;
  JobForecast forecast;
  forecast.data = *data;
  forecast.trained_parameters = inputs.arena.parameter_count();
  forecast.base_parameters = parameter_count(config);
  forecast.weight_bytes = full ? 0 : weight_bytes(config, job, element);
  const std::int64_t moments = job.optimizer.kind == OptimizerKind::kAdamW8bit
                                   ? EightBitMoments::bytes(inputs.arena)
                                   : 8 * inputs.arena.arena_size;
  forecast.state_bytes = (8 + 12) * inputs.arena.arena_size + moments;  // 12: a snapshot is fp32

  const double row_tokens = static_cast<double>(std::min<std::uint64_t>(
      static_cast<std::uint64_t>(job.data.sequence_length),
      inputs.packing.packing ? static_cast<std::uint64_t>(job.data.sequence_length)
                             : inputs.counts.longest));
  const double tokens = row_tokens * static_cast<double>(job.training.micro_batch);
  const double layers = static_cast<double>(config.layer_count);
  const double a_layer = saved_bytes_a_token(config, job) * element / 2.0;
  const double hidden = static_cast<double>(config.hidden_size);
  const double backward =
      (4.0 * static_cast<double>(config.intermediate_size) + 8.0 * hidden) * element / 2.0;
  forecast.activation_bytes =
      static_cast<std::int64_t>(job.training.gradient_checkpointing
                                    ? tokens * (element * hidden * layers + a_layer + backward)
                                    : tokens * (a_layer * layers + backward));
  forecast.loss_bytes =
      static_cast<std::int64_t>(std::min(tokens, static_cast<double>(kLossChunkRows)) *
                                static_cast<double>(config.vocab_size) * 8.0);

  // 2 FLOPs a weight and token forward, 2 for the input gradient, 2 more where weights train, and
  // 2 again where the forward pass is repeated; attention at the mean length of a sample.
  const double weights = static_cast<double>(forecast.base_parameters);
  const double passes =
      2.0 + 2.0 + (full ? 2.0 : 0.0) + (job.training.gradient_checkpointing ? 2.0 : 0.0);
  const double mean_length = static_cast<double>(data->tokens) /
                             static_cast<double>(std::max<std::uint64_t>(1, data->samples));
  const double attention =
      2.0 * mean_length * layers * static_cast<double>(config.q_size()) * passes / 2.0;
  forecast.flops = static_cast<double>(data->run_tokens) *
                   (passes * weights + attention +
                    (full ? 0.0 : 6.0 * static_cast<double>(forecast.trained_parameters)));
  return forecast;
}

}  // namespace ratchet::trainer
