// ratchet-trainer preflight: whether this machine's device computes.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "proto/words.h"
#include "trainer/cli/command.h"
#include "trainer/train/build_name.h"
#include "trainer/train/preflight.h"

namespace ratchet::trainer::cli {
namespace {

struct PreflightArgs {
  std::string device = "auto";
  bool json = false;
};

int preflight(const PreflightArgs& args) {
  const auto kind = from_word<DeviceKind>(args.device).value_or(DeviceKind::kAuto);
  const PreflightResult result = check_device(kind);
  if (args.json) {
    const nlohmann::json object = {{"passed", result.passed},
                                   {"kernel_ms", result.kernel_ms},
                                   {"device", result.device},
                                   {"message", result.message},
                                   {"build", trainer_build()}};
    std::puts(object.dump().c_str());
  } else if (result.passed) {
    std::printf("%s: computes; a matrix product took %.3f ms\n", result.device.c_str(),
                result.kernel_ms);
  }
  if (!result.passed) {
    std::fprintf(stderr, "error: %s\n", result.message.c_str());
    return kExitFailure;
  }
  return kExitOk;
}

}  // namespace

void add_preflight_command(CLI::App& app, Command& selected) {
  auto args = std::make_shared<PreflightArgs>();
  CLI::App* command = app.add_subcommand("preflight", "Checks that this machine's device computes");
  command->footer(
      "Multiplies two matrices and compares every element; on a GPU runs our own kernel besides.\n"
      "The agent asks this before a node takes jobs. Exit code 1 when the device does not pass.\n"
      "Example:  ratchet-trainer preflight --json");
  command->add_option("--device", args->device, "auto (a GPU when there is one), cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  command->add_flag("--json", args->json, "one JSON object on stdout");
  command->callback([args, &selected] { selected = [args] { return preflight(*args); }; });
}

}  // namespace ratchet::trainer::cli
