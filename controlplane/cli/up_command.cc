// ratchet up: a control plane and its nodes on this machine.

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "controlplane/cli/command.h"
#include "controlplane/cli/format.h"
#include "controlplane/cli/json_values.h"
#include "controlplane/cli/supervisor.h"
#include "proto/net/url.h"

namespace ratchet::control::cli {
namespace {

namespace fs = std::filesystem;

constexpr Millis kStartLimit{60000};
constexpr Millis kStopLimit{20000};
constexpr Millis kLook{1000};
constexpr Millis kFirstWait{250};
constexpr int kMaxRestarts = 8;  // without kSteady in between
constexpr std::chrono::seconds kSteady{60};

struct UpArgs {
  std::int64_t nodes = 1;
  std::string state;
  std::string listen = "127.0.0.1:7070";
  std::string trainer;
  std::string settings;
  bool stop_nodes = false;
};

Result<ControlPlaneArgs> control_plane_args(const UpArgs& args) {
  const auto program = find_program("ratchet-control");
  if (!program) return program.error();
  std::error_code failed;
  fs::create_directories(args.state, failed);
  if (failed) {
    return Error{Code::kIo, "Cannot make the state folder '" + args.state +
                                "': " + failed.message() + ". Name another one with --state."};
  }
  fs::permissions(args.state, fs::perms::owner_all, failed);
  ControlPlaneArgs control{*program,
                           {"--state", args.state, "--local-nodes", std::to_string(args.nodes),
                            "--local-keep", std::to_string(args.nodes), "--local-stop",
                            args.stop_nodes ? "stop" : "keep", "--listen", args.listen},
                           args.state,
                           args.state + "/ratchet-control.log"};
  const auto add = [&control](const std::string& flag, const std::string& value) {
    if (!value.empty()) control.flags.insert(control.flags.begin(), {flag, value});
  };
  add("--settings", args.settings);
  add("--local-trainer",
      args.trainer.empty() ? "" : fs::absolute(args.trainer).lexically_normal().string());
  return control;
}

bool is_ours(const Endpoint& login, const Endpoint& endpoint) {
  const auto url = net::parse_url(login.url);
  return login.url == endpoint.url || (url && net::is_loopback_host(url->host));
}

struct Written {
  std::string path;
  bool usual = true;  // commands find it by themselves
};

// The usual login file, unless it holds a login for another machine: that one is kept.
Result<Written> keep_login(const Flags& flags, const UpArgs& args, const Endpoint& endpoint) {
  Written written{flags.endpoint.login_file, false};
  if (written.path.empty()) {
    written = {default_login_file(process_environment), true};
    const auto before = read_login(written.path);
    if (before && !is_ours(*before, endpoint)) written = {args.state + "/login.json", false};
  }
  const auto done = write_login(written.path, endpoint);
  if (!done) return done.error();
  return written;
}

class Up {
 public:
  Up(const Flags& flags, const UpArgs& args, ControlPlaneArgs control)
      : flags_(flags), args_(args), process_(std::move(control)) {}

  int run() {
    if (auto ready = bring_up(); !ready) return fail(flags_, ready.error());
    welcome();
    for (;;) {
      const auto signal = inbox_.wait(kLook);
      if (const auto how = process_.poll_end()) {
        if (const auto again = restart(*how); !again) return fail(flags_, again.error());
      }
      if (signal && *signal != SIGCHLD) return leave();
    }
  }

 private:
  // Started, serving, and the login written.
  Status bring_up() {
    began_ = std::chrono::steady_clock::now();
    if (auto started = process_.start(); !started) return started;
    const auto address = process_.wait_for_address(kStartLimit);
    if (!address) return address.error();
    endpoint_.url = *address;
    if (const auto url = net::parse_url(*address)) process_.listen_again(url->authority());
    const auto token = read_token(args_.state + "/admin.token");
    if (!token) return token.error();
    endpoint_.token = *token;
    if (auto ready = wait_until_ready(); !ready) return ready;
    const auto login = keep_login(flags_, args_, endpoint_);
    if (!login) return login.error();
    login_ = *login;
    return ok();
  }

  Status wait_until_ready() {
    const auto api = Api::open(endpoint_);
    if (!api) return Error{Code::kUnavailable, api.error().message};
    const auto end = std::chrono::steady_clock::now() + kStartLimit;
    for (;;) {
      const auto ready = (*api)->get("/v1/jobs?limit=1");
      if (ready) return ok();
      if (process_.poll_end() || std::chrono::steady_clock::now() > end ||
          ready.error().exit == kExitNotAllowed) {
        return Error{Code::kUnavailable, ready.error().message + "\n" + process_.log_tail()};
      }
      (*api)->pause(Millis{100});
    }
  }

  void welcome() const {
    if (flags_.json) {
      report({{"event", "serving"},
              {"url", endpoint_.url},
              {"pid", process_.pid()},
              {"state", args_.state},
              {"login_file", login_.path},
              {"nodes", args_.nodes}});
      return;
    }
    print(render_facts({{"control plane", endpoint_.url},
                        {"nodes", std::to_string(args_.nodes) + " on this machine"},
                        {"state", args_.state},
                        {"login", login_.path}}));
    const std::string with = login_.usual ? "" : " --login " + login_.path;
    print("\nIn another terminal:  ratchet submit job.json --watch" + with +
          "\nCtrl-C stops the control plane; jobs train on.\n");
  }

  // Tries a few times: what stood in the way may go away.
  Status restart(const std::string& how) {
    tell("The control plane " + how + "; starting it again. Jobs train on.");
    const bool steady = std::chrono::steady_clock::now() - began_ > kSteady;
    restarts_ = steady ? 0 : restarts_;
    for (Millis wait = kFirstWait;; wait *= 2) {
      auto ready = bring_up();
      ++restarts_;
      if (ready) break;
      if (restarts_ >= kMaxRestarts) return ready;
      if (const auto signal = inbox_.wait(wait); signal && *signal != SIGCHLD) return ready;
    }
    tell("The control plane serves again at " + endpoint_.url + ".");
    if (flags_.json) report({{"event", "restarted"}, {"why", how}, {"pid", process_.pid()}});
    return ok();
  }

  // With --json: one object a line.
  static void report(const Json& event) {
    print(event.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  }

  void tell(const std::string& line) const {
    if (!flags_.json) print(line + "\n");
  }

  // Jobs that hold a node now; 0 when it cannot be told.
  [[nodiscard]] std::size_t running_jobs() const {
    const auto api = Api::open(endpoint_);
    if (!api) return 0;
    const auto nodes = get_items(**api, "/v1/nodes", 0);
    if (!nodes) return 0;
    std::size_t jobs = 0;
    for (const Json& node : *nodes) jobs += array_at(node, "jobs").size();
    return jobs;
  }

  int leave() {
    const std::size_t jobs = running_jobs();
    const std::string how = process_.stop(kStopLimit);
    tell("\nThe control plane has stopped (" + how + ").");
    const std::string back =
        "ratchet up --nodes " + std::to_string(args_.nodes) + " --state '" + args_.state + "'";
    if (flags_.json) {
      report({{"event", "stopped"}, {"why", how}, {"running_jobs", jobs}, {"come_back", back}});
    }
    if (args_.stop_nodes) {
      tell("Its nodes have stopped too; jobs go on from their newest checkpoint after:\n  " + back);
    } else if (jobs > 0) {
      tell(std::to_string(jobs) + (jobs == 1 ? " job trains" : " jobs train") +
           " on without it. To see and steer them again:\n  " + back);
    } else {
      tell("No job was running. To come back:\n  " + back);
    }
    return kExitOk;
  }

  const Flags& flags_;
  const UpArgs& args_;
  SignalInbox inbox_;
  ControlPlaneProcess process_;
  Endpoint endpoint_;
  Written login_;
  std::chrono::steady_clock::time_point began_;
  int restarts_ = 0;
};

int up(const Flags& flags, UpArgs& args) {
  if (args.state.empty()) args.state = default_state_folder(process_environment);
  args.state = fs::absolute(args.state).lexically_normal().string();
  if (args.state.size() > 1 && args.state.back() == '/') args.state.pop_back();
  auto control = control_plane_args(args);
  if (!control) return fail(flags, control.error());
  return Up(flags, args, *std::move(control)).run();
}

}  // namespace

void add_up_command(Registry registry) {
  auto args = std::make_shared<UpArgs>();
  CLI::App* command = add_command(
      registry.app, registry.flags, "up", "A control plane and nodes on this machine",
      "Runs ratchet-control in the foreground and starts it again should it die; nodes are\n"
      "ratchet-agent processes, and a dead one is replaced. Writes the login that all other\n"
      "commands use. Ctrl-C stops the control plane cleanly; jobs train on, and the same command\n"
      "takes them back. --json: one object a line (serving, restarted, stopped).\n"
      "Examples:  ratchet up\n"
      "           ratchet up --nodes 2 --state /var/lib/ratchet --listen 127.0.0.1:7171");
  command->add_option("--nodes", args->nodes, "most nodes at once")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{64}));
  command->add_option("--state", args->state,
                      "folder of everything that it keeps; default: "
                      "$XDG_STATE_HOME/ratchet (~/.local/state/ratchet)");
  command->add_option("--listen", args->listen, "address and port; port 0: any that is free")
      ->capture_default_str();
  command->add_option("--trainer", args->trainer,
                      "program that trains; default: ratchet-trainer beside this one");
  command->add_option("--settings", args->settings, "settings file of ratchet-control");
  command->add_option("--login", registry.flags.endpoint.login_file,
                      "login file to write instead of the usual one");
  command->add_flag("--stop-nodes", args->stop_nodes, "Ctrl-C stops the nodes too");
  command->callback([=] { registry.selected = [=] { return up(registry.flags, *args); }; });
}

}  // namespace ratchet::control::cli
