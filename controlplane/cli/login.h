#pragma once

// Which control plane, and who asks. From flags, then environment, then the login file.
//
// The login file is {"url": .., "token": .., "ca_file": ..}, readable by its owner only. Its token
// is only ever sent to its own URL.

#include <functional>
#include <optional>
#include <string>

#include "proto/result.h"

namespace ratchet::control::cli {

struct Endpoint {
  std::string url;
  std::string token;
  std::string ca_file;  // empty: the system's certificate authorities
};

struct EndpointFlags {
  std::string url;
  std::string token_file;  // "-": standard input
  std::string ca_file;
  std::string login_file;
};

// Value of an environment variable; empty when it is not set.
using Environment = std::function<std::string(const char* name)>;
std::string process_environment(const char* name);

// RATCHET_LOGIN, else $XDG_CONFIG_HOME/ratchet/login.json, else ~/.config/ratchet/login.json.
std::string default_login_file(const Environment& environment);
// $XDG_STATE_HOME/ratchet, else ~/.local/state/ratchet.
std::string default_state_folder(const Environment& environment);

// kNotFound when there is no such file; kFailedPrecondition when others may read it.
Result<Endpoint> read_login(const std::string& path);
// Written whole or not at all, mode 0600; makes the folder with mode 0700.
Status write_login(const std::string& path, const Endpoint& endpoint);

// kNotFound with what to do when nothing says where the control plane is.
Result<Endpoint> choose_endpoint(const EndpointFlags& flags, const Environment& environment);

// The first line of a file, or of standard input for "-"; refuses an empty one.
Result<std::string> read_token(const std::string& path);

}  // namespace ratchet::control::cli
