// ratchet list, show, pause, resume, cancel.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "controlplane/cli/command.h"
#include "controlplane/cli/format.h"
#include "controlplane/cli/job_view.h"
#include "controlplane/cli/json_values.h"
#include "proto/net/url.h"

namespace ratchet::control::cli {
namespace {

struct ListArgs {
  std::string state;
  std::string sort;
  std::int64_t limit = 20;
  bool all = false;
};

Answer<int> list(Api& api, const Flags& flags, const ListArgs& args) {
  net::QueryParameters query;
  if (!args.state.empty()) query.emplace_back("state", args.state);
  if (!args.sort.empty()) query.emplace_back("sort", args.sort);
  const std::string target = "/v1/jobs" + (query.empty() ? "" : "?" + net::format_query(query));
  const auto jobs = get_items(api, target, args.all ? 0 : args.limit);
  if (!jobs) return jobs.error();
  if (flags.json) {
    print_json(*jobs);
    return kExitOk;
  }
  Table table(job_columns());
  for (const Json& job : *jobs) table.add(job_row(read_job(job), wall_now()));
  print_table(table, "There are no jobs. 'ratchet submit job.json' makes one.");
  if (!args.all && static_cast<std::int64_t>(jobs->size()) == args.limit) {
    print("(the newest " + std::to_string(args.limit) + "; --all shows every one)\n");
  }
  return kExitOk;
}

Table interruption_table(const Json& interruptions, UnixMillis now) {
  Table table({{"#", true},
               {"CAUSE"},
               {"AT STEP", true},
               {"RESUMED", true},
               {"REPLAYED", true},
               {"DOWN", true},
               {"WHEN"},
               {"WHY"}});
  for (const Json& item : interruptions) {
    const UnixMillis began = time_at(item, "interrupted_at_ms");
    const UnixMillis resumed = time_at(item, "resumed_at_ms");
    const Json* step = member(item, "resumed_step");
    table.add({std::to_string(integer_at(item, "number")), text_at(item, "cause"),
               std::to_string(integer_at(item, "interrupted_step")),
               step == nullptr ? "-" : std::to_string(integer_at(item, "resumed_step")),
               std::to_string(integer_at(item, "replayed_steps")),
               resumed.count() == 0
                   ? "..."
                   : format_duration(static_cast<double>((resumed - began).count()) / 1000),
               format_age(began, now), text_at(item, "reason")});
  }
  return table;
}

Answer<int> show(Api& api, const Flags& flags, const std::string& id) {
  auto job = api.get(job_target(id));
  if (!job) return job.error();
  const auto interruptions = get_items(api, job_target(id, "/interruptions"), 0);
  if (!interruptions) return interruptions.error();
  if (flags.json) {
    Json whole = *job;
    whole["interruption_records"] = *interruptions;
    print_json(whole);
    return kExitOk;
  }
  print(describe_job(read_job(*job), wall_now()));
  if (!interruptions->empty()) {
    print("\n");
    print_table(interruption_table(*interruptions, wall_now()), "");
  }
  return kExitOk;
}

struct Act {
  std::string word;  // of the API
  std::string said;  // "{id}: <said>"
};

// The same for several jobs: all are tried, the first problem decides the exit code.
Answer<int> act(Api& api, const Flags& flags, const std::vector<std::string>& ids, const Act& act) {
  int exit = kExitOk;
  Json answers = Json::array();
  for (const std::string& id : ids) {
    const auto job = api.send(net::Method::kPost, job_target(id, "/" + act.word));
    if (!job) {
      if (ids.size() == 1) return job.error();
      if (flags.json) {
        answers.push_back(problem_json(job.error()));
      } else {
        fail(flags, job.error());
      }
      if (exit == kExitOk) exit = job.error().exit;
      continue;
    }
    answers.push_back(*job);
    if (!flags.json) {
      print(id + ": " + act.said + " (state: " + printable(text_at(*job, "state")) + ")\n");
    }
  }
  if (flags.json) print_json(ids.size() == 1 ? answers[0] : answers);
  return exit;
}

Answer<int> cancel(Api& api, const Flags& flags, const std::vector<std::string>& ids, bool yes) {
  if (!yes && !flags.json && is_terminal(STDIN_FILENO)) {
    const std::string what =
        ids.size() == 1 ? "job " + ids[0] : std::to_string(ids.size()) + " jobs";
    if (!confirm("Cancel " + what + "? This is final; 'ratchet pause' can be undone.")) {
      print("Nothing was cancelled.\n");
      return kExitFailed;
    }
  }
  return act(api, flags, ids, {"cancel", "is being cancelled"});
}

void add_acts(Registry registry) {
  struct Words {
    const char* name;
    const char* purpose;
    const char* said;
    const char* footer;
  };
  for (const Words& words :
       {Words{"pause", "Saves a checkpoint and frees the node; 'resume' goes on", "is being paused",
              "A job that waits for a node is paused at once. Pausing twice is fine.\n"
              "Example:  ratchet pause support-bot-7f3a"},
        Words{"resume", "Goes on with a paused job from its newest checkpoint",
              "goes on as soon as a node is free",
              "Interrupted jobs resume by themselves; this is for paused ones.\n"
              "Example:  ratchet resume support-bot-7f3a"}}) {
    auto ids = std::make_shared<std::vector<std::string>>();
    CLI::App* command =
        add_remote_command(registry.app, registry.flags, words.name, words.purpose, words.footer);
    command->add_option("JOB", *ids, "ids, as 'ratchet list' shows them")->required();
    const Act what{words.name, words.said};
    command->callback([=] {
      registry.selected = [=] {
        return with_api(registry.flags,
                        [&](Api& api) { return act(api, registry.flags, *ids, what); });
      };
    });
  }
}

}  // namespace

void add_job_commands(Registry registry) {
  auto args = std::make_shared<ListArgs>();
  CLI::App* command = add_remote_command(registry.app, registry.flags, "list", "Jobs, newest first",
                                         "Examples:  ratchet list --state training\n"
                                         "           ratchet list --all --json | jq -r '.[].id'");
  command->add_option("--state", args->state,
                      "only these: queued, provisioning, training, interrupted, recovering, "
                      "paused, completed, failed or cancelled");
  command->add_option("--sort", args->sort, "created_at (oldest first) or -created_at");
  command->add_option("--limit", args->limit, "how many")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{100000}));
  command->add_flag("--all", args->all, "all of them");
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags, [&](Api& api) { return list(api, registry.flags, *args); });
    };
  });

  auto shown = std::make_shared<std::string>();
  command = add_remote_command(registry.app, registry.flags, "show",
                               "Everything about one job: progress, cost, interruptions, failure",
                               "Example:  ratchet show support-bot-7f3a");
  command->add_option("JOB", *shown, "its id, as 'ratchet list' shows it")->required();
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags, [&](Api& api) { return show(api, registry.flags, *shown); });
    };
  });

  add_acts(registry);

  struct CancelArgs {
    std::vector<std::string> ids;
    bool yes = false;
  };
  auto cancelled = std::make_shared<CancelArgs>();
  command = add_remote_command(registry.app, registry.flags, "cancel",
                               "Ends a job for good; its checkpoints stay",
                               "Asks on a terminal. Cancelling twice is fine.\n"
                               "Example:  ratchet cancel --yes support-bot-7f3a");
  command->add_option("JOB", cancelled->ids, "ids, as 'ratchet list' shows them")->required();
  command->add_flag("--yes,-y", cancelled->yes, "do not ask");
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags, [&](Api& api) {
        return cancel(api, registry.flags, cancelled->ids, cancelled->yes);
      });
    };
  });
}

}  // namespace ratchet::control::cli
