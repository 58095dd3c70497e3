// ratchet tokens create, list, revoke.

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "controlplane/cli/command.h"
#include "controlplane/cli/files.h"
#include "controlplane/cli/format.h"
#include "controlplane/cli/json_values.h"
#include "proto/net/url.h"

namespace ratchet::control::cli {
namespace {

struct CreateArgs {
  std::string scope = "user";
  std::string name;
  std::string tenant;
  std::string expires;
  std::string out;
};

Answer<int> create(Api& api, const Flags& flags, const CreateArgs& args) {
  Json body = {{"scope", args.scope}, {"name", args.name.empty() ? args.scope : args.name}};
  if (!args.tenant.empty()) body["tenant"] = args.tenant;
  if (!args.expires.empty()) {
    const auto time = parse_duration_ms(args.expires);
    if (!time) return usage_problem(time.error());
    body["expires_at_ms"] = wall_now().count() + *time;
  }
  auto token = api.send(net::Method::kPost, "/v1/tokens", &body, random_key());
  if (!token) return token.error();
  const std::string secret = text_at(*token, "token");
  if (secret.empty()) return lost_secret("token", text_at(*token, "id"), "tokens revoke");
  if (!args.out.empty()) {
    const auto written = write_private_file(args.out, secret + "\n");
    if (!written) return problem_of(written.error());
    token->erase("token");
    (*token)["token_file"] = args.out;
  }
  if (flags.json) {
    print_json(*token);
    return kExitOk;
  }
  const std::string id = printable(text_at(*token, "id"));
  if (!args.out.empty()) {
    print("Token " + id + " is in '" + args.out + "' (mode 0600).\n");
  } else {
    print(printable(secret) + "\n");
    if (is_terminal(1)) print("Keep it now: it is not shown again. Its id is " + id + ".\n");
  }
  return kExitOk;
}

Answer<int> list_tokens(Api& api, const Flags& flags) {
  const auto items = get_items(api, "/v1/tokens", 0);
  if (!items) return items.error();
  if (flags.json) {
    print_json(*items);
    return kExitOk;
  }
  Table table({{"ID"}, {"NAME"}, {"SCOPE"}, {"TENANT"}, {"STATE"}, {"MADE"}, {"EXPIRES"}});
  for (const Json& token : *items) {
    const bool revoked = time_at(token, "revoked_at_ms").count() > 0;
    table.add({text_at(token, "id"), text_at(token, "name"), text_at(token, "scope"),
               text_at(token, "tenant"), revoked ? "revoked" : "on",
               format_age(time_at(token, "created_at_ms"), wall_now()),
               format_age(time_at(token, "expires_at_ms"), wall_now())});
  }
  print_table(table, "There are no tokens.");
  return kExitOk;
}

Answer<int> revoke(Api& api, const Flags& flags, const std::string& id) {
  const auto done = api.send(net::Method::kDelete, "/v1/tokens/" + net::url_escape(id));
  if (!done) return done.error();
  if (flags.json) {
    print_json({{"id", id}, {"revoked", true}});
  } else {
    print("Token " + id + " no longer opens anything.\n");
  }
  return kExitOk;
}

}  // namespace

void add_token_commands(Registry registry) {
  CLI::App* group = registry.app.add_subcommand(
      "tokens", "Who may come in: create (users, admins, nodes), list, revoke");
  group->require_subcommand(1);
  group->footer("Each explains itself: ratchet tokens create --help");

  auto args = std::make_shared<CreateArgs>();
  CLI::App* command = add_remote_command(
      *group, registry.flags, "create", "Makes one; its secret is shown once",
      "Scopes: user (jobs of its tenant), admin (everything), join (lets ratchet-agent register a\n"
      "node). Only the secret goes to stdout, so that it can be piped.\n"
      "Examples:  ratchet tokens create --scope join --out join.token\n"
      "           ratchet tokens create --scope user --name ana --tenant research --expires 90d");
  command->add_option("--scope", args->scope, "what it opens")
      ->capture_default_str()
      ->check(CLI::IsMember({"user", "admin", "join"}));
  command->add_option("--name", args->name, "for people; default: the scope");
  command->add_option("--tenant", args->tenant, "whose jobs or nodes; default: your own");
  command->add_option("--expires", args->expires, "after this time: 12h, 90d; default: never");
  command->add_option("--out", args->out, "file for the secret (mode 0600) instead of stdout");
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags, [&](Api& api) { return create(api, registry.flags, *args); });
    };
  });

  command = add_remote_command(*group, registry.flags, "list", "All of them, without their secrets",
                               "Example:  ratchet tokens list");
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags, [&](Api& api) { return list_tokens(api, registry.flags); });
    };
  });

  auto id = std::make_shared<std::string>();
  command = add_remote_command(*group, registry.flags, "revoke", "Ends one at once",
                               "Example:  ratchet tokens revoke tok-12ab");
  command->add_option("TOKEN", *id, "its id, as 'ratchet tokens list' shows it")->required();
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags, [&](Api& api) { return revoke(api, registry.flags, *id); });
    };
  });
}

}  // namespace ratchet::control::cli
