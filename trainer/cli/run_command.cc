// ratchet-trainer run SPEC: trains.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "proto/attempt_spec.h"
#include "proto/words.h"
#include "trainer/cli/command.h"
#include "trainer/cli/spec_file.h"
#include "trainer/train/run_job.h"

namespace ratchet::trainer::cli {
namespace {

struct RunArgs {
  SpecFlags spec;
  std::string resume = "auto";
  std::optional<int64_t> stop_at_step;
  int64_t sigterm_deadline_ms = 5000;
  int events_fd = -1;
  bool quiet = false;
  bool json = false;
  int rank = 0;
  std::string rendezvous;
};

// The command that goes on where this one stopped.
std::string resume_command(const RunArgs& args, const AttemptSpec& spec) {
  return "ratchet-trainer run " + args.spec.path + " --out " + spec.output_dir;
}

void print_json(const ExitRecord& record) {
  nlohmann::json evidence = nlohmann::json::object();
  for (const auto& [key, value] : record.evidence) {
    std::visit([&](const auto& item) { evidence[key] = item; }, value);
  }
  const nlohmann::json object = {{"exit", to_word(record.kind)},  {"message", record.message},
                                 {"step", record.step},           {"stage", record.stage},
                                 {"resumable", record.resumable}, {"evidence", evidence}};
  std::puts(object.dump().c_str());
}

// Of a rank that another process leads: all ranks come to the same verdicts together, so only what
// befell this one alone is a failure.
int rank_exit_code(ExitKind kind) {
  switch (kind) {
    case ExitKind::kCompleted:
    case ExitKind::kPreempted:
    case ExitKind::kNonFinite:
    case ExitKind::kLossPlateau:
    case ExitKind::kTimeout:
      return kExitOk;
    case ExitKind::kUserError:
    case ExitKind::kDataError:
    case ExitKind::kOomGpu:
    case ExitKind::kGpuFault:
    case ExitKind::kInternal:
      return kExitFailure;
  }
  return kExitFailure;
}

int run(const RunArgs& args) {
  auto spec = load_attempt_spec(args.spec);
  if (!spec) {
    return fail(spec.error());
  }
  if (args.resume == "never") {
    spec->resume = {ResumeMode::kNever, ""};
  } else if (args.resume != "auto") {
    spec->resume = {ResumeMode::kPath, std::filesystem::absolute(args.resume).string()};
  }
  if (args.stop_at_step) {
    spec->stop_at_step = args.stop_at_step;
  }
  RunOptions options;
  options.events_fd = args.events_fd;
  options.quiet = args.quiet || args.json || args.rank > 0;
  options.sigterm_deadline = std::chrono::milliseconds(args.sigterm_deadline_ms);
  options.resume_command = resume_command(args, *spec);
  options.rank = args.rank;
  options.rendezvous = args.rendezvous;
  const ExitRecord record = run_attempt(*spec, options);
  if (args.json) {
    print_json(record);
  }
  if (record.kind != ExitKind::kCompleted && record.kind != ExitKind::kPreempted) {
    std::fprintf(stderr, "error: %s: %s\n", std::string(to_word(record.kind)).c_str(),
                 record.message.c_str());
  }
  return args.rank > 0 ? rank_exit_code(record.kind) : exit_code(record.kind);
}

}  // namespace

void add_run_command(CLI::App& app, Command& selected) {
  auto args = std::make_shared<RunArgs>();
  CLI::App* command = app.add_subcommand("run", "Trains a job, or goes on with one");
  command->footer(
      "The output folder gets ckpt/ (checkpoints), events.jsonl (telemetry), tensorboard/ and, at\n"
      "the end, adapter/ (what PEFT loads) or model/ (method full). Run the same command again\n"
      "after any end: it goes on from the newest valid checkpoint, to the same bits.\n"
      "Ctrl-C saves and prints that command; a second Ctrl-C ends at once.\n"
      "Example:  ratchet-trainer run job.json --out runs/first");
  add_spec_flags(*command, args->spec);
  command
      ->add_option("--resume", args->resume,
                   "auto (newest valid checkpoint), never, or the path of a checkpoint")
      ->capture_default_str();
  command
      ->add_option("--stop-at-step", args->stop_at_step,
                   "save and leave after this step (exit code 3)")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--sigterm-deadline-ms", args->sigterm_deadline_ms,
                   "time that SIGTERM leaves to save the last step")
      ->capture_default_str()
      ->check(CLI::Range(1, 3600000));
  command->add_option("--events-fd", args->events_fd, "open descriptor that also gets the events");
  command->add_flag("--quiet", args->quiet, "no progress on the terminal");
  command->add_flag("--json", args->json, "the exit record as one JSON object on stdout");
  command->add_option("--rank", args->rank)->group("");
  command->add_option("--rendezvous", args->rendezvous)->group("");
  command->callback([args, &selected] { selected = [args] { return run(*args); }; });
}

}  // namespace ratchet::trainer::cli
