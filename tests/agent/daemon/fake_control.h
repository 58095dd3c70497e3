#pragma once

// A control plane for tests of the agent: the agent's calls and the artifact store, over real HTTP
// on loopback, on a thread of its own. It decides nothing: a test says what is desired and looks at
// what came. Verdicts and acknowledgements are given at once.

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "proto/net/http_server.h"
#include "proto/sync_message.h"

namespace ratchet::testing {

struct FakeFile {
  std::string sha256;
  std::int64_t size = 0;
  std::string bytes;
};
struct FakeArtifact {
  std::string kind;
  bool sealed = false;
  std::map<std::string, FakeFile> files;
};

class FakeControl {
 public:
  FakeControl();
  ~FakeControl();

  [[nodiscard]] std::string url() const { return url_; }

  // Replaces the whole wish and wakes the long poll.
  void desire(std::vector<DesiredAttempt> attempts);
  void want_node(NodeWant want);
  std::string add_artifact(const std::string& kind, std::map<std::string, std::string> files);

  // Waits at most 20 s until the predicate holds of what came so far.
  struct Seen {
    std::vector<HelloRequest> hellos;
    std::vector<std::string> hello_tokens;
    std::map<std::string, AttemptReport> reports;  // newest, by job/epoch
    std::map<std::uint64_t, std::string> lines;    // of all attempts, by seq
    std::uint64_t line_gaps = 0;
    NodeFacts facts;
    std::size_t heartbeats = 0;
    std::vector<NoticeRequest> notices;
    std::map<std::string, FakeArtifact> artifacts;
    std::map<std::string, std::string> logs;
    std::size_t puts = 0;
  };
  bool wait_for(const std::function<bool(const Seen&)>& predicate,
                std::chrono::milliseconds limit = std::chrono::seconds(20));
  Seen seen();

  // Faults: the next PUTs are cut off after half of their bytes; the next calls are refused.
  std::atomic<int> cut_puts{0};
  std::atomic<int> break_gets{0};   // answers with wrong bytes
  std::atomic<bool> silent{false};  // no call of the agent is answered
  std::atomic<int> authority_ms{300000};
  // It is the metadata service of all three clouds too: from then on the machine is to go.
  std::atomic<bool> preempting{false};
  std::atomic<int> acknowledged{0};  // Azure's start requests

 private:
  boost::asio::awaitable<void> handle(net::Exchange& exchange);
  boost::asio::awaitable<void> handle_metadata(net::Exchange& exchange);
  boost::asio::awaitable<void> handle_agent(net::Exchange& exchange);
  boost::asio::awaitable<void> handle_sync(net::Exchange& exchange);
  boost::asio::awaitable<void> handle_artifact(net::Exchange& exchange);
  boost::asio::awaitable<void> handle_put(net::Exchange& exchange, std::string id,
                                          std::string path);
  void take(const SyncRequest& request);
  SyncResponse answer_to(const SyncRequest& request);

  boost::asio::io_context io_;
  std::unique_ptr<net::HttpServer> server_;
  std::string url_;
  std::thread thread_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  Seen seen_;
  std::vector<DesiredAttempt> desired_;
  NodeWant node_want_ = NodeWant::kKeep;
  std::int64_t rev_ = 1;
  std::map<std::string, std::uint64_t> acked_;  // by job/attempt_no
  std::uint64_t latest_sync_ = 0;
};

}  // namespace ratchet::testing
