// ratchet-trainer: LoRA fine-tuning on one node, and the tools one needs to trust a run.

#include <CLI/CLI.hpp>
#include <cstdio>

#include "trainer/cli/command.h"
#include "trainer/train/build_name.h"
#include "trainer/train/step_engine.h"

namespace cli = ratchet::trainer::cli;

int main(int argc, char** argv) {
  CLI::App app{
      "Fine-tunes a Hugging Face model folder with LoRA on a chat file and writes a PEFT adapter.\n"
      "A run that was killed at any moment goes on with the same command, to the same bits.\n",
      "ratchet-trainer"};
  app.set_version_flag("--version", ratchet::trainer::trainer_build());
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 fine, 1 findings or failure (said on stderr), 2 wrong usage, "
      "3 stopped early with the state saved.\n"
      "Each command explains itself: ratchet-trainer run --help");
  cli::Command selected;
  cli::add_run_command(app, selected);
  cli::add_check_command(app, selected);
  cli::add_tokenize_command(app, selected);
  cli::add_render_command(app, selected);
  cli::add_inspect_command(app, selected);
  cli::add_eval_command(app, selected);
  cli::add_generate_command(app, selected);
  cli::add_merge_command(app, selected);
  cli::add_preflight_command(app, selected);
  cli::add_make_model_command(app, selected);
  cli::add_make_tokenizer_command(app, selected);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? cli::kExitOk : cli::kExitUsage;
  }
  try {
    return selected();
  } catch (...) {
    std::fprintf(stderr, "error: %s\n", ratchet::trainer::describe_failure().message.c_str());
    return cli::kExitFailure;
  }
}
