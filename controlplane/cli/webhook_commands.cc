// ratchet webhooks add, list, show, remove, rotate, test, deliveries, replay.

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "controlplane/cli/command.h"
#include "controlplane/cli/files.h"
#include "controlplane/cli/format.h"
#include "controlplane/cli/json_values.h"
#include "proto/net/url.h"

namespace ratchet::control::cli {
namespace {

std::string webhook_target(const std::string& id, std::string_view rest = "") {
  return "/v1/webhooks/" + net::url_escape(id) + std::string(rest);
}

std::string types_of(const Json& webhook) {
  std::string text;
  for (const Json& type : array_at(webhook, "types")) {
    text += (text.empty() ? "" : ", ") + (type.is_string() ? type.get<std::string>() : "?");
  }
  return text.empty() ? "all" : text;
}

// The secret is in this answer and in no later one.
void print_secret(const Json& webhook) {
  const std::string secret = text_at(webhook, "secret");
  if (secret.empty()) return;
  print("secret  " + printable(secret) +
        "\nKeep it now: it is not shown again. The receiver checks each delivery's signature with "
        "it (Standard Webhooks 1.0.0).\n");
}

struct AddArgs {
  std::string url;
  std::vector<std::string> events;
  std::string description;
};

Answer<int> add(Api& api, const Flags& flags, const AddArgs& args) {
  Json body = {{"url", args.url}};
  if (!args.events.empty()) body["types"] = args.events;
  if (!args.description.empty()) body["description"] = args.description;
  const auto webhook = api.send(net::Method::kPost, "/v1/webhooks", &body, random_key());
  if (!webhook) return webhook.error();
  if (text_at(*webhook, "secret").empty()) {
    return lost_secret("webhook", text_at(*webhook, "id"), "webhooks remove");
  }
  if (flags.json) {
    print_json(*webhook);
    return kExitOk;
  }
  print("Webhook " + printable(text_at(*webhook, "id")) + " is made.\n");
  print_secret(*webhook);
  return kExitOk;
}

Answer<int> list_webhooks(Api& api, const Flags& flags) {
  const auto items = get_items(api, "/v1/webhooks", 0);
  if (!items) return items.error();
  if (flags.json) {
    print_json(*items);
    return kExitOk;
  }
  Table table({{"ID"}, {"URL"}, {"STATE"}, {"EVENTS"}, {"MADE"}});
  for (const Json& webhook : *items) {
    const std::string reason = text_at(webhook, "disabled_reason");
    table.add(
        {text_at(webhook, "id"), text_at(webhook, "url"),
         flag_at(webhook, "disabled") ? "disabled" + (reason.empty() ? "" : ": " + reason) : "on",
         types_of(webhook), format_age(time_at(webhook, "created_at_ms"), wall_now())});
  }
  print_table(table, "There are no webhooks. 'ratchet webhooks add URL' makes one.");
  return kExitOk;
}

Answer<int> remove(Api& api, const Flags& flags, const std::string& id) {
  const auto done = api.send(net::Method::kDelete, webhook_target(id));
  if (!done) return done.error();
  if (flags.json) {
    print_json({{"id", id}, {"removed", true}});
  } else {
    print("Webhook " + id + " is removed.\n");
  }
  return kExitOk;
}

Answer<int> rotate(Api& api, const Flags& flags, const std::string& id) {
  const auto webhook = api.send(net::Method::kPost, webhook_target(id, "/rotate"));
  if (!webhook) return webhook.error();
  if (flags.json) {
    print_json(*webhook);
    return kExitOk;
  }
  print("Webhook " + id + " has a new secret; for a while deliveries are signed with both.\n");
  print_secret(*webhook);
  return kExitOk;
}

Answer<int> test(Api& api, const Flags& flags, const std::string& id) {
  const auto done = api.send(net::Method::kPost, webhook_target(id, "/test"));
  if (!done) return done.error();
  if (flags.json) {
    print_json(*done);
  } else {
    print("A test event is on its way. 'ratchet webhooks deliveries " + id +
          "' shows how it was answered.\n");
  }
  return kExitOk;
}

struct DeliveriesArgs {
  std::string id;
  std::int64_t limit = 20;
};

Answer<int> deliveries(Api& api, const Flags& flags, const DeliveriesArgs& args) {
  const auto items = get_items(api, webhook_target(args.id, "/deliveries"), args.limit);
  if (!items) return items.error();
  if (flags.json) {
    print_json(*items);
    return kExitOk;
  }
  Table table(
      {{"EVENT"}, {"TYPE"}, {"STATE"}, {"TRIES", true}, {"STATUS", true}, {"NEXT TRY"}, {"WHY"}});
  for (const Json& item : *items) {
    const std::int64_t status = integer_at(item, "last_status");
    table.add({text_at(item, "event_id"), text_at(item, "type"), text_at(item, "state"),
               std::to_string(integer_at(item, "tries")),
               status == 0 ? "-" : std::to_string(status),
               format_age(time_at(item, "next_at_ms"), wall_now()), text_at(item, "last_error")});
  }
  print_table(table, "Nothing was delivered yet.");
  return kExitOk;
}

struct ReplayArgs {
  std::string id;
  std::string event;
  std::string from;
  std::string to;
};

Answer<int> replay(Api& api, const Flags& flags, const ReplayArgs& args) {
  Json body = Json::object();
  if (!args.event.empty()) body["event_id"] = args.event;
  if (!args.from.empty()) {
    const auto from = parse_time(args.from, wall_now());
    if (!from) return usage_problem(from.error());
    auto to = args.to.empty() ? Result<UnixMillis>(wall_now()) : parse_time(args.to, wall_now());
    if (!to) return usage_problem(to.error());
    body["from_ms"] = from->count();
    body["to_ms"] = to->count();
  }
  const auto done = api.send(net::Method::kPost, webhook_target(args.id, "/replay"), &body);
  if (!done) return done.error();
  if (flags.json) {
    print_json(*done);
  } else {
    print("They go out again under the ids that they had, so that receivers can tell.\n");
  }
  return kExitOk;
}

// Commands whose one argument is a webhook.
using OneWebhook = Answer<int> (*)(Api&, const Flags&, const std::string&);

void add_simple(Registry registry, CLI::App& group, const std::string& name,
                const std::string& purpose, OneWebhook work) {
  auto id = std::make_shared<std::string>();
  CLI::App* command = add_remote_command(group, registry.flags, name, purpose,
                                         "Example:  ratchet webhooks " + name + " wh-3f21");
  command->add_option("WEBHOOK", *id, "its id, as 'ratchet webhooks list' shows it")->required();
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags, [&](Api& api) { return work(api, registry.flags, *id); });
    };
  });
}

void add_add(Registry registry, CLI::App& group) {
  auto args = std::make_shared<AddArgs>();
  CLI::App* command =
      add_remote_command(group, registry.flags, "add", "Makes one; shows its secret once",
                         "Example:  ratchet webhooks add https://example.com/hook \\\n"
                         "              --event job.succeeded --event job.failed");
  command->add_option("URL", args->url, "where the events are posted to")->required();
  command->add_option("--event", args->events, "only these types (repeat it); default: all")
      ->allow_extra_args(false);
  command->add_option("--description", args->description, "for people");
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags, [&](Api& api) { return add(api, registry.flags, *args); });
    };
  });
}

void add_deliveries(Registry registry, CLI::App& group) {
  auto args = std::make_shared<DeliveriesArgs>();
  CLI::App* command = add_remote_command(group, registry.flags, "deliveries",
                                         "What was sent and how it was answered",
                                         "Example:  ratchet webhooks deliveries wh-3f21 --limit 5");
  command->add_option("WEBHOOK", args->id, "its id")->required();
  command->add_option("--limit", args->limit, "how many, newest first")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{100000}));
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags,
                      [&](Api& api) { return deliveries(api, registry.flags, *args); });
    };
  });
}

void add_replay(Registry registry, CLI::App& group) {
  auto args = std::make_shared<ReplayArgs>();
  CLI::App* command = add_remote_command(
      group, registry.flags, "replay", "Sends an event, or those of a time, once more",
      "Examples:  ratchet webhooks replay wh-3f21 --event job-7f3a.12\n"
      "           ratchet webhooks replay wh-3f21 --from 2026-11-21T08:00:00Z");
  command->add_option("WEBHOOK", args->id, "its id")->required();
  auto* event = command->add_option("--event", args->event, "id of one event");
  auto* from = command->add_option("--from", args->from, "the first moment (UTC)")->excludes(event);
  command->add_option("--to", args->to, "the last moment; default: now")->needs(from);
  command->callback([=] {
    if (args->event.empty() && args->from.empty()) {
      throw CLI::RequiredError("--event or --from");
    }
    registry.selected = [=] {
      return with_api(registry.flags, [&](Api& api) { return replay(api, registry.flags, *args); });
    };
  });
}

}  // namespace

void add_webhook_commands(Registry registry) {
  CLI::App* group = registry.app.add_subcommand(
      "webhooks", "Where events are sent: add, list, remove, rotate, test, deliveries, replay");
  group->require_subcommand(1);
  group->footer("Each explains itself: ratchet webhooks add --help");
  add_add(registry, *group);
  CLI::App* command = add_remote_command(*group, registry.flags, "list", "All of them",
                                         "Example:  ratchet webhooks list");
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags, [&](Api& api) { return list_webhooks(api, registry.flags); });
    };
  });
  add_simple(registry, *group, "remove", "Ends it; what is not delivered yet is dropped", remove);
  add_simple(registry, *group, "rotate", "A new secret; the old one holds for a while", rotate);
  add_simple(registry, *group, "test", "Sends a test event now", test);
  add_deliveries(registry, *group);
  add_replay(registry, *group);
}

}  // namespace ratchet::control::cli
