#pragma once

// A ControlCore with a clock, a store made of maps and agents that say what a test tells them to.
// Every outcome is checked: event numbers of a job are contiguous, rows come once, heads and epochs
// never go back.

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "controlplane/core/control_core.h"

namespace ratchet::control {

class CoreHarness {
 public:
  explicit CoreHarness(CoreSettings settings = {},
                       std::vector<ControlCore::Provider> providers = {}, std::uint64_t seed = 1);

  Outcome handle(const Input& input);
  void pass(Millis time);  // in steps of 500 ms, with a tick after each
  void pass_beating(Millis time, const std::set<std::string>& nodes);  // these send heartbeats
  void set_wall(UnixMillis wall) { now_.wall = wall; }
  void restart();  // a new core from what was stored

  Outcome submit(const std::string& id, const Requirements& needs = {}, std::int64_t priority = 0);
  void join(const std::string& node_id, NodeFacts facts = {}, const std::string& intent = "");
  Outcome hello(const std::string& node_id, const std::string& incarnation);
  Outcome sync(const std::string& node_id);  // with the reports of `agents`
  AttemptReport& report(const std::string& node_id, const std::string& job_id);
  // Takes what is desired for the node: accepts new attempts, drops what is acknowledged.
  void accept(const std::string& node_id);
  void run_to(const std::string& node_id, const std::string& job_id, std::int64_t step);
  Outcome seal(const std::string& node_id, const std::string& job_id, std::int64_t step,
               const std::string& parent = "");
  Outcome end(const std::string& node_id, const std::string& job_id, EndCause cause,
              const std::string& message = "");
  Outcome gone(const std::string& node_id);

  [[nodiscard]] const JobRow& job(const std::string& id) const { return jobs.at(id); }
  [[nodiscard]] const AttemptRow& attempt(const std::string& id, std::int64_t no) const {
    return attempts.at({id, no});
  }
  [[nodiscard]] std::optional<DesiredAttempt> desired(const std::string& node_id,
                                                      const std::string& job_id) const;
  [[nodiscard]] std::vector<std::string> types(const std::string& job_id) const;
  [[nodiscard]] bool told(const std::string& type) const;
  [[nodiscard]] Now now() const { return now_; }

  struct Agent {
    std::string incarnation = "one";
    std::uint64_t seq = 0;
    NodeFacts facts;
    std::vector<AttemptReport> reports;
  };

  std::unique_ptr<ControlCore> core;
  std::map<std::string, Agent> agents;
  std::map<std::string, JobRow> jobs;
  std::map<std::pair<std::string, std::int64_t>, AttemptRow> attempts;
  std::map<std::string, NodeRow> nodes;
  std::map<std::string, IntentRow> intents;
  std::map<std::pair<std::string, std::int64_t>, InterruptionRow> interruptions;
  std::map<std::tuple<std::string, std::int64_t, std::int64_t>, CheckpointRow> checkpoints;
  std::vector<EventRow> events;

 private:
  void store(const Outcome& outcome);
  void store_row(const Row& row);

  CoreSettings settings_;
  std::vector<ControlCore::Provider> providers_;
  std::uint64_t seed_;
  int boots_ = 0;
  Now now_{Millis{1000000}, UnixMillis{1790000000000}};
};

NodeFacts cpu_node();
NodeFacts gpu_node(int gpus, const std::string& name = "NVIDIA H100 80GB HBM3");
NodeFacts local_node();  // of the provider local(), which proves deaths
ControlCore::Provider local(std::int64_t max_nodes);

// A job that runs on node a at step 12, with a committed checkpoint of step 10, and an idle node b.
void start_job(CoreHarness& world, const NodeFacts& facts = cpu_node());

}  // namespace ratchet::control
