// ratchet login.

#include <termios.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>

#include "controlplane/cli/command.h"
#include "controlplane/cli/format.h"
#include "controlplane/cli/json_values.h"

namespace ratchet::control::cli {
namespace {

// Typed on a terminal without being shown.
std::string ask_token() {
  std::fputs("Token: ", stderr);
  termios before{};
  const bool known = ::tcgetattr(STDIN_FILENO, &before) == 0;
  termios silent = before;
  silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  if (known) ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
  std::string token;
  std::getline(std::cin, token);
  if (known) ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
  std::fputs("\n", stderr);
  return token;
}

Result<std::string> find_token(const EndpointFlags& flags) {
  if (!flags.token_file.empty()) return read_token(flags.token_file);
  const std::string named = process_environment("RATCHET_TOKEN_FILE");
  if (!named.empty()) return read_token(named);
  std::string given = process_environment("RATCHET_TOKEN");
  if (!given.empty()) return given;
  if (!is_terminal(STDIN_FILENO)) return read_token("-");
  given = ask_token();
  if (!given.empty()) return given;
  return Error{Code::kInvalidArgument,
               "No token was given. 'ratchet tokens create' makes one; the "
               "first one lies in admin.token in the state folder of "
               "ratchet-control."};
}

int login(const Flags& flags, const std::string& url) {
  Endpoint endpoint{url, "", flags.endpoint.ca_file};
  if (!endpoint.ca_file.empty()) {
    endpoint.ca_file = std::filesystem::absolute(endpoint.ca_file).lexically_normal().string();
  }
  const auto token = find_token(flags.endpoint);
  if (!token) return fail(flags, token.error());
  endpoint.token = *token;
  const auto api = Api::open(endpoint);
  if (!api) return fail(flags, api.error());
  if (const auto allowed = (*api)->get("/v1/jobs?limit=1"); !allowed) {
    return fail(flags, allowed.error());
  }
  const std::string path = flags.endpoint.login_file.empty()
                               ? default_login_file(process_environment)
                               : flags.endpoint.login_file;
  if (const auto written = write_login(path, endpoint); !written) {
    return fail(flags, written.error());
  }
  if (flags.json) {
    print_json({{"url", url}, {"login_file", path}});
  } else {
    print("Logged in to " + printable(url) + "; the token is in '" + path + "' (mode 0600).\n");
  }
  return kExitOk;
}

}  // namespace

void add_login_command(Registry registry) {
  auto url = std::make_shared<std::string>();
  CLI::App* command = add_command(
      registry.app, registry.flags, "login", "Remembers a control plane and your token for it",
      "The token is read from --token-file, RATCHET_TOKEN_FILE, RATCHET_TOKEN or stdin, never "
      "from\n"
      "the command line, and is tried before it is kept.\n"
      "Examples:  ratchet login https://control.example.com:7070 --ca-file ca.pem\n"
      "           ratchet login http://127.0.0.1:7070 --token-file state/admin.token");
  command->add_option("URL", *url, "https://host:port, or http:// on this machine")->required();
  EndpointFlags& endpoint = registry.flags.endpoint;
  command->add_option("--token-file", endpoint.token_file, "file with the token, - for stdin");
  command->add_option("--ca-file", endpoint.ca_file,
                      "certificate authority that the control plane is checked against");
  command->add_option("--login", endpoint.login_file, "file to write instead of the usual one");
  command->callback([=] { registry.selected = [=] { return login(registry.flags, *url); }; });
}

}  // namespace ratchet::control::cli
