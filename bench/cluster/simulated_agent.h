#pragma once

// One node as the control plane sees it, without a machine behind it: hello with a join token, a
// heartbeat every two seconds, a sync that is always held, a connection kept open for notices. When
// it is given an attempt it "trains": one step a second, told by trainer lines as an agent does.
// Rhythm and messages are those of agent/core; the connections are proto/net's own client.
//
// Lives on its executor's thread, until the program ends.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proto/net/http_client.h"
#include "proto/sync_message.h"

namespace ratchet::bench {

namespace asio = boost::asio;

// What is counted of all agents together; taken away after each part of the run.
struct FleetFigures {
  std::vector<double> heartbeat_ms;  // from sending to the decoded answer
  std::vector<double> late_ms;       // how late this program itself was to send
  std::int64_t syncs = 0;
  std::int64_t lines = 0;
  std::int64_t failures = 0;  // calls without a good answer, of any kind
  std::string first_failure;
};

struct AgentSettings {
  net::Url url;
  std::string ca_file;
  std::string join_token;
};

class SimulatedAgent {
 public:
  SimulatedAgent(asio::any_io_executor executor, const AgentSettings& settings, std::size_t number,
                 FleetFigures& figures);

  asio::awaitable<bool> join();
  // Spawns what a joined agent does for ever. `phase`: when its first heartbeat is due.
  void live(Millis phase);
  [[nodiscard]] std::size_t training() const { return attempts_.size(); }

 private:
  struct Attempt {
    DesiredAttempt desired;
    std::chrono::steady_clock::time_point began;
    std::int64_t step = 0;
    std::deque<TrainerLine> unacknowledged;
  };

  asio::awaitable<void> beat(Millis phase);
  asio::awaitable<void> hold_sync();
  asio::awaitable<void> keep_notices_open();
  void note_failure(std::string_view target, const Result<net::ClientResponse>& answer);
  asio::awaitable<Result<net::ClientResponse>> post(std::string target, std::string body,
                                                    Millis timeout);
  SyncRequest sync_request();
  void train(Attempt& attempt);
  void take(const SyncResponse& response);
  NodeFacts facts() const;

  asio::any_io_executor executor_;
  std::size_t number_;
  FleetFigures& figures_;
  std::unique_ptr<net::HttpClient> control_;
  std::unique_ptr<net::HttpClient> notices_;
  std::string node_id_;
  std::string incarnation_;
  std::string boot_id_;
  Millis heartbeat_{2000};
  Millis sync_wait_{25000};
  std::uint64_t heartbeat_seq_ = 0;
  std::uint64_t sync_seq_ = 0;
  std::int64_t desired_rev_ = 0;
  std::map<JobId, Attempt> attempts_;
};

}  // namespace ratchet::bench
