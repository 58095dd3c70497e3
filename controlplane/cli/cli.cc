#include "controlplane/cli/cli.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>

#include "controlplane/cli/command.h"
#include "proto/version.h"

namespace ratchet::control::cli {
namespace {

constexpr const char* kExitCodes =
    "Exit codes: 0 fine; 1 refused or failed (said on stderr); 2 wrong usage; 3 the job failed or\n"
    "was cancelled (watch); 4 not found; 5 the control plane does not answer; 6 not allowed;\n"
    "130 Ctrl-C.\n"
    "Each command explains itself: ratchet submit --help";

bool wants_json(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--json") return true;
  }
  return false;
}

int wrong_usage(CLI::App& app, const CLI::ParseError& error, bool json) {
  if (!json || error.get_exit_code() == 0) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  Flags flags;
  flags.json = true;
  return fail(flags, usage_problem(Error{Code::kInvalidArgument, error.what()}));
}

int run_selected(const Command& selected, const Flags& flags) {
  try {
    return selected();
  } catch (const std::exception& error) {
    return fail(flags, Error{Code::kInternal, std::string("A fault of this program: ") +
                                                  error.what() + ". Please report it."});
  }
}

}  // namespace

int run_cli(int argc, const char* const* argv) {
  CLI::App app{
      "Hands training jobs to a control plane and follows them. A job survives the death of its\n"
      "node, of the control plane and of this program.\n"
      "First steps:  ratchet up             starts a control plane and a node on this machine\n"
      "              ratchet submit job.json --watch\n",
      "ratchet"};
  app.set_version_flag("--version", std::string("ratchet ") + kVersion);
  app.require_subcommand(1);
  app.footer(kExitCodes);
  Flags flags;
  Command selected;
  const Registry registry{app, flags, selected};
  add_up_command(registry);
  add_login_command(registry);
  add_submit_command(registry);
  add_validate_command(registry);
  add_job_commands(registry);
  add_watch_command(registry);
  add_logs_command(registry);
  add_checkpoint_commands(registry);
  add_node_commands(registry);
  add_webhook_commands(registry);
  add_token_commands(registry);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return wrong_usage(app, error, wants_json(argc, argv));
  }
  return run_selected(selected, flags);
}

}  // namespace ratchet::control::cli
