#pragma once

// The rim around ControlCore: the only place that calls it. Everything runs on the loop's thread.
//
//   apply(input):  core.handle -> Store::commit -> durable -> wake long polls, run commands, tell
//                  subscribers -> the caller's answer
//
// What an agent is told is what is durable: desired() takes its picture of the core and gives it
// out only after everything that the picture contains was committed. When a commit fails, the core
// is thrown away and made again from the store; callers get the store's error.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "controlplane/artifacts/artifact_store.h"
#include "controlplane/core/control_core.h"
#include "controlplane/provision/provisioner.h"
#include "controlplane/service/ingest.h"
#include "controlplane/service/signal.h"
#include "controlplane/store/store.h"

namespace ratchet::control {

namespace asio = boost::asio;

struct Applied {
  Outcome outcome;
  CommitInfo info;
  std::optional<SyncResponse> desired;  // for HelloInput and SyncInput, when not rejected
};

struct ProviderRequest {
  std::string provider;
  std::string op;
  std::string code;
  auto operator<=>(const ProviderRequest&) const = default;
};

// Counts of this process, for /metrics.
struct ServiceCounters {
  std::map<EndCause, std::uint64_t> attempts_ended;
  std::map<std::string, std::uint64_t> events;  // by type
  std::uint64_t steps_recomputed = 0;
  std::uint64_t fenced_writes = 0;  // checkpoint verdicts that refused
  std::uint64_t core_reloads = 0;
  std::map<ProviderRequest, std::uint64_t> provider_requests;
  std::vector<std::pair<RecoveryStage, double>> recovery_seconds;  // until somebody takes them
};

class Service {
 public:
  struct Parts {
    asio::io_context& io;
    asio::thread_pool& pool;
    Store& store;
    ArtifactStore& artifacts;
    std::map<std::string, std::unique_ptr<Provisioner>> provisioners;  // by name
    std::vector<ControlCore::Provider> providers;
    CoreSettings core;
  };
  // Loads the core. Fails as Store::load() does.
  static Result<std::unique_ptr<Service>> open(Parts parts);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // Timers, provisioners and what was left half done begin. Once.
  void start();
  void stop();

  // Adds to the batch that the input makes; is not called when the core rejects the input.
  using Augment = std::function<void(const Outcome& outcome, Batch& batch)>;
  asio::awaitable<Result<Applied>> apply(Input input, Augment augment = {});
  // A batch that the core knows nothing of.
  asio::awaitable<Result<CommitInfo>> commit(Batch batch);
  // Keeps a fault of the control plane itself beyond its log (ERR-04), if the store can. Id, tenant
  // and time are filled in where they are empty.
  void keep_fault(ErrorLogRow row);

  // What this node is to do, once it is durable.
  asio::awaitable<Result<SyncResponse>> desired(std::string node_id);
  [[nodiscard]] std::int64_t desired_rev(const std::string& node_id) const;
  Signal& node_signal(const std::string& node_id);
  // Of the polls of one node only the newest waits.
  std::uint64_t begin_poll(const std::string& node_id) { return ++polls_[node_id]; }
  [[nodiscard]] bool is_newest_poll(const std::string& node_id, std::uint64_t number) const;

  // Woken by events of the job and by its steps. Kept as long as somebody holds it.
  std::shared_ptr<Signal> job_signal(const JobId& id);
  Signal& event_signal() { return event_signal_; }        // any event
  Signal& delivery_signal() { return delivery_signal_; }  // webhook deliveries were made
  [[nodiscard]] std::optional<LastStep> last_step(const JobId& id) const;
  void note_steps(const std::map<JobId, LastStep>& steps);

  // Inputs of validating jobs are looked at again: an artifact was sealed or is gone.
  void inputs_changed();

  [[nodiscard]] const std::string& boot_id() const { return boot_id_; }
  [[nodiscard]] const JobRow* job(const JobId& id) const;  // live ones
  [[nodiscard]] std::vector<NodeView> nodes() const;
  [[nodiscard]] std::optional<NodeView> node(const std::string& id) const;
  [[nodiscard]] std::optional<std::string> node_of_intent(const std::string& key) const;
  [[nodiscard]] std::int64_t unconfirmed_nodes() const;  // asked for and not joined
  [[nodiscard]] bool inventory_open() const;
  [[nodiscard]] bool ready() const { return core_ != nullptr; }
  [[nodiscard]] std::vector<ProvisionerHealth> provisioners() const;
  [[nodiscard]] const ServiceCounters& counters() const { return counters_; }
  std::vector<std::pair<RecoveryStage, double>> take_recovery_seconds() {
    return std::exchange(counters_.recovery_seconds, {});
  }
  [[nodiscard]] const CoreSettings& core_settings() const { return parts_.core; }
  static Now now();

 private:
  explicit Service(Parts parts);
  Status reload();
  void fail(std::int64_t chain, const Error& error);
  void keep_fault(std::string type, std::string severity, std::string message);
  void take(const LoadedRows& rows);
  void note(const Batch& batch);
  void after_commit(const Applied& applied);
  void count(const InterruptionRow& row);
  void run(const Command& command);
  asio::awaitable<void> create_node(CreateNode wish);
  void on_fact(ProvisionFact fact);
  asio::awaitable<void> tell_core(Input input);
  asio::awaitable<void> tick();
  asio::awaitable<void> check_inputs();
  void spawn(asio::awaitable<void> work);

  Parts parts_;
  std::unique_ptr<ControlCore> core_;  // null after a failed commit, until it was loaded again
  std::int64_t chain_ = 0;
  std::string boot_id_;
  std::optional<std::chrono::steady_clock::time_point> reload_at_;
  Error last_failure_;
  bool unproven_ = false;     // no commit has succeeded since the last one that failed
  std::int64_t pending_ = 0;  // commits under way
  bool stopping_ = false;
  bool checking_inputs_ = false;
  bool check_again_ = false;
  asio::steady_timer tick_timer_;
  Millis tick_due_{0};  // monotonic
  Signal event_signal_;
  Signal delivery_signal_;
  std::map<std::string, std::unique_ptr<Signal>> node_signals_;
  std::map<std::string, std::uint64_t> polls_;
  std::map<JobId, std::weak_ptr<Signal>> job_signals_;
  std::map<JobId, LastStep> last_steps_;
  std::map<JobId, std::int64_t> recovered_;  // number of the last recovery that was counted
  std::set<JobId> validating_;
  std::map<std::string, IntentRow> intents_;         // not done
  std::map<std::string, std::string> intent_nodes_;  // key -> node
  ServiceCounters counters_;
};

}  // namespace ratchet::control
