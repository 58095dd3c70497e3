// A whole run of one seed: a cluster, a plan of faults and users' wishes, then quiet, then rest.

#include <algorithm>
#include <array>
#include <utility>

#include "tests/sim/checker.h"
#include "tests/sim/control_model.h"
#include "tests/sim/node_model.h"
#include "tests/sim/provider_model.h"
#include "tests/sim/world.h"

namespace ratchet::sim {

namespace {

constexpr Millis kFaultsEnd{180000};
constexpr Millis kRestBound{1200000};  // for every job, once faults are over
constexpr Millis kThawed{330000};      // nothing is frozen any more
constexpr Millis kLastWishes{50000};   // users still resume what they had paused
constexpr Millis kAfterRest{260000};   // longer than orphans are kept
constexpr std::int64_t kLeastMessages = 500;
constexpr std::uint64_t kRestoreEvery = 16;

class Scenario {
 public:
  explicit Scenario(const Options& options) : world_(options) {}

  RunReport run() {
    set_up();
    const bool restores = world_.options.seed % kRestoreEvery == kRestoreEvery - 1;
    if (restores) {
      plan_restore();
    } else {
      plan_faults();
    }
    world_.run_until(kFaultsEnd);
    heal();
    world_.run_until(kFaultsEnd + kLastWishes);
    const bool rested = world_.run_until(kFaultsEnd + kRestBound, [this] { return is_rest(); });
    if (rested && !world_.failed()) {
      world_.run_until(std::max(kThawed, world_.now + settle_time()));
    }
    if (!world_.failed()) {
      world_.run_until(world_.now + kRestBound,
                       [this] { return world_.messages >= kLeastMessages; });
    }
    if (!world_.failed()) world_.checker->at_rest(world_.control->tables);
    RunReport report;
    report.violation = world_.violation;
    report.messages = world_.messages;
    report.agents = static_cast<std::int64_t>(world_.nodes.size());
    report.jobs = static_cast<std::int64_t>(world_.jobs.size());
    report.coverage = std::move(world_.coverage);
    return report;
  }

 private:
  void set_up() {
    Random& r = world_.random;
    world_.loss = r.chance(0.4) ? 0.15 * r.unit() : 0;
    world_.doubling = r.chance(0.4) ? 0.15 * r.unit() : 0;
    world_.slow = r.chance(0.5) ? 0.08 * r.unit() : 0;
    world_.control->start();
    for (int i = 0; i < 3; ++i) {
      NodeModel& node = world_.add_node("static", "", NodePrice::kOwned);
      world_.after(r.between(Millis{0}, Millis{4000}), [&node] { node.boot(); });
    }
    const std::int64_t jobs = r.between(3, 6);
    for (std::int64_t i = 0; i < jobs; ++i) {
      const JobId id = world_.add_job().id;
      world_.at(r.between(Millis{500}, Millis{25000}), [this, id] { submit(id); });
    }
  }

  void submit(const JobId& id) {
    Random& r = world_.random;
    control::JobRow row;
    row.id = id;
    row.run_id = RunId(id.str());
    row.tenant = "tenant";
    row.priority = r.between(0, 2);
    const bool validates = r.chance(0.3);
    row.phase = validates ? JobPhase::kValidating : JobPhase::kQueued;
    wish(control::SubmitJob{row});
    if (!validates) return;
    const bool bad = r.chance(0.1);
    world_.after(Millis{2000}, [this, id, bad] {
      control::InputsReady ready{id, {}};
      if (bad)
        ready.failure =
            control::Failure{"inputs", "The data set is empty.", "Fix it.", {}, {}, {}, {}};
      tell_inputs(ready);
    });
  }

  // A user's client tries until somebody is at home and has it durable.
  void wish(const control::Input& input) {
    // A submission is known by its key, whatever became of the job since.
    const auto* submission = std::get_if<control::SubmitJob>(&input);
    if (submission != nullptr && world_.control->tables.jobs.contains(submission->job.id)) return;
    if (world_.control->alive() && world_.control->submit(input)) return;
    world_.after(Millis{700}, [this, input] { wish(input); });
  }

  // The rim looks after a validating job until it is told of: its submission may come later.
  void tell_inputs(const control::InputsReady& ready) {
    const auto found = world_.control->tables.jobs.find(ready.job_id);
    const bool known = found != world_.control->tables.jobs.end();
    if (known && found->second.phase != JobPhase::kValidating) return;
    if (known && world_.control->alive()) world_.control->submit(ready);
    world_.after(Millis{900}, [this, ready] { tell_inputs(ready); });
  }

  NodeModel& any_node() {
    const auto count = static_cast<std::int64_t>(world_.nodes.size());
    return *world_.nodes[static_cast<std::size_t>(world_.random.between(0, count - 1))];
  }
  NodeModel* rented_node() {
    for (const auto& node : world_.nodes) {
      if (node->up() && !node->intent.empty() && !node->gone()) return node.get();
    }
    return nullptr;
  }
  JobId any_job() {
    auto at = world_.jobs.begin();
    std::advance(at, world_.random.between(0, static_cast<std::int64_t>(world_.jobs.size()) - 1));
    return at->first;
  }

  void plan_faults() {
    Random& r = world_.random;
    const std::int64_t count = r.between(3, 12);
    for (std::int64_t i = 0; i < count; ++i) {
      world_.at(r.between(Millis{5000}, kFaultsEnd - Millis{20000}), [this] { one_fault(); });
    }
  }

  void one_fault() {
    struct Kind {
      const char* name;
      void (Scenario::*act)();
    };
    static constexpr std::array kKinds = std::to_array<Kind>({
        {"control crash", &Scenario::control_crash},
        {"control crash at a commit", &Scenario::control_crash_at_commit},
        {"control restart, a node cut off", &Scenario::restart_with_a_node_cut},
        {"control freeze", &Scenario::control_freeze},
        {"wall clock jump", &Scenario::wall_jump},
        {"agent crash", &Scenario::agent_crash},
        {"agent crash", &Scenario::agent_crash},
        {"agent restart", &Scenario::agent_restart},
        {"node power loss", &Scenario::node_power},
        {"node freeze", &Scenario::node_freeze},
        {"node taken away", &Scenario::node_taken},
        {"partition", &Scenario::partition},
        {"partition", &Scenario::partition},
        {"one-way partition", &Scenario::one_way},
        {"one-way partition", &Scenario::one_way},
        {"rented node cut off", &Scenario::rented_cut_off},
        {"large requests are lost", &Scenario::syncs_lost},
        {"store outage", &Scenario::store_outage},
        {"disk full", &Scenario::disk_full},
        {"reclaim notice", &Scenario::reclaim},
        {"reclaim notice", &Scenario::reclaim},
        {"sigterm reclaim", &Scenario::sigterm_reclaim},
        {"trainer killed", &Scenario::trainer_killed},
        {"user pauses", &Scenario::user_pause},
        {"user pauses", &Scenario::user_pause},
        {"user cancels", &Scenario::user_cancel},
        {"operator drains", &Scenario::drain},
        {"operator simulates a reclaim", &Scenario::simulate},
        {"bad weather", &Scenario::bad_weather},
    });
    const auto last = static_cast<std::int64_t>(kKinds.size()) - 1;
    const Kind& kind = kKinds[static_cast<std::size_t>(world_.random.between(0, last))];
    world_.coverage.hit("fault", kind.name);
    world_.trace(std::string("fault: ") + kind.name);
    (this->*kind.act)();
  }

  Millis for_a_while() {
    Random& r = world_.random;
    return r.chance(0.3) ? r.between(Millis{40000}, Millis{130000})
                         : r.between(Millis{500}, Millis{20000});
  }

  void control_crash() {
    world_.control->crash();
    world_.after(for_a_while(), [this] { world_.control->start(); });
  }
  void control_crash_at_commit() {
    world_.control->crash_at_next(world_.random.chance(0.5) ? CrashPoint::kBeforeCommit
                                                            : CrashPoint::kAfterCommit);
    world_.after(for_a_while(), [this] { world_.control->start(); });
  }
  // Whoever knew when the node's lease ends is gone, and the node still has it.
  void restart_with_a_node_cut() {
    NodeModel& node = any_node();
    node.link_up = node.link_down = false;
    world_.after(world_.random.between(Millis{40000}, Millis{60000}),
                 [&node] { node.link_up = node.link_down = true; });
    world_.control->crash();
    world_.after(world_.random.between(Millis{500}, Millis{4000}),
                 [this] { world_.control->start(); });
  }
  void control_freeze() { world_.control->freeze(for_a_while()); }
  void wall_jump() {
    world_.control->jump_wall(Millis{world_.random.chance(0.5) ? 3600000 : -3600000});
  }
  void agent_crash() {
    NodeModel& node = any_node();
    node.crash_agent();
    world_.after(for_a_while(), [&node] { node.start_agent(); });
  }
  void agent_restart() { any_node().sigterm(agent::SigtermMeans::kDetach, Millis{0}); }
  void node_power() {
    NodeModel& node = any_node();
    if (!node.intent.empty()) return;
    node.power_off(true);
    world_.after(for_a_while(), [&node] { node.boot(); });
  }
  void node_freeze() { any_node().freeze(for_a_while()); }
  void node_taken() {
    if (NodeModel* node = rented_node()) world_.provider->lose_machine(*node);
  }
  void cut(bool up, bool down) {
    NodeModel& node = any_node();
    node.link_up = node.link_up && !up;
    node.link_down = node.link_down && !down;
    world_.after(for_a_while(), [&node] { node.link_up = node.link_down = true; });
  }
  void partition() { cut(true, true); }
  void one_way() {
    const bool up = world_.random.chance(0.5);
    cut(up, !up);
  }
  void rented_cut_off() {
    NodeModel* node = rented_node();
    if (node == nullptr) return;
    node->link_up = node->link_down = false;
    world_.after(Millis{150000}, [node] { node->link_up = node->link_down = true; });
  }
  void syncs_lost() {
    NodeModel& node = any_node();
    node.syncs_pass = false;
    world_.after(for_a_while(), [&node] { node.syncs_pass = true; });
  }
  void store_outage() {
    NodeModel& node = any_node();
    node.store_reachable = false;
    world_.after(for_a_while(), [&node] { node.store_reachable = true; });
  }
  void disk_full() {
    NodeModel& node = any_node();
    node.set_disk(true);
    world_.after(for_a_while(), [&node] { node.set_disk(false); });
  }
  void reclaim() {
    NodeModel* node = world_.random.chance(0.7) ? rented_node() : &any_node();
    if (node == nullptr) return;
    const Millis lead = world_.random.between(Millis{500}, Millis{30000});
    node->notice({"aws", NoticeKind::kReclaim, "terminate",
                  "event-" + std::to_string(world_.now.count()), lead});
    // Some clouds change their mind; a machine of one's own stays.
    if (node->intent.empty() || world_.random.chance(0.1)) return;
    world_.after(lead, [this, node] { world_.provider->lose_machine(*node); });
  }
  void sigterm_reclaim() {
    any_node().sigterm(agent::SigtermMeans::kReclaim,
                       world_.random.between(Millis{500}, Millis{20000}));
  }
  void trainer_killed() { any_node().kill_a_trainer(); }
  void user_pause() {
    const JobId id = any_job();
    wish(control::PauseJob{id});
    if (world_.random.chance(0.2)) return;
    world_.after(world_.random.between(Millis{100}, Millis{40000}),
                 [this, id] { wish(control::ResumeJob{id}); });
  }
  void user_cancel() { wish(control::CancelJob{any_job()}); }
  void drain() {
    const NodeModel& node = any_node();
    wish(control::DrainNode{node.node_id, {}, "maintenance"});
    const std::string id = node.node_id;
    world_.after(for_a_while(), [this, id] { wish(control::UndrainNode{id}); });
  }
  void simulate() {
    wish(control::SimulateReclaim{any_node().node_id,
                                  world_.random.between(Millis{1000}, Millis{20000})});
  }
  void bad_weather() {
    const std::array before{world_.loss, world_.doubling, world_.slow};
    world_.loss = 0.3 * world_.random.unit();
    world_.doubling = 0.3 * world_.random.unit();
    world_.slow = 0.2 * world_.random.unit();
    world_.after(Millis{30000}, [this, before] {
      if (world_.quiet) return;
      world_.loss = before[0];
      world_.doubling = before[1];
      world_.slow = before[2];
    });
  }

  // The store is put back to an old copy while all nodes are in reach: they know better.
  void plan_restore() {
    Random& r = world_.random;
    world_.loss = 0;
    world_.slow = 0;
    world_.coverage.hit("fault", "store restored from an old copy");
    const Millis copied = r.between(Millis{10000}, Millis{60000});
    const Millis restored = copied + r.between(Millis{5000}, Millis{60000});
    world_.at(copied, [this] { world_.control->backup(); });
    for (int i = 0; i < 3; ++i) {
      world_.at(r.between(copied, restored), [this] {
        if (world_.random.chance(0.5)) {
          trainer_killed();
        } else {
          user_pause();
        }
      });
    }
    world_.at(restored, [this] { world_.control->restore_backup(); });
    world_.at(restored + Millis{200}, [this] { world_.control->start(); });
  }

  void heal() {
    world_.trace("faults are over");
    world_.quiet = true;
    world_.loss = world_.doubling = world_.slow = 0;
    world_.control->start();
    world_.control->crash_at_next(CrashPoint::kNone);
    world_.provider->tell_truth();
    for (const auto& [id, job] : world_.control->tables.jobs) {
      if (job.phase == JobPhase::kValidating) tell_inputs(control::InputsReady{id, {}});
    }
    for (std::size_t i = 0; i < world_.nodes.size(); ++i) {
      NodeModel& node = *world_.nodes[i];
      node.link_up = node.link_down = node.store_reachable = node.syncs_pass = true;
      if (node.intent.empty()) node.boot();
      node.set_disk(false);
      node.start_agent();
    }
    // Someone looks after the nodes that were set aside.
    world_.after(Millis{60000}, [this] {
      world_.provider->tell_truth();
      for (const auto& node : world_.nodes) {
        if (!node->gone()) world_.control->submit(control::UndrainNode{node->node_id});
      }
    });
  }

  bool is_rest() const {
    const Tables& tables = world_.control->tables;
    return std::ranges::all_of(tables.jobs, [](const auto& entry) {
      return is_terminal(entry.second.phase) || entry.second.phase == JobPhase::kPaused;
    });
  }

  // Some seeds wait until orphans are thrown away; mostly what is told soon is enough.
  Millis settle_time() const { return world_.options.seed % 8 == 0 ? kAfterRest : Millis{40000}; }

  World world_;
};

}  // namespace

RunReport run_seed(const Options& options) { return Scenario(options).run(); }

}  // namespace ratchet::sim
