#include "trainer/train/result_export.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "trainer/model/copy_folder.h"
#include "trainer/model/peft_folder.h"

namespace ratchet::trainer {
namespace {

Status export_model(const JobInputs& inputs, const std::string& folder,
                    std::span<const float> params) {
  std::error_code removed;
  std::filesystem::remove_all(folder, removed);
  CopyFolderArgs copying;
  copying.selects = [](const FolderTensor&) { return true; };
  copying.transform = [&](const FolderTensor& tensor, std::span<float> values) -> Status {
    const ArenaTensor* from = inputs.arena.find(tensor.tensor.name);
    if (from == nullptr) {
      return Error{Code::kInternal, "No arena holds '" + tensor.tensor.name + "'."};
    }
    const auto trained =
        params.subspan(static_cast<size_t>(from->offset), static_cast<size_t>(from->size));
    std::copy(trained.begin(), trained.end(), values.begin());
    return ok();
  };
  return copy_model_folder(inputs.folder, folder, copying);
}

}  // namespace

std::string result_folder(const AttemptSpec& spec) {
  return spec.output_dir + (spec.job.method == Method::kFull ? "/model" : "/adapter");
}

Status export_result(const AttemptSpec& spec, const JobInputs& inputs,
                     std::span<const float> params) {
  if (!inputs.lora) {
    return export_model(inputs, result_folder(spec), params);
  }
  return write_peft_folder(
      result_folder(spec),
      adapter_config_for(*inputs.lora, spec.paths.base_model, spec.job.lora.dropout), *inputs.lora,
      params);
}

}  // namespace ratchet::trainer
