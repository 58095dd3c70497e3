// ratchet-trainer merge DIR ADAPTER OUT: a Hugging Face folder with the adapter folded in.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "trainer/cli/command.h"
#include "trainer/model/hf_folder.h"
#include "trainer/model/merge.h"
#include "trainer/model/peft_folder.h"

namespace ratchet::trainer::cli {
namespace {

struct MergeArgs {
  std::string folder;
  std::string adapter;
  std::string out;
  bool json = false;
};

int merge(const MergeArgs& args) {
  const auto base = HfFolder::open(args.folder);
  if (!base) {
    return fail(base.error());
  }
  const auto adapter = PeftFolder::open(args.adapter, base->config());
  if (!adapter) {
    return fail(adapter.error());
  }
  if (auto merged = merge_adapter(*base, *adapter, args.out); !merged) {
    return fail(merged.error());
  }
  const auto layers = adapter->layout().adapters.size();
  if (args.json) {
    std::puts(nlohmann::json({{"out", args.out}, {"merged_layers", layers}}).dump().c_str());
  } else {
    std::printf("Merged %zu adapted layers into %s\n", layers, args.out.c_str());
  }
  return kExitOk;
}

}  // namespace

void add_merge_command(CLI::App& app, Command& selected) {
  auto args = std::make_shared<MergeArgs>();
  CLI::App* command = app.add_subcommand("merge", "Folds an adapter into its base model");
  command->footer(
      "W + scaling * B A is computed in fp32 and rounded once to the dtype of the base. One "
      "matrix\n"
      "is in memory at a time.\n"
      "Example:  ratchet-trainer merge models/qwen2 runs/first/adapter models/merged");
  command->add_option("DIR", args->folder, "base model folder")->required();
  command->add_option("ADAPTER", args->adapter, "PEFT adapter folder")->required();
  command->add_option("OUT", args->out, "folder to write; new or empty")->required();
  command->add_flag("--json", args->json, "one object: out, merged_layers");
  command->callback([args, &selected] { selected = [args] { return merge(*args); }; });
}

}  // namespace ratchet::trainer::cli
