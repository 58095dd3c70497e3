#include "trainer/cli/model_flags.h"

#include <CLI/CLI.hpp>

namespace ratchet::trainer::cli {

void add_model_flags(CLI::App& command, ModelFlags& flags) {
  command.add_option("DIR", flags.folder, "model folder")->required();
  command.add_option("--adapter", flags.adapter, "PEFT adapter folder (a checkpoint is one too)");
  command.add_option("--precision", flags.precision, "auto (as stored), fp32 or bf16")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "fp32", "bf16"}));
  command
      .add_option("--quantization", flags.quantization,
                  "none or nf4: linear layers in 4 bits, as a job with quantization nf4 sees them")
      ->capture_default_str()
      ->check(CLI::IsMember({"none", "nf4"}));
  command.add_option("--device", flags.device, "auto, cpu or cuda")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
}

Result<std::unique_ptr<InferenceModel>> open_model(const ModelFlags& flags,
                                                   const HfFolder& folder) {
  InferenceArgs args;
  args.folder = &folder;
  args.adapter = flags.adapter;
  args.bf16 = flags.precision == "bf16" ||
              (flags.precision == "auto" && folder.main_dtype() == DType::kBF16);
  args.quantization = from_word<Quantization>(flags.quantization).value_or(Quantization::kNone);
  args.device = flags.device == "cpu"    ? DeviceKind::kCpu
                : flags.device == "cuda" ? DeviceKind::kCuda
                                         : DeviceKind::kAuto;
  return InferenceModel::open(args);
}

}  // namespace ratchet::trainer::cli
