#include "trainer/model/merge.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <map>
#include <string>

#include "trainer/model/copy_folder.h"
#include "trainer/model/param_arena.h"

namespace ratchet::trainer {
namespace {

using AdapterOf = std::map<std::string, const LoraAdapter*>;

AdapterOf adapters_by_weight(const LoraLayout& layout) {
  AdapterOf by_name;
  for (const LoraAdapter& adapter : layout.adapters) {
    by_name[layer_prefix(adapter.site.layer) + target_module_path(adapter.site.module) +
            ".weight"] = &adapter;
  }
  return by_name;
}

// W += scaling * B A; with a magnitude, each row is then brought to that norm.
void add_product(const LoraLayout& layout, const LoraAdapter& adapter, const at::Tensor& arena,
                 std::span<float> values) {
  const auto factor = [&](size_t index) {
    const ArenaTensor& tensor = layout.arena.tensors[index];
    return arena.narrow(0, tensor.offset, tensor.size).view(tensor.shape);
  };
  at::Tensor w = at::from_blob(values.data(), {adapter.out, adapter.in}, at::kFloat);
  w.addmm_(factor(adapter.b), factor(adapter.a), 1, layout.scaling());
  if (adapter.magnitude) {
    const at::Tensor norm = w.norm(2, 1).clamp_min_(1e-12);  // as dora_norm()
    w.mul_((factor(*adapter.magnitude) / norm).unsqueeze(1));
  }
}

}  // namespace

Status merge_adapter(const HfFolder& base, const PeftFolder& adapter,
                     const std::filesystem::path& out, const DigestProgress& progress) {
  const at::NoGradGuard no_grad;
  const LoraLayout& layout = adapter.layout();
  const at::Tensor arena = at::zeros({layout.arena.arena_size}, at::kFloat);
  if (const Status read = adapter.read_into(ParamArena::host_span(arena)); !read) {
    return read.error();
  }
  const AdapterOf by_name = adapters_by_weight(layout);
  CopyFolderArgs args;
  args.progress = progress;
  args.selects = [&](const FolderTensor& tensor) { return by_name.contains(tensor.tensor.name); };
  args.transform = [&](const FolderTensor& tensor, std::span<float> values) -> Status {
    add_product(layout, *by_name.at(tensor.tensor.name), arena, values);
    return ok();
  };
  return copy_model_folder(base, out, args);
}

}  // namespace ratchet::trainer
