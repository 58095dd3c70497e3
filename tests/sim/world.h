#pragma once

// One simulated cluster: true time, a queue of things that will happen, a network that loses,
// delays, doubles and reorders, and the models of control plane, nodes and provider on top of it.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/core/agent_core.h"
#include "controlplane/core/control_core.h"
#include "controlplane/core/fences.h"
#include "tests/sim/coverage.h"
#include "tests/sim/model.h"
#include "tests/sim/store_model.h"

namespace ratchet::sim {

class Checker;
class ControlModel;
class NodeModel;
class ProviderModel;

struct Violation {
  std::string invariant;
  std::string fact;
  Millis at{0};
};

struct Options {
  std::uint64_t seed = 0;
  bool trace = false;
  std::optional<control::ControlCore::Fence> control_off;
  std::optional<agent::AgentCore::Fence> agent_off;
};

struct RunReport {
  std::optional<Violation> violation;
  std::int64_t messages = 0;
  std::int64_t agents = 0;
  std::int64_t jobs = 0;
  Coverage coverage;
};

control::CoreSettings sim_core_settings();
agent::AgentSettings sim_agent_settings();

class World {
 public:
  explicit World(Options options);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // The queue. Things at the same time happen in the order in which they were asked for.
  void at(Millis when, std::function<void()> what);
  void after(Millis wait, std::function<void()> what) { at(now + wait, std::move(what)); }
  void run_until(Millis end);
  bool run_until(Millis end, const std::function<bool()>& done);

  // Network: `deliver` happens later, twice, or never.
  void send(const NodeModel& node, bool to_control, std::function<void()> deliver);

  void fail(const char* invariant, std::string fact);
  void trace(const std::string& text);
  [[nodiscard]] bool failed() const { return violation.has_value(); }

  NodeModel& add_node(const std::string& provider, const std::string& intent, NodePrice price);
  [[nodiscard]] NodeModel* node_by_id(const std::string& node_id);
  ModelJob& add_job();
  std::string store_artifact(Artifact artifact);

  Options options;
  Random random;
  Millis now{0};
  Coverage coverage;
  std::optional<Violation> violation;
  std::int64_t messages = 0;
  std::int64_t trace_no = 0;

  double loss = 0;
  double doubling = 0;
  double slow = 0;     // share of messages that take long
  bool quiet = false;  // faults are over

  std::map<JobId, ModelJob> jobs;
  std::map<std::string, Artifact> artifacts;
  std::map<std::string, std::string> parent_of;  // manifest: truth about what was trained from what
  std::map<std::string, std::uint64_t> state_of;  // manifest
  std::vector<std::unique_ptr<NodeModel>> nodes;
  std::unique_ptr<Checker> checker;
  std::unique_ptr<ControlModel> control;
  std::unique_ptr<ProviderModel> provider;

 private:
  struct Event {
    Millis when;
    std::uint64_t order;
    std::function<void()> what;
  };
  struct Later {
    bool operator()(const Event& a, const Event& b) const {
      return a.when != b.when ? a.when > b.when : a.order > b.order;
    }
  };
  std::vector<Event> queue_;
  std::uint64_t order_ = 0;
};

// A whole run of one seed: faults, then quiet, then everything must come to rest.
RunReport run_seed(const Options& options);

}  // namespace ratchet::sim
