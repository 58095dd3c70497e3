#include "controlplane/provision/local_provisioner.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fstream>

#include "proto/ids.h"

extern char** environ;

namespace ratchet::control {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using std::chrono::milliseconds;

namespace {

constexpr std::string_view kMark = "RATCHET_LOCAL_NODE=";
constexpr milliseconds kQuickDeath{3000};
constexpr milliseconds kMaxRestartDelay{30000};
constexpr milliseconds kLookAgain{200};

// Also for keys that this program did not make: they become folder names.
bool usable(const std::string& key) { return is_valid_id(key); }

Status write_secret(const fs::path& path, const std::string& text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return Error{Code::kIo, "Cannot write " + path.string() + "."};
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(fd);
  if (!written) return Error{Code::kIo, "Cannot write " + path.string() + "."};
  return ok();
}

// What the agent inherits: our environment without our own settings and secrets.
std::vector<std::string> agent_environment(const fs::path& folder) {
  std::vector<std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!text.starts_with("RATCHET_")) out.emplace_back(text);
  }
  out.push_back(std::string(kMark) + folder.string());
  return out;
}

}  // namespace

struct LocalProvisioner::Node {
  Node(asio::any_io_executor executor, std::string intent_key)
      : key(std::move(intent_key)), pidfd(executor), timer(executor) {}
  std::string key;
  ProcessName agent;
  asio::posix::stream_descriptor pidfd;
  asio::steady_timer timer;
  std::chrono::steady_clock::time_point launched;
  int quick_deaths = 0;
  bool releasing = false;
  std::string end;  // how the agent ended
};

LocalProvisioner::LocalProvisioner(asio::any_io_executor executor, LocalOptions options)
    : executor_(std::move(executor)), options_(std::move(options)) {}

LocalProvisioner::~LocalProvisioner() = default;

fs::path LocalProvisioner::folder_of(const std::string& key) const { return options_.folder / key; }

void LocalProvisioner::tell(ProvisionFact fact) {
  asio::post(executor_, [this, fact = std::move(fact)] { sink_(fact); });
}

void LocalProvisioner::start(const std::vector<IntentRow>& intents, Sink sink) {
  sink_ = std::move(sink);
  for (const auto& intent : intents) {
    const bool asked =
        intent.state != IntentState::kPlanned && intent.state != IntentState::kRefused &&
        intent.state != IntentState::kAbsentConfirmed && intent.state != IntentState::kDone;
    if (!asked || !usable(intent.key) || nodes_.contains(intent.key)) continue;
    const auto record = read_record(folder_of(intent.key) / "process.json");
    if (!record && intent.state == IntentState::kSent) {
      // The record is written before the agent's first instruction: none means no agent.
      tell(IntentAnswered{intent.key, IntentState::kAbsentConfirmed,
                          "The control plane ended before it had started the agent."});
      continue;
    }
    auto& node = *(nodes_[intent.key] = std::make_unique<Node>(executor_, intent.key));
    node.launched = std::chrono::steady_clock::now() - kQuickDeath;
    if (intent.state == IntentState::kSent) {
      tell(IntentAnswered{intent.key, IntentState::kCreated, "Found again after a restart."});
    }
    if (record) node.agent = *record;
    if (record && is_alive(*record)) {
      watch(node);
    } else {
      node.end = "ended while the control plane was away";
      look_again(node);
    }
  }
}

void LocalProvisioner::create(const CreateNode& wish, const std::string& join_token) {
  const auto& key = wish.intent_key;
  if (nodes_.contains(key)) return;
  if (!usable(key)) {
    tell(IntentAnswered{key, IntentState::kRefused, "The intent's key is no folder name."});
    return;
  }
  // Nodes on their way out have successors already; the core keeps count of the others.
  if (static_cast<std::int64_t>(nodes_.size()) >= 2 * options_.nodes_max) {
    tell(IntentAnswered{key, IntentState::kRefused,
                        std::to_string(nodes_.size()) + " local nodes are running already."});
    return;
  }
  auto& node = *(nodes_[key] = std::make_unique<Node>(executor_, key));
  std::error_code error;
  fs::create_directories(folder_of(key) / "agent", error);
  Status done = error ? Status(Error{Code::kIo, "Cannot make " + folder_of(key).string() + ": " +
                                                    error.message() + "."})
                      : write_secret(folder_of(key) / "join.token", join_token + "\n");
  if (done) done = launch(node);
  if (!done) {
    problem_ = done.error().message;
    nodes_.erase(key);
    tell(IntentAnswered{key, IntentState::kRefused, problem_});
    return;
  }
  problem_.clear();
  tell(IntentAnswered{key, IntentState::kCreated, ""});
}

Status LocalProvisioner::launch(Node& node) {
  const auto folder = folder_of(node.key);
  SpawnArgs args;
  args.command = {options_.agent,
                  "--control",
                  options_.control_url,
                  "--state",
                  (folder / "agent").string(),
                  "--join-token-file",
                  (folder / "join.token").string(),
                  "--provider",
                  "local",
                  "--intent",
                  node.key};
  if (!options_.trainer.empty()) {
    args.command.insert(args.command.end(), {"--trainer", options_.trainer});
  }
  if (!options_.ca_file.empty()) {
    args.command.insert(args.command.end(), {"--ca", options_.ca_file});
  }
  if (options_.allow_plaintext) args.command.emplace_back("--allow-plaintext");
  args.environment = agent_environment(folder);
  args.folder = folder;
  args.output = folder / "agent.log";
  args.record = folder / "process.json";
  auto process = spawn_detached(args);
  if (!process) return process.error();
  node.agent = *process;
  node.launched = std::chrono::steady_clock::now();
  watch(node);
  return ok();
}

void LocalProvisioner::watch(Node& node) {
  const int fd = open_pidfd(node.agent);
  if (fd < 0) {
    node.end = reap(node.agent.pid);
    asio::post(executor_, [this, key = node.key] {
      if (const auto found = nodes_.find(key); found != nodes_.end()) on_agent_end(*found->second);
    });
    return;
  }
  node.pidfd.close();
  node.pidfd.assign(fd);
  node.pidfd.async_wait(asio::posix::stream_descriptor::wait_read,
                        [this, key = node.key](boost::system::error_code error) {
                          if (error) return;  // stopped: this object may be gone
                          const auto found = nodes_.find(key);
                          if (found == nodes_.end()) return;
                          found->second->end = reap(found->second->agent.pid);
                          on_agent_end(*found->second);
                        });
}

std::vector<ProcessName> LocalProvisioner::survivors(const Node& node) const {
  const auto folder = folder_of(node.key);
  auto out = find_marked(std::string(kMark) + folder.string());
  const auto add = [&](const ProcessName& process) {
    if (is_alive(process) && std::find(out.begin(), out.end(), process) == out.end()) {
      out.push_back(process);
    }
  };
  std::error_code error;
  for (const auto& job : fs::directory_iterator(folder / "agent" / "attempts", error)) {
    std::error_code inner;
    for (const auto& attempt : fs::directory_iterator(job.path(), inner)) {
      if (const auto record = read_record(attempt.path() / "process.json")) add(*record);
    }
  }
  if (node.agent.pid != 0) add(node.agent);
  return out;
}

void LocalProvisioner::on_agent_end(Node& node) {
  node.pidfd.close();
  look_again(node);
}

void LocalProvisioner::look_again(Node& node) {
  const auto alive = survivors(node);
  if (alive.empty()) {
    finish(node);
  } else if (node.releasing) {
    for (const auto& process : alive) send_signal(process, SIGKILL);
    after(node, kLookAgain, &LocalProvisioner::look_again);
  } else {
    const bool quick = std::chrono::steady_clock::now() - node.launched < kQuickDeath;
    node.quick_deaths = quick ? node.quick_deaths + 1 : 0;
    const auto delay = quick ? std::min(milliseconds(500) * (1 << std::min(node.quick_deaths, 6)),
                                        kMaxRestartDelay)
                             : milliseconds(0);
    after(node, delay, &LocalProvisioner::restart_agent);
  }
}

void LocalProvisioner::restart_agent(Node& node) {
  if (node.releasing) return look_again(node);
  if (survivors(node).empty()) return finish(node);
  if (const auto started = launch(node); !started) {
    problem_ = started.error().message;
    after(node, kMaxRestartDelay, &LocalProvisioner::restart_agent);
  }
}

void LocalProvisioner::after(Node& node, milliseconds delay,
                             void (LocalProvisioner::*next)(Node&)) {
  node.timer.expires_after(delay);
  node.timer.async_wait([this, key = node.key, next](boost::system::error_code error) {
    if (error) return;
    if (const auto found = nodes_.find(key); found != nodes_.end()) (this->*next)(*found->second);
  });
}

void LocalProvisioner::finish(Node& node) {
  const auto key = node.key;
  const auto pid = node.agent.pid;
  const auto how = node.end;
  nodes_.erase(key);
  tell(ProvisionedGone{key, "The agent (process " + std::to_string(pid) + ") " + how +
                                ", and no process of the node is left on this machine."});
}

void LocalProvisioner::release(const std::string& intent_key) {
  const auto found = nodes_.find(intent_key);
  if (found == nodes_.end()) {
    tell(ProvisionedGone{intent_key, "No process of the node is left on this machine."});
    return;
  }
  auto& node = *found->second;
  if (node.releasing) return;
  node.releasing = true;
  node.end = "was released";
  send_signal(node.agent, SIGTERM);
  after(node, options_.release_grace, &LocalProvisioner::force_release);
}

void LocalProvisioner::force_release(Node& node) {
  for (const auto& process : survivors(node)) send_signal(process, SIGKILL);
  after(node, kLookAgain, &LocalProvisioner::look_again);
}

ProvisionerHealth LocalProvisioner::health() const {
  return {.name = "local",
          .ok = problem_.empty(),
          .message = problem_,
          .nodes = static_cast<std::int64_t>(nodes_.size()),
          .nodes_max = options_.nodes_max};
}

void LocalProvisioner::stop() {
  if (options_.stop_with_us) {
    for (const auto& [key, node] : nodes_) {
      for (const auto& process : survivors(*node)) send_signal(process, SIGTERM);
    }
  }
  for (const auto& [key, node] : nodes_) {
    node->pidfd.close();
    node->timer.cancel();
  }
}

}  // namespace ratchet::control
