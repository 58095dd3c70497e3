// ratchet nodes, drain, undrain, simulate-reclaim.

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "controlplane/cli/command.h"
#include "controlplane/cli/format.h"
#include "controlplane/cli/json_values.h"
#include "proto/net/url.h"

namespace ratchet::control::cli {
namespace {

std::string node_target(const std::string& id, std::string_view rest = "") {
  return "/v1/nodes/" + net::url_escape(id) + std::string(rest);
}

std::string devices_of(const Json& facts) {
  const Json& gpus = array_at(facts, "gpus");
  if (gpus.empty()) return "CPU, " + std::to_string(integer_at(facts, "cpu_cores")) + " cores";
  return std::to_string(gpus.size()) + " x " + text_at(gpus[0], "name", "GPU") + " " +
         format_bytes(Bytes(integer_at(gpus[0], "memory_total_bytes")));
}

std::string price_of(const Json& facts) {
  const double usd = number_at(facts, "usd_per_hour").value_or(0);
  const std::string kind = text_at(facts, "price");
  return usd > 0 ? kind + " " + format_usd(usd) + "/h" : kind;
}

std::string jobs_of(const Json& node) {
  std::string text;
  for (const Json& job : array_at(node, "jobs")) {
    text += (text.empty() ? "" : ", ") + (job.is_string() ? job.get<std::string>() : "?");
  }
  return text;
}

Answer<int> nodes(Api& api, const Flags& flags) {
  const auto items = get_items(api, "/v1/nodes", 0);
  if (!items) return items.error();
  if (flags.json) {
    print_json(*items);
    return kExitOk;
  }
  Table table({{"ID"},
               {"NAME"},
               {"LIVENESS"},
               {"STATE"},
               {"PROVIDER"},
               {"DEVICES"},
               {"PRICE"},
               {"FREE", true},
               {"JOBS"}});
  for (const Json& node : *items) {
    const Json& facts = object_at(node, "facts");
    const std::int64_t silent = integer_at(node, "silent_for_ms");
    std::string liveness = text_at(node, "liveness");
    if (liveness != "live" && silent > 0) {
      liveness += " " + format_duration(static_cast<double>(silent) / 1000);
    }
    std::string state = text_at(node, "schedulable");
    if (flag_at(facts, "disk_full")) state += ", disk full";
    table.add({text_at(node, "id"), text_at(facts, "name"), liveness, state,
               text_at(facts, "provider"), devices_of(facts), price_of(facts),
               std::to_string(integer_at(node, "free_slots")) + "/" +
                   std::to_string(integer_at(facts, "slots")),
               jobs_of(node)});
  }
  print_table(table,
              "There are no nodes. Start ratchet-agent on a machine; 'ratchet tokens create "
              "--scope join' makes the token that lets it in.");
  return kExitOk;
}

struct DrainArgs {
  std::string node;
  std::string deadline;
  std::string reason;
};

Answer<int> drain(Api& api, const Flags& flags, const DrainArgs& args) {
  Json body = Json::object();
  if (!args.deadline.empty()) {
    const auto deadline = parse_duration_ms(args.deadline);
    if (!deadline) return usage_problem(deadline.error());
    body["deadline_ms"] = *deadline;
  }
  if (!args.reason.empty()) body["reason"] = args.reason;
  const auto node = api.send(net::Method::kPost, node_target(args.node, "/drain"), &body);
  if (!node) return node.error();
  if (flags.json) {
    print_json(*node);
  } else {
    print("Node " + args.node +
          " is being drained: its jobs save and go on elsewhere, and it gets no new ones. "
          "'ratchet undrain " +
          args.node + "' takes it back.\n");
  }
  return kExitOk;
}

Answer<int> undrain(Api& api, const Flags& flags, const std::string& id) {
  const auto node = api.send(net::Method::kPost, node_target(id, "/undrain"));
  if (!node) return node.error();
  if (flags.json) {
    print_json(*node);
  } else {
    print("Node " + id + " takes jobs again.\n");
  }
  return kExitOk;
}

Problem not_found(const std::string& message, const std::string& next_step) {
  Problem problem;
  problem.code = "node_not_found";
  problem.message = message;
  problem.next_step = next_step;
  problem.exit = kExitNotFound;
  return problem;
}

// The node that is meant: by its id or name, by a job that runs there, or the only one with a job.
Answer<std::string> find_node(Api& api, const std::string& meant) {
  const auto items = get_items(api, "/v1/nodes", 0);
  if (!items) return items.error();
  std::vector<std::string> busy;
  for (const Json& node : *items) {
    const std::string id = text_at(node, "id");
    const std::string name = text_at(object_at(node, "facts"), "name");
    if (!meant.empty() && (id == meant || name == meant)) return id;
    for (const Json& job : array_at(node, "jobs")) {
      if (job == meant) return id;
    }
    if (!array_at(node, "jobs").empty()) busy.push_back(id);
  }
  if (!meant.empty()) {
    return not_found("'" + meant + "' is neither a node nor a job that runs on one.",
                     "'ratchet nodes' shows the nodes and their jobs.");
  }
  if (busy.size() == 1) return busy[0];
  return not_found(busy.empty() ? "No node runs a job." : "Several nodes run jobs.",
                   "Name the node or the job: ratchet simulate-reclaim NODE_OR_JOB --lead 30s");
}

struct ReclaimArgs {
  std::string meant;
  std::string lead = "30s";
};

Answer<int> simulate_reclaim(Api& api, const Flags& flags, const ReclaimArgs& args) {
  const auto lead = parse_duration_ms(args.lead);
  if (!lead) return usage_problem(lead.error());
  const auto node = find_node(api, args.meant);
  if (!node) return node.error();
  const Json body = {{"lead_ms", *lead}};
  const auto done = api.send(net::Method::kPost, node_target(*node, "/simulate-reclaim"), &body);
  if (!done) return done.error();
  if (flags.json) {
    print_json(*done);
  } else {
    print("Node " + printable(*node) + " now believes that it is taken away in " +
          format_duration(static_cast<double>(*lead) / 1000) +
          ": it saves, uploads and leaves. 'ratchet list' shows how its jobs go on.\n");
  }
  return kExitOk;
}

}  // namespace

void add_node_commands(Registry registry) {
  CLI::App* command = add_remote_command(
      registry.app, registry.flags, "nodes", "Machines, whether they are heard from, their jobs",
      "LIVENESS is about contact (live, suspect, silent); STATE says whether jobs go there.\n"
      "Example:  ratchet nodes");
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags, [&](Api& api) { return nodes(api, registry.flags); });
    };
  });

  auto drained = std::make_shared<DrainArgs>();
  command = add_remote_command(registry.app, registry.flags, "drain",
                               "Moves the jobs off a node and gives it no new ones",
                               "Each job saves its last step first, so nothing is repeated.\n"
                               "Example:  ratchet drain node-3 --reason \"new power supply\"");
  command->add_option("NODE", drained->node, "its id, as 'ratchet nodes' shows it")->required();
  command->add_option("--deadline", drained->deadline, "then by force: 2m");
  command->add_option("--reason", drained->reason, "for those who look later");
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags,
                      [&](Api& api) { return drain(api, registry.flags, *drained); });
    };
  });

  auto undrained = std::make_shared<std::string>();
  command =
      add_remote_command(registry.app, registry.flags, "undrain",
                         "Lets a drained node take jobs again", "Example:  ratchet undrain node-3");
  command->add_option("NODE", *undrained, "its id, as 'ratchet nodes' shows it")->required();
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags,
                      [&](Api& api) { return undrain(api, registry.flags, *undrained); });
    };
  });

  auto reclaimed = std::make_shared<ReclaimArgs>();
  command = add_remote_command(
      registry.app, registry.flags, "simulate-reclaim",
      "Acts as if a cloud took a node away, to see a job recover",
      "The node does all that it would do: save, upload, leave. Without a name: the one node that\n"
      "runs a job.\n"
      "Examples:  ratchet simulate-reclaim --lead 30s\n"
      "           ratchet simulate-reclaim support-bot-7f3a --lead 5s");
  command->add_option("NODE_OR_JOB", reclaimed->meant, "id of a node, or of a job on it");
  command->add_option("--lead", reclaimed->lead, "time between the notice and the end")
      ->capture_default_str();
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags,
                      [&](Api& api) { return simulate_reclaim(api, registry.flags, *reclaimed); });
    };
  });
}

}  // namespace ratchet::control::cli
