#include "trainer/train/inference.h"

#include <ATen/ATen.h>

#include <utility>

#include "trainer/model/causal_lm.h"
#include "trainer/model/generate.h"
#include "trainer/model/param_arena.h"
#include "trainer/model/peft_folder.h"
#include "trainer/train/cuda_library.h"
#include "trainer/train/sample_batch.h"

namespace ratchet::trainer {
namespace {

constexpr std::uint64_t kTokensAtATime = 4096;

class TorchModel : public InferenceModel {
 public:
  TorchModel(const InferenceArgs& args, at::Device device)
      : model_(CausalLm::load(*args.folder, device, args.bf16 ? at::kBFloat16 : at::kFloat,
                              args.quantization)) {}

  void attach(const PeftFolder& adapter, at::Device device) {
    const LoraLayout& layout = adapter.layout();
    std::vector<float> host(static_cast<size_t>(layout.arena.arena_size));
    if (auto read = adapter.read_into(host); !read) {
      throw ErrorException(read.error());
    }
    arena_ = std::make_unique<ParamArena>(layout.arena, device, ParamArena::Use::kInference);
    at::Tensor params = arena_->params();
    params.copy_(at::from_blob(host.data(), {layout.arena.arena_size}, at::kFloat));
    model_.attach_lora(layout, *arena_, {});
  }

  LossSum evaluate(const TokenizedDataset& data) override {
    LossSum sum;
    std::vector<Segment> segments;
    std::uint64_t tokens = 0;
    for (std::uint64_t sample = 0; sample < data.samples(); ++sample) {
      segments.push_back({static_cast<std::uint32_t>(sample), data.lengths()[sample]});
      tokens += data.lengths()[sample];
      if (tokens >= kTokensAtATime || sample + 1 == data.samples()) {
        const NllSum part = trainer::evaluate(model_, make_batch(data, segments, 0));
        sum.nll += part.nll;
        sum.trained_tokens += part.tokens;
        segments.clear();
        tokens = 0;
      }
    }
    return sum;
  }

  std::vector<std::int32_t> generate(std::span<const std::int32_t> prompt,
                                     const SamplingArgs& sampling,
                                     const std::function<bool(std::int32_t)>& sink) override {
    GenerateOptions options;
    options.max_new_tokens = sampling.max_new_tokens;
    options.temperature = sampling.temperature;
    options.top_k = sampling.top_k;
    options.top_p = sampling.top_p;
    options.seed = sampling.seed;
    options.stop_token_ids = sampling.stop_token_ids;
    return trainer::generate(model_, prompt, options, sink);
  }

 private:
  CausalLm model_;
  std::unique_ptr<ParamArena> arena_;
};

}  // namespace

Result<std::unique_ptr<InferenceModel>> InferenceModel::open(const InferenceArgs& args) {
  at::Device device(at::kCPU);
  if (args.device == DeviceKind::kCuda || (args.device == DeviceKind::kAuto && cuda_is_usable())) {
    const auto loaded = load_cuda_library();
    if (!loaded) {
      return loaded.error();
    }
    device = at::Device(at::kCUDA, 0);
  }
  auto model = std::make_unique<TorchModel>(args, device);
  if (!args.adapter.empty()) {
    const auto adapter = PeftFolder::open(args.adapter, args.folder->config());
    if (!adapter) {
      return adapter.error();
    }
    model->attach(*adapter, device);
  }
  return std::unique_ptr<InferenceModel>(std::move(model));
}

}  // namespace ratchet::trainer
