#pragma once

// The agent's calls to the control plane. Every call is answered exactly once, by an input for the
// core; a sync that is replaced by the next is answered as unreachable.
//
// Heartbeats, syncs and transfers share one client; notices have a connection of their own that is
// kept open, so that a reclaim is told at once whatever else is under way. Loop thread only.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <string>

#include "agent/core/agent_core.h"
#include "proto/net/http_client.h"
#include "proto/result.h"

namespace ratchet::agent {

namespace asio = boost::asio;

struct LinkSettings {
  std::string url;
  std::string ca_file;           // PEM; empty: the system's authorities
  bool allow_plaintext = false;  // beyond loopback
  std::string join_token;        // may be empty when there is a node token
  std::string node_token;
};

class ControlLink {
 public:
  using Answer = std::function<void(Input)>;
  static Result<std::unique_ptr<ControlLink>> create(asio::any_io_executor executor,
                                                     LinkSettings settings, Answer answer);
  ~ControlLink();
  ControlLink(const ControlLink&) = delete;
  ControlLink& operator=(const ControlLink&) = delete;

  void send(SendHello call);
  void send(SendHeartbeat call);
  void send(SendSync call);
  void send(SendNotice call);
  void set_node_token(std::string token);

  // Opens the notice connection, or keeps it from being closed as idle.
  void warm_up();
  // Ends everything under way; nothing is answered any more.
  void close();

  [[nodiscard]] net::HttpClient& http() { return *control_; }
  [[nodiscard]] std::size_t under_way() const { return under_way_; }

 private:
  struct Call {
    std::uint64_t number = 0;
    std::string target;
    std::string body;
    Millis timeout{0};
    std::shared_ptr<net::CancelSource> cancel;
    bool notice = false;
    bool hello = false;
  };
  enum class Kind { kHello, kHeartbeat, kSync, kNotice };

  ControlLink(asio::any_io_executor executor, LinkSettings settings, Answer answer)
      : executor_(std::move(executor)),
        settings_(std::move(settings)),
        answer_(std::move(answer)) {}
  void start(Call call, Kind kind);
  asio::awaitable<void> run(Call call, Kind kind);
  asio::awaitable<void> keep_open();
  Input to_input(const Call& call, Kind kind, const Result<net::ClientResponse>& answer);

  asio::any_io_executor executor_;
  LinkSettings settings_;
  Answer answer_;
  std::unique_ptr<net::HttpClient> control_;
  std::unique_ptr<net::HttpClient> notices_;
  std::shared_ptr<net::CancelSource> all_;   // heartbeats and hellos
  std::shared_ptr<net::CancelSource> sync_;  // the one under way
  std::size_t under_way_ = 0;
  bool closed_ = false;
  bool use_join_token_ = false;  // the node token was refused
};

}  // namespace ratchet::agent
