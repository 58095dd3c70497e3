// Runs our model for parity_test.py and writes what it computed. Not a product program.
//
//   parity_probe forward MODEL ADAPTER|- BATCH.json DTYPE CHECKPOINTING(0|1) OUT.safetensors
//       logits of every row, loss (mean over trained tokens), gradients of the adapter by name
//   parity_probe full MODEL BATCH.json OUT.safetensors       the same for `method full`
//   parity_probe curve MODEL ADAPTER BATCH.json STEPS LR OUT_ADAPTER
//       trains with AdamW and clipping at 1; prints the losses as a JSON array; saves the adapter
//   parity_probe merge MODEL ADAPTER OUT
//
// BATCH.json: {"rows": [[ids]], "targets": [[ids or -1]]}, targets already shifted.

#include <ATen/ATen.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "trainer/model/causal_lm.h"
#include "trainer/model/merge.h"
#include "trainer/model/peft_folder.h"
#include "trainer/model/safetensors_file.h"
#include "trainer/train/adamw.h"

namespace ratchet::trainer {
namespace {

struct NamedTensor {
  std::string name;
  at::Tensor value;  // fp32, contiguous, on the CPU
};

template <class T>
T must(Result<T> result) {
  return std::move(result).value();
}

void must(const Status& status) {
  if (!status) {
    throw ErrorException(status.error());
  }
}

PackedBatch read_batch(const std::string& path) {
  const nlohmann::json json = nlohmann::json::parse(std::ifstream(path));
  PackedBatch batch;
  batch.segment_offsets.push_back(0);
  for (size_t r = 0; r < json["rows"].size(); ++r) {
    const auto ids = json["rows"][r].get<std::vector<int32_t>>();
    const auto targets = json["targets"][r].get<std::vector<int32_t>>();
    batch.ids.insert(batch.ids.end(), ids.begin(), ids.end());
    batch.targets.insert(batch.targets.end(), targets.begin(), targets.end());
    for (size_t i = 0; i < ids.size(); ++i) {
      batch.positions.push_back(static_cast<int32_t>(i));
    }
    batch.segment_offsets.push_back(static_cast<int32_t>(batch.ids.size()));
    batch.sample_ids.push_back(static_cast<int64_t>(r));
  }
  return batch;
}

void write_tensors(const std::string& path, const std::vector<NamedTensor>& tensors) {
  std::vector<TensorSpec> specs;
  for (const NamedTensor& tensor : tensors) {
    specs.push_back({tensor.name, DType::kF32, tensor.value.sizes().vec()});
  }
  SafetensorsWriter writer = must(SafetensorsWriter::create(path, specs));
  for (const NamedTensor& tensor : tensors) {
    const StoredTensor* stored = writer.header().find(tensor.name);
    must(writer.write(*stored, {static_cast<const std::byte*>(tensor.value.const_data_ptr()),
                                tensor.value.nbytes()}));
  }
  must(writer.finish());
}

void collect(const CausalLm& model, const PackedBatch& batch, const ParamArena* arena,
             std::vector<NamedTensor>& out) {
  const auto tokens = static_cast<int64_t>(batch.ids.size());
  out.push_back({"logits", model.logits(batch, 0, tokens).contiguous()});
  const at::Tensor loss =
      model.loss_sum(batch, Phase::kTraining) / static_cast<double>(target_count(batch));
  out.push_back({"loss", loss.detach().view({1})});
  if (arena != nullptr) {
    loss.backward();
    for (size_t i = 0; i < arena->layout().tensors.size(); ++i) {
      out.push_back({arena->layout().tensors[i].name, arena->leaf(i).grad().contiguous()});
    }
  }
}

int forward(const std::vector<std::string>& args) {
  const HfFolder folder = must(HfFolder::open(args.at(0)));
  const auto dtype = args.at(3) == "bf16" ? at::kBFloat16 : at::kFloat;
  CausalLm model = CausalLm::load(folder, at::kCPU, dtype);
  model.set_gradient_checkpointing(args.at(4) == "1");
  std::vector<NamedTensor> out;
  if (args.at(1) == "-") {
    collect(model, read_batch(args.at(2)), nullptr, out);
  } else {
    const PeftFolder adapter = must(PeftFolder::open(args.at(1), folder.config()));
    ParamArena arena(adapter.layout().arena, at::kCPU, ParamArena::Use::kTraining);
    must(adapter.read_into(ParamArena::host_span(arena.params())));
    model.attach_lora(adapter.layout(), arena, {});
    collect(model, read_batch(args.at(2)), &arena, out);
  }
  write_tensors(args.at(5), out);
  return 0;
}

int full(const std::vector<std::string>& args) {
  const HfFolder folder = must(HfFolder::open(args.at(0)));
  ParamArena arena(make_full_layout(folder.config()), at::kCPU, ParamArena::Use::kTraining);
  const CausalLm model = CausalLm::load_full(folder, arena);
  std::vector<NamedTensor> out;
  collect(model, read_batch(args.at(1)), &arena, out);
  write_tensors(args.at(2), out);
  return 0;
}

int curve(const std::vector<std::string>& args) {
  const HfFolder folder = must(HfFolder::open(args.at(0)));
  const PeftFolder adapter = must(PeftFolder::open(args.at(1), folder.config()));
  const PackedBatch batch = read_batch(args.at(2));
  CausalLm model = CausalLm::load(folder, at::kCPU, at::kFloat);
  ParamArena arena(adapter.layout().arena, at::kCPU, ParamArena::Use::kTraining);
  must(adapter.read_into(ParamArena::host_span(arena.params())));
  model.attach_lora(adapter.layout(), arena, {});
  nlohmann::json losses = nlohmann::json::array();
  for (int step = 1; step <= std::stoi(args.at(3)); ++step) {
    arena.zero_grad();
    const at::Tensor loss =
        model.loss_sum(batch, Phase::kTraining) / static_cast<double>(target_count(batch));
    loss.backward();
    losses.push_back(loss.item<double>());
    AdamWArgs update;
    update.params = ParamArena::host_span(arena.params());
    update.grads = ParamArena::host_span(arena.grads());
    update.exp_avg = ParamArena::host_span(arena.exp_avg());
    update.exp_avg_sq = ParamArena::host_span(arena.exp_avg_sq());
    update.step = step;
    update.learning_rate = std::stod(args.at(4));
    update.weight_decay = 0.01;
    update.grad_scale = clip_factor(global_norm(update.grads), 1.0);
    adamw_step(update);
  }
  std::printf("%s\n", losses.dump().c_str());
  must(write_peft_folder(args.at(5), adapter_config_for(adapter.layout(), args.at(0), 0.0),
                         adapter.layout(), ParamArena::host_span(arena.params())));
  return 0;
}

int merge(const std::vector<std::string>& args) {
  const HfFolder folder = must(HfFolder::open(args.at(0)));
  const PeftFolder adapter = must(PeftFolder::open(args.at(1), folder.config()));
  must(merge_adapter(folder, adapter, args.at(2)));
  return 0;
}

int run(const std::string& command, const std::vector<std::string>& args) {
  if (command == "forward") {
    return forward(args);
  }
  if (command == "full") {
    return full(args);
  }
  if (command == "curve") {
    return curve(args);
  }
  if (command == "merge") {
    return merge(args);
  }
  std::fprintf(stderr, "unknown command '%s'\n", command.c_str());
  return 2;
}

}  // namespace
}  // namespace ratchet::trainer

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: parity_probe COMMAND ARGS..., see parity_probe.cc\n");
    return 2;
  }
  try {
    return ratchet::trainer::run(argv[1], {argv + 2, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "parity_probe: %s\n", error.what());
    return 1;
  }
}
