// ratchet-trainer inspect PATH: what it is, what is in it, and whether it can be trusted.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "trainer/checkpoint/describe.h"
#include "trainer/cli/command.h"
#include "trainer/model/inspect.h"

namespace ratchet::trainer::cli {
namespace {

struct InspectArgs {
  std::string path;
  bool json = false;
  bool no_digests = false;
};

int inspect(const InspectArgs& args) {
  if (looks_like_checkpoint(posix_file_system(), args.path)) {
    const auto description = describe_checkpoint(posix_file_system(), args.path);
    const auto text = args.json ? checkpoint_json(description) : checkpoint_text(description);
    std::printf("%s\n", text.c_str());
    if (!description.verdict.checkpoint) {
      std::fprintf(stderr, "error: Not a valid checkpoint: %s: %s\n",
                   description.verdict.rejected.rung.c_str(),
                   description.verdict.rejected.reason.c_str());
      return kExitFailure;
    }
    return kExitOk;
  }
  InspectOptions options;
  options.digests = !args.no_digests;
  const auto inspection = inspect_path(args.path, options);
  if (!inspection) {
    return fail(inspection.error());
  }
  const auto text = args.json ? inspection_json(*inspection) : inspection_text(*inspection);
  std::fputs(text.c_str(), stdout);
  if (!inspection->valid) {
    std::fprintf(stderr, "error: %s\n", inspection->reason.c_str());
    return kExitFailure;
  }
  return kExitOk;
}

}  // namespace

void add_inspect_command(CLI::App& app, Command& selected) {
  auto args = std::make_shared<InspectArgs>();
  CLI::App* command = app.add_subcommand(
      "inspect", "Describes a model folder, adapter, checkpoint or safetensors file");
  command->footer(
      "Prints what it is, its tensors with dtype and shape, sizes, digests, and a verdict with "
      "its\n"
      "reason. Exit code 1 when the verdict is bad.\n"
      "Example:  ratchet-trainer inspect out/ckpt/step-00000300");
  command->add_option("PATH", args->path, "folder or file")->required();
  command->add_flag("--json", args->json, "the same facts as JSON");
  command->add_flag("--no-digests", args->no_digests, "do not read the weights for their digests");
  command->callback([args, &selected] { selected = [args] { return inspect(*args); }; });
}

}  // namespace ratchet::trainer::cli
