#include "controlplane/cli/login.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "controlplane/cli/files.h"
#include "controlplane/cli/json_values.h"

namespace ratchet::control::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxLoginBytes = 64 * 1024;
constexpr std::size_t kMaxTokenBytes = 4096;

std::string folder_from(const Environment& environment, const char* variable,
                        const std::string& below_home) {
  const std::string named = environment(variable);
  if (!named.empty() && named.front() == '/') return named;
  const std::string home = environment("HOME");
  return (home.empty() ? std::string(".") : home) + "/" + below_home;
}

std::string first_line(std::string text) {
  text.erase(std::min(text.find_first_of("\r\n"), text.size()));
  return text;
}

}  // namespace

std::string process_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string default_login_file(const Environment& environment) {
  const std::string named = environment("RATCHET_LOGIN");
  if (!named.empty()) return named;
  return folder_from(environment, "XDG_CONFIG_HOME", ".config") + "/ratchet/login.json";
}

std::string default_state_folder(const Environment& environment) {
  return folder_from(environment, "XDG_STATE_HOME", ".local/state") + "/ratchet";
}

Result<Endpoint> read_login(const std::string& path) {
  struct stat facts{};
  if (::stat(path.c_str(), &facts) == 0 && (facts.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return Error{Code::kFailedPrecondition,
                 "The login file '" + path +
                     "' holds a token and can be read by others. Run: chmod 600 '" + path + "'"};
  }
  const auto text = read_small_file(path, kMaxLoginBytes);
  if (!text) return text.error();
  const Json parsed = parse_json(*text, kMaxLoginBytes);
  Endpoint endpoint{text_at(parsed, "url"), text_at(parsed, "token"), text_at(parsed, "ca_file")};
  if (endpoint.url.empty()) {
    return Error{Code::kCorrupt, "The login file '" + path +
                                     "' names no control plane. Run 'ratchet login URL' again."};
  }
  return endpoint;
}

Status write_login(const std::string& path, const Endpoint& endpoint) {
  Json login = {{"url", endpoint.url}, {"token", endpoint.token}};
  if (!endpoint.ca_file.empty()) login["ca_file"] = endpoint.ca_file;
  const fs::path parent = fs::path(path).parent_path();
  std::error_code failed;
  if (!parent.empty() && !fs::exists(parent, failed)) {
    fs::create_directories(parent, failed);
    if (failed) {
      return Error{Code::kIo, "Cannot make the folder '" + parent.string() +
                                  "' for the login file: " + failed.message() + "."};
    }
    fs::permissions(parent, fs::perms::owner_all, failed);
  }
  return write_private_file(path, login.dump(2) + "\n");
}

Result<std::string> read_token(const std::string& path) {
  std::string text;
  if (path == "-") {
    text.resize(kMaxTokenBytes);
    text.resize(std::fread(text.data(), 1, text.size(), stdin));
  } else {
    auto read = read_small_file(path, kMaxTokenBytes);
    if (!read) return read.error();
    text = *std::move(read);
  }
  std::string token = first_line(std::move(text));
  if (token.empty()) {
    return Error{Code::kInvalidArgument,
                 (path == "-" ? std::string("Standard input") : "'" + path + "'") +
                     " holds no token: its first line is empty."};
  }
  return token;
}

Result<Endpoint> choose_endpoint(const EndpointFlags& flags, const Environment& environment) {
  const auto first = [](const std::string& a, const std::string& b) { return a.empty() ? b : a; };
  const std::string path = first(flags.login_file, default_login_file(environment));
  Endpoint chosen;
  chosen.url = first(flags.url, environment("RATCHET_URL"));
  auto login = read_login(path);
  if (chosen.url.empty()) {
    if (!login && login.error().code == Code::kNotFound) {
      return Error{Code::kNotFound,
                   "It is not known where the control plane is: there is no login file '" + path +
                       "', no --server and no RATCHET_URL. Run 'ratchet up' to start one on this "
                       "machine, or 'ratchet login URL' for one elsewhere."};
    }
    if (!login) return login.error();
    chosen = *login;
  } else if (login && login->url == chosen.url) {
    chosen = *login;
  }
  const std::string token_file = first(flags.token_file, environment("RATCHET_TOKEN_FILE"));
  if (!token_file.empty()) {
    const auto token = read_token(token_file);
    if (!token) return token.error();
    chosen.token = *token;
  } else if (!environment("RATCHET_TOKEN").empty()) {
    chosen.token = environment("RATCHET_TOKEN");
  }
  const std::string ca_file = first(flags.ca_file, environment("RATCHET_CA_FILE"));
  if (!ca_file.empty()) chosen.ca_file = ca_file;
  return chosen;
}

}  // namespace ratchet::control::cli
