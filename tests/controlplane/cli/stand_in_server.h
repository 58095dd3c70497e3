#pragma once

// A server that plays the control plane for the CLI's tests, faults included: it loses answers,
// cuts connections, forgets what it got. On a thread of its own.

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "proto/net/http_server.h"

namespace ratchet::net::testing {
class ServerThread;
}

namespace ratchet::control::cli {

struct Seen {
  std::string method;
  std::string target;  // path, and query where there is one
  std::string body;
  net::Headers headers;
  [[nodiscard]] std::string header(const char* name) const {
    return std::string(headers.get(name));
  }
};

struct Play {  // what is answered
  int status = 200;
  std::string body;
  std::map<std::string, std::string> headers;
  bool cut = false;  // the connection ends after the body, before the answer does
};

class StandInServer {
 public:
  // Called on the server's thread, one request after the other.
  using Script = std::function<Play(const Seen& request)>;
  explicit StandInServer(Script script);
  ~StandInServer();
  StandInServer(const StandInServer&) = delete;
  StandInServer& operator=(const StandInServer&) = delete;

  [[nodiscard]] std::string url() const;
  // What came, in order; only those whose "METHOD target" begins so.
  [[nodiscard]] std::vector<Seen> seen(const std::string& prefix = "") const;

 private:
  net::asio::awaitable<void> handle(net::Exchange& exchange);
  Script script_;
  mutable std::mutex mutex_;
  std::vector<Seen> seen_;
  std::unique_ptr<net::testing::ServerThread> server_;
};

}  // namespace ratchet::control::cli
