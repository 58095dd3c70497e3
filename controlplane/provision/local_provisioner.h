#pragma once

// Nodes on this machine: each is a ratchet-agent process in its own session and folder.
//
//   <folder>/<intent key>/join.token    mode 0600
//   <folder>/<intent key>/process.json  the agent's record, durable before its first instruction
//   <folder>/<intent key>/agent/        the agent's own state; trainers leave their records in
//                                       attempts/<job>/e<epoch>/process.json
//   <folder>/<intent key>/agent.log
//
// A node lives as long as one of its processes: the agent, a trainer that left its record, or any
// process with the node's mark in its environment. An agent that dies while a trainer lives is
// started again on the same folder and takes the trainer over. When none is left that is the proof
// of the node's death. Agents outlive this process; start() finds them by their records.
// Deaths are seen through pidfds, at once.

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "controlplane/provision/process.h"
#include "controlplane/provision/provisioner.h"

namespace ratchet::control {

struct LocalOptions {
  std::filesystem::path folder;
  std::string agent;    // program
  std::string trainer;  // program; empty: the agent's choice
  std::string control_url;
  std::string ca_file;  // with an https URL whose certificate is our own; empty: the system's
  bool allow_plaintext = false;  // the URL is neither https nor loopback
  std::int64_t nodes_max = 1;
  bool stop_with_us = false;                       // stop() ends the nodes; otherwise they go on
  std::chrono::milliseconds release_grace{10000};  // from SIGTERM to SIGKILL
};

class LocalProvisioner : public Provisioner {
 public:
  LocalProvisioner(boost::asio::any_io_executor executor, LocalOptions options);
  ~LocalProvisioner() override;

  void start(const std::vector<IntentRow>& intents, Sink sink) override;
  void create(const CreateNode& wish, const std::string& join_token) override;
  void release(const std::string& intent_key) override;
  [[nodiscard]] ProvisionerHealth health() const override;
  void stop() override;

 private:
  struct Node;
  void tell(ProvisionFact fact);
  Status launch(Node& node);
  void watch(Node& node);
  void after(Node& node, std::chrono::milliseconds delay, void (LocalProvisioner::*next)(Node&));
  void on_agent_end(Node& node);
  void look_again(Node& node);
  void restart_agent(Node& node);
  void force_release(Node& node);
  void finish(Node& node);  // the node is no more
  [[nodiscard]] std::vector<ProcessName> survivors(const Node& node) const;
  [[nodiscard]] std::filesystem::path folder_of(const std::string& key) const;

  boost::asio::any_io_executor executor_;
  LocalOptions options_;
  Sink sink_;
  std::map<std::string, std::unique_ptr<Node>> nodes_;
  std::string problem_;  // of the last start that failed
};

}  // namespace ratchet::control
