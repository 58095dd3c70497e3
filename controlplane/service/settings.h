#pragma once

// Settings of ratchet-control, one table: the flags, the environment variables, the keys of the
// settings file, deploy/ratchet-control.example.conf and GET /v1/settings all come from it.
//
//   flag --listen X   over   environment RATCHET_LISTEN   over   `listen = X` in the file   over
//   the table's default.
//
// A file is lines of `key = value`; '#' at the start of a line is a comment. Values; no threads.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "controlplane/core/control_core.h"
#include "proto/result.h"

namespace ratchet::control {

struct Settings {
  std::string state;  // folder
  std::string listen;
  std::string public_url;  // under which nodes reach us; empty: made from the address
  std::string tls_cert;    // PEM files; both or none
  std::string tls_key;
  bool allow_plaintext = false;
  std::vector<std::string> allowed_origins;
  std::string node_paths;  // "auto", "yes", "no": may jobs name paths of the node as inputs
  std::int64_t rate_limit_per_s = 0;
  std::int64_t rate_limit_burst = 0;
  std::int64_t agent_rate_limit_per_s = 0;
  std::string log_level;           // least that is written: debug, info, warning, error
  std::int64_t log_max_bytes = 0;  // of one attempt
  std::int64_t events_kept_days = 0;
  std::int64_t sweep_every_s = 0;
  std::int64_t disk_reserve_bytes = 0;
  std::int64_t artifact_kept_hours = 0;    // after nobody needs it
  std::vector<std::string> webhook_allow;  // networks that the address filter lets through
  std::int64_t local_nodes = 0;
  std::int64_t local_keep = 0;  // of them, nodes that are there also when no job wants them
  std::string local_agent;      // program; empty: ratchet-agent beside this program
  std::string local_trainer;
  std::string local_stop;  // "keep", "stop": what becomes of local nodes at a clean stop
  CoreSettings core;
};

struct SettingInfo {
  std::string_view key;  // "rate_limit_per_s"; flag --rate-limit-per-s; RATCHET_RATE_LIMIT_PER_S
  std::string_view fallback;
  std::string_view meaning;  // a sentence
};

std::span<const SettingInfo> setting_table();

std::string setting_flag(std::string_view key);      // "--rate-limit-per-s"
std::string setting_variable(std::string_view key);  // "RATCHET_RATE_LIMIT_PER_S"

using SettingTexts = std::map<std::string, std::string, std::less<>>;  // by key

// `name` is the file's, for messages.
Result<SettingTexts> parse_settings_file(std::string_view name, std::string_view text);

// Only variables of known settings; `read` is getenv.
SettingTexts settings_from_environment(const std::function<const char*(const char*)>& read);

// Later ones win. Checks every value; all faults stand in one message.
Result<Settings> make_settings(const std::vector<SettingTexts>& layers);

// The whole template with every setting at its default, commented out.
std::string settings_template();

// Key and value in use, for GET /v1/settings; in the table's order.
std::vector<std::pair<std::string, std::string>> effective_settings(
    const std::vector<SettingTexts>& layers);

}  // namespace ratchet::control
