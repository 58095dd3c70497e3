#include "agent/options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>

#include "agent/daemon/files.h"
#include "proto/words.h"

namespace ratchet::agent {
namespace {

constexpr std::size_t kMaxTokenFile = 4096;

std::string trimmed(std::string text) {
  const char* blank = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(blank);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(blank) - begin + 1);
}

// The trainer that was installed beside the agent, else the one that PATH finds.
std::string default_trainer() {
  std::error_code failed;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", failed);
  const auto beside = self.parent_path() / "ratchet-trainer";
  return !failed && std::filesystem::exists(beside, failed) ? beside.string() : "ratchet-trainer";
}

Result<std::string> join_token(const Options& options) {
  if (!options.join_token_file.empty()) {
    const auto text = read_file(options.join_token_file, kMaxTokenFile);
    if (!text) return text.error();
    return trimmed(*text);
  }
  const char* token = std::getenv("RATCHET_JOIN_TOKEN");
  return token == nullptr ? std::string() : trimmed(token);
}

Millis seconds(double count) { return Millis{static_cast<std::int64_t>(count * 1000)}; }

void add_connection(CLI::App& app, Options& options) {
  app.add_option("--control", options.control, "URL of the control plane")
      ->required()
      ->envname("RATCHET_CONTROL");
  app.add_option("--state", options.state, "folder for everything that must outlive the process")
      ->required()
      ->envname("RATCHET_AGENT_STATE");
  app.add_option(
      "--join-token-file", options.join_token_file,
      "file with the join token; else RATCHET_JOIN_TOKEN. Only the first start needs it");
  app.add_option("--ca", options.ca_file,
                 "PEM file of the authority that signed the control "
                 "plane's certificate; default: the system's");
  app.add_flag("--allow-plaintext", options.allow_plaintext,
               "talk http:// beyond this machine (tokens can be read on the way)");
}

void add_node(CLI::App& app, Options& options) {
  app.add_option("--trainer", options.trainer,
                 "ratchet-trainer; default: beside this program, else from PATH");
  app.add_option("--name", options.name, "name of this node for people; default: the host's");
  app.add_option("--provider", options.provider, "who made this node")
      ->check(CLI::IsMember({"static", "local"}))
      ->capture_default_str();
  app.add_option("--price", options.price, "what the node costs: owned, spot or on_demand")
      ->check(CLI::IsMember({"owned", "spot", "on_demand"}))
      ->capture_default_str();
  app.add_option("--usd-per-hour", options.usd_per_hour, "its price")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--intent", options.intent, "key of the wish that made this node");
  app.add_option("--listen", options.listen, "HOST:PORT for /metrics and /healthz; default: none");
  app.add_option("--cache-gib", options.cache_gib,
                 "most disk space for inputs; 0: half of the disk")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--disk-reserve-mib", options.disk_reserve_mib,
                 "disk space that training leaves free; below it, training pauses")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_flag("--no-cgroups", options.no_cgroups, "never make control groups for trainers");
}

void add_ends(CLI::App& app, Options& options) {
  app.add_option("--sigterm", options.sigterm,
                 "what SIGTERM means: detach (the agent restarts, trainers live on) or reclaim "
                 "(the node goes away: save, upload, leave)")
      ->check(CLI::IsMember({"detach", "reclaim"}))
      ->capture_default_str();
  app.add_option("--sigterm-lead-s", options.sigterm_lead_s,
                 "with reclaim: seconds from SIGTERM to SIGKILL; default: not known");
  app.add_option("--hard-cap-s", options.hard_cap_s,
                 "rented nodes only: seconds without authority after which the node gives itself "
                 "back")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--release-command", options.release_command,
                 "run by the shell when the node is to be given back");
  app.add_option("--reclaim", options.reclaim, "where to watch for the cloud's reclaim notices")
      ->check(CLI::IsMember({"off", "aws", "gcp", "azure", "auto"}))
      ->capture_default_str();
  app.add_option("--metadata-url", options.metadata_url,
                 "of the metadata service, for tests; default: the cloud's own")
      ->group("");
}

}  // namespace

void add_options(CLI::App& app, Options& options) {
  add_connection(app, options);
  add_node(app, options);
  add_ends(app, options);
  app.footer(
      "Exit codes: 0 left as it should, 1 could not start (said on stderr), 2 wrong usage.\n"
      "Example:  ratchet-agent --control https://control:7070 --state /var/lib/ratchet-agent \\\n"
      "            --join-token-file join.token --listen 127.0.0.1:9400");
}

Result<DaemonSettings> settings_of(const Options& options) {
  auto token = join_token(options);
  if (!token) return token.error();
  ::unsetenv("RATCHET_JOIN_TOKEN");
  DaemonSettings out;
  out.control = options.control;
  out.ca_file = options.ca_file;
  out.allow_plaintext = options.allow_plaintext;
  out.state = options.state;
  out.join_token = *std::move(token);
  out.trainer = options.trainer.empty() ? default_trainer() : options.trainer;
  out.name = options.name;
  out.provider = options.provider;
  out.price = from_word<NodePrice>(options.price).value_or(NodePrice::kOwned);
  out.usd_per_hour = options.usd_per_hour;
  out.intent = options.intent;
  out.sigterm = options.sigterm == "reclaim" ? SigtermMeans::kReclaim : SigtermMeans::kDetach;
  if (options.sigterm_lead_s >= 0) out.sigterm_lead = seconds(options.sigterm_lead_s);
  out.listen = options.listen;
  out.cache_limit = Bytes(static_cast<std::int64_t>(options.cache_gib * 1024 * 1024 * 1024));
  out.disk_reserve = mebibytes(options.disk_reserve_mib);
  out.release_command = options.release_command;
  out.use_cgroups = !options.no_cgroups;
  out.core.hard_cap = seconds(options.hard_cap_s);
  return out;
}

}  // namespace ratchet::agent
