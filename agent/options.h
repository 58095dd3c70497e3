#pragma once

// Flags and environment of ratchet-agent. Tokens come from files or the environment, never from the
// command line, where everybody could read them.

#include <string>

#include "agent/daemon/daemon.h"
#include "proto/result.h"

namespace CLI {  // NOLINT(readability-identifier-naming): theirs
class App;
}

namespace ratchet::agent {

struct Options {
  std::string control;
  std::string state;
  std::string join_token_file;
  std::string ca_file;
  bool allow_plaintext = false;
  std::string trainer;
  std::string name;
  std::string provider = "static";
  std::string price = "owned";
  double usd_per_hour = 0;
  std::string intent;
  std::string sigterm = "detach";
  double sigterm_lead_s = -1;
  std::string listen;
  double cache_gib = 0;
  std::int64_t disk_reserve_mib = 512;
  std::string release_command;
  double hard_cap_s = 7200;
  bool no_cgroups = false;
  std::string reclaim = "off";
  std::string metadata_url;
};

void add_options(CLI::App& app, Options& options);

// Reads the token file. Fails when a file cannot be read or a word is not known.
Result<DaemonSettings> settings_of(const Options& options);

}  // namespace ratchet::agent
