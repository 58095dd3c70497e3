// ratchet checkpoints, ratchet download.

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "controlplane/cli/command.h"
#include "controlplane/cli/format.h"
#include "controlplane/cli/job_view.h"
#include "controlplane/cli/json_values.h"
#include "controlplane/cli/transfer.h"

namespace ratchet::control::cli {
namespace {

Answer<int> checkpoints(Api& api, const Flags& flags, const std::string& id) {
  const auto items = get_items(api, job_target(id, "/checkpoints"), 0);
  if (!items) return items.error();
  if (flags.json) {
    print_json(*items);
    return kExitOk;
  }
  Table table({{"STEP", true},
               {"STATE"},
               {"SIZE", true},
               {"ATTEMPT", true},
               {"SAVED"},
               {"SHA-256 OF THE MANIFEST"}});
  for (const Json& item : *items) {
    table.add({std::to_string(integer_at(item, "step")), text_at(item, "state"),
               format_bytes(Bytes(integer_at(item, "bytes"))),
               std::to_string(integer_at(item, "attempt_no")),
               format_age(time_at(item, "saved_at_ms"), wall_now()),
               text_at(item, "manifest_sha256")});
  }
  print_table(table, "The job has no checkpoint yet.");
  return kExitOk;
}

struct DownloadArgs {
  std::string job;
  std::string checkpoint;  // empty: the result; "latest", or a step
  std::string out;
};

Problem nothing_to_download(const std::string& message, const std::string& next_step) {
  Problem problem;
  problem.code = "nothing_to_download";
  problem.message = message;
  problem.next_step = next_step;
  problem.exit = kExitNotFound;
  return problem;
}

struct Wanted {
  std::string artifact;
  std::string folder;  // default name
};

Answer<Wanted> find_step(Api& api, const std::string& job, const std::string& step) {
  const auto items = get_items(api, job_target(job, "/checkpoints"), 0);
  if (!items) return items.error();
  // The newest attempt's, when a step was saved twice.
  Wanted found;
  std::int64_t epoch = -1;
  for (const Json& item : *items) {
    const std::string state = text_at(item, "state");
    const bool kept = state == "committed" || state == "adopted";
    if (!kept || std::to_string(integer_at(item, "step")) != step) continue;
    if (integer_at(item, "epoch") < epoch) continue;
    epoch = integer_at(item, "epoch");
    found = {text_at(item, "artifact_id"), job + "-step-" + step};
  }
  if (!found.artifact.empty()) return found;
  return nothing_to_download("Job " + job + " keeps no committed checkpoint of step " + step + ".",
                             "'ratchet checkpoints " + job + "' shows those that it keeps.");
}

Answer<Wanted> find_wanted(Api& api, const DownloadArgs& args) {
  const auto answer = api.get(job_target(args.job));
  if (!answer) return answer.error();
  const JobView job = read_job(*answer);
  if (args.checkpoint.empty()) {
    if (!job.result_artifact.empty()) return Wanted{job.result_artifact, args.job + "-result"};
    return nothing_to_download("Job " + args.job + " has no result yet: it is " + job.state + ".",
                               job.head_artifact.empty()
                                   ? "Wait for its first checkpoint."
                                   : "'ratchet download " + args.job +
                                         " --checkpoint latest' brings its newest checkpoint, "
                                         "which PEFT loads too.");
  }
  if (args.checkpoint == "latest") {
    if (!job.head_artifact.empty()) {
      return Wanted{job.head_artifact, args.job + "-step-" + std::to_string(job.head_step)};
    }
    return nothing_to_download("Job " + args.job + " has no committed checkpoint yet.",
                               "'ratchet watch " + args.job + "' shows when there is one.");
  }
  return find_step(api, args.job, args.checkpoint);
}

Answer<int> download(Api& api, const Flags& flags, const DownloadArgs& args) {
  const auto wanted = find_wanted(api, args);
  if (!wanted) return wanted.error();
  const std::string folder = args.out.empty() ? wanted->folder : args.out;
  const auto done = download_artifact(api, wanted->artifact, folder, transfer_progress(flags.json));
  if (!done) return done.error();
  if (flags.json) {
    print_json({{"folder", folder},
                {"artifact_id", wanted->artifact},
                {"files", done->files},
                {"bytes", done->bytes},
                {"received_bytes", done->received}});
  } else {
    print(folder + ": " + std::to_string(done->files.size()) + " files, " +
          format_bytes(Bytes(done->bytes)) + ", every digest holds.\n");
  }
  return kExitOk;
}

}  // namespace

void add_checkpoint_commands(Registry registry) {
  auto id = std::make_shared<std::string>();
  CLI::App* command = add_remote_command(
      registry.app, registry.flags, "checkpoints", "The checkpoints of a job",
      "'committed' ones are safe in the control plane's store; each is a PEFT folder.\n"
      "Example:  ratchet checkpoints support-bot-7f3a");
  command->add_option("JOB", *id, "its id, as 'ratchet list' shows it")->required();
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags,
                      [&](Api& api) { return checkpoints(api, registry.flags, *id); });
    };
  });

  auto args = std::make_shared<DownloadArgs>();
  command = add_remote_command(
      registry.app, registry.flags, "download", "Brings a job's result, or a checkpoint of it",
      "Without --checkpoint: the adapter (or the model) of a completed job. Each file is checked\n"
      "against its SHA-256; the same command again goes on where it was cut off.\n"
      "Examples:  ratchet download support-bot-7f3a --out adapter\n"
      "           ratchet download support-bot-7f3a --checkpoint latest");
  command->add_option("JOB", args->job, "its id, as 'ratchet list' shows it")->required();
  command->add_option("--checkpoint", args->checkpoint, "'latest', or the step of a checkpoint");
  command->add_option("--out", args->out, "folder; default: JOB-result or JOB-step-N, here");
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags,
                      [&](Api& api) { return download(api, registry.flags, *args); });
    };
  });
}

}  // namespace ratchet::control::cli
