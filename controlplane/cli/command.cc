#include "controlplane/cli/command.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>

#include "controlplane/cli/format.h"
#include "controlplane/cli/json_values.h"
#include "proto/net/url.h"

namespace ratchet::control::cli {
namespace {

constexpr std::int64_t kPageItems = 200;
constexpr int kMaxPages = 10000;

}  // namespace

CLI::App* add_command(CLI::App& parent, Flags& flags, const std::string& name,
                      const std::string& purpose, const std::string& footer) {
  CLI::App* command = parent.add_subcommand(name, purpose);
  command->footer(footer);
  command->add_flag("--json", flags.json, "JSON on stdout, errors too");
  return command;
}

CLI::App* add_remote_command(CLI::App& parent, Flags& flags, const std::string& name,
                             const std::string& purpose, const std::string& footer) {
  CLI::App* command = add_command(parent, flags, name, purpose, footer);
  const std::string group = "Control plane";
  EndpointFlags& endpoint = flags.endpoint;
  command->add_option("--server", endpoint.url, "its URL (RATCHET_URL; else the login)")
      ->group(group);
  command
      ->add_option("--token-file", endpoint.token_file,
                   "file with the token, - for stdin (RATCHET_TOKEN_FILE, RATCHET_TOKEN)")
      ->group(group);
  command
      ->add_option("--ca-file", endpoint.ca_file,
                   "certificate authority that it is checked against (RATCHET_CA_FILE)")
      ->group(group);
  command->add_option("--login", endpoint.login_file, "login file (RATCHET_LOGIN)")->group(group);
  return command;
}

Answer<std::unique_ptr<Api>> open_api(const Flags& flags) {
  const auto endpoint = choose_endpoint(flags.endpoint, process_environment);
  if (!endpoint) {
    Problem problem = problem_of(endpoint.error());
    if (problem.exit == kExitNotFound) {
      problem.code = "not_logged_in";
      problem.exit = kExitNotAllowed;
    }
    return problem;
  }
  return Api::open(*endpoint);
}

int fail(const Flags& flags, const Problem& problem) {
  if (flags.json) {
    print_json(problem_json(problem));
    return problem.exit;
  }
  std::fflush(stdout);
  std::fprintf(stderr, "error: %s\n", printable(problem.message, true).c_str());
  if (!problem.next_step.empty()) {
    std::fprintf(stderr, "%s\n", printable(problem.next_step, true).c_str());
  }
  if (!problem.request_id.empty() && problem.status >= 500) {
    std::fprintf(stderr, "(request %s)\n", printable(problem.request_id).c_str());
  }
  return problem.exit;
}

int fail(const Flags& flags, const Error& error) { return fail(flags, problem_of(error)); }

void print_json(const Json& value) {
  print(value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void print_table(const Table& table, std::string_view when_empty) {
  print(table.empty() ? std::string(when_empty) + "\n" : table.render(terminal_columns()));
}

bool is_terminal(int fd) { return ::isatty(fd) == 1; }

std::size_t terminal_columns() {
  if (!is_terminal(STDOUT_FILENO)) return 0;
  winsize size{};
  const bool known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

UnixMillis wall_now() {
  return std::chrono::duration_cast<UnixMillis>(
      std::chrono::system_clock::now().time_since_epoch());
}

bool confirm(const std::string& question) {
  print(question + " [y/N] ");
  std::string answer;
  std::getline(std::cin, answer);
  return !answer.empty() && (answer.front() == 'y' || answer.front() == 'Y');
}

std::string job_target(const std::string& id, std::string_view rest) {
  return "/v1/jobs/" + net::url_escape(id) + std::string(rest);
}

Answer<Json> get_items(Api& api, const std::string& target, std::int64_t limit) {
  Json items = Json::array();
  std::string cursor;
  const char joint = target.find('?') == std::string::npos ? '?' : '&';
  for (int page = 0; page < kMaxPages; ++page) {
    const auto left = limit - static_cast<std::int64_t>(items.size());
    std::string url = target + joint + "limit=" +
                      std::to_string(limit == 0 ? kPageItems : std::min(left, kPageItems));
    if (!cursor.empty()) url += "&cursor=" + net::url_escape(cursor);
    auto answer = api.get(url);
    if (!answer) return answer.error();
    for (const Json& item : array_at(*answer, "items")) items.push_back(item);
    cursor = text_at(*answer, "next_cursor");
    if (cursor.empty() || (limit > 0 && static_cast<std::int64_t>(items.size()) >= limit)) break;
  }
  return items;
}

int with_api(const Flags& flags, const std::function<Answer<int>(Api& api)>& work) {
  const auto api = open_api(flags);
  if (!api) return fail(flags, api.error());
  const auto done = work(**api);
  return done ? *done : fail(flags, done.error());
}

}  // namespace ratchet::control::cli
