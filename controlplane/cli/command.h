#pragma once

// What every command of `ratchet` shares. Each file <group>_commands.cc declares its commands with
// `add_<group>_commands`, which leave their function in `selected` when they were chosen.

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "controlplane/cli/api.h"
#include "controlplane/cli/login.h"
#include "controlplane/cli/problem.h"
#include "controlplane/cli/table.h"
#include "proto/units.h"

namespace CLI {  // NOLINT(readability-identifier-naming): theirs
class App;
}

namespace ratchet::control::cli {

struct Flags {  // of every command
  bool json = false;
  EndpointFlags endpoint;
};

using Command = std::function<int()>;

struct Registry {
  CLI::App& app;
  Flags& flags;
  Command& selected;
};

void add_up_command(Registry registry);
void add_login_command(Registry registry);
void add_submit_command(Registry registry);
void add_validate_command(Registry registry);
void add_job_commands(Registry registry);         // list, show, pause, resume, cancel
void add_watch_command(Registry registry);        //
void add_logs_command(Registry registry);         //
void add_checkpoint_commands(Registry registry);  // checkpoints, download
void add_node_commands(Registry registry);        // nodes, drain, undrain, simulate-reclaim
void add_webhook_commands(Registry registry);
void add_token_commands(Registry registry);

// A subcommand with --json and help; `parent` may be a group of commands.
CLI::App* add_command(CLI::App& parent, Flags& flags, const std::string& name,
                      const std::string& purpose, const std::string& footer);
// The same with the flags that say where the control plane is.
CLI::App* add_remote_command(CLI::App& parent, Flags& flags, const std::string& name,
                             const std::string& purpose, const std::string& footer);

// Where the control plane is, and a connection to it.
Answer<std::unique_ptr<Api>> open_api(const Flags& flags);

// "error: <message>" and what to do next on stderr; with --json the error object on stdout. Returns
// the exit code.
int fail(const Flags& flags, const Problem& problem);
int fail(const Flags& flags, const Error& error);

void print_json(const nlohmann::json& value);  // indented, on stdout
void print(std::string_view text);             // as it is, on stdout
void print_table(const Table& table, std::string_view when_empty);

bool is_terminal(int fd);
// Columns of the terminal on stdout; 0 when it is none.
std::size_t terminal_columns();
UnixMillis wall_now();

// A yes/no question on the terminal. True only for an answer that begins with y.
bool confirm(const std::string& question);

// "/v1/jobs/" + escaped id.
std::string job_target(const std::string& id, std::string_view rest = "");

// All items of a paged list, at most `limit` (0: all).
Answer<nlohmann::json> get_items(Api& api, const std::string& target, std::int64_t limit);

// What a command does with one connection: opens it, runs `work`, says what went wrong.
int with_api(const Flags& flags, const std::function<Answer<int>(Api& api)>& work);

}  // namespace ratchet::control::cli
