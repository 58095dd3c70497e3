#include "tests/sim/world.h"

#include <algorithm>
#include <iostream>
#include <utility>

#include "tests/sim/checker.h"
#include "tests/sim/control_model.h"
#include "tests/sim/node_model.h"
#include "tests/sim/provider_model.h"

namespace ratchet::sim {

// Times are shorter than the defaults, in the same order, so that a seed sees many of them.
control::CoreSettings sim_core_settings() {
  control::CoreSettings s;
  s.heartbeat = Millis{3000};
  s.suspect_after = Millis{7000};
  s.contact_ttl = Millis{12000};
  s.authority_ttl = Millis{45000};
  s.offer_ttl = Millis{12000};
  s.drain_deadline = Millis{15000};
  s.inventory_window = Millis{24000};
  s.boot_deadline = Millis{60000};
  s.hang_floor = Millis{20000};
  s.first_step_allowance = Millis{30000};
  s.backoff = {Millis{1000}, Millis{2000}, Millis{4000}, Millis{8000}};
  s.stop_deadline = Millis{5000};
  s.upload_wait = Millis{15000};
  s.no_capacity_after = Millis{60000};
  s.orphan_kept = Millis{200000};
  return s;
}

agent::AgentSettings sim_agent_settings() {
  agent::AgentSettings s;
  s.hard_cap = Millis{8000};
  s.drain_deadline = Millis{15000};
  s.end_upload_grace = Millis{12000};
  s.progress_gap = Millis{3000};
  s.call_timeout = Millis{6000};
  s.orphan_kept = Millis{200000};
  return s;
}

World::World(Options chosen) : options(chosen), random(chosen.seed) {
  checker = std::make_unique<Checker>(*this);
  control = std::make_unique<ControlModel>(*this);
  control::ControlCore::Provider offers;
  offers.name = "local";
  offers.max_nodes = 2;
  offers.proves_death = true;
  provider = std::make_unique<ProviderModel>(*this, offers);
}

World::~World() = default;

void World::at(Millis when, std::function<void()> what) {
  queue_.push_back(Event{std::max(when, now), ++order_, std::move(what)});
  std::ranges::push_heap(queue_, Later{});
}

bool World::run_until(Millis end, const std::function<bool()>& done) {
  while (!queue_.empty() && queue_.front().when <= end && !failed()) {
    std::ranges::pop_heap(queue_, Later{});
    Event event = std::move(queue_.back());
    queue_.pop_back();
    now = event.when;
    event.what();
    if (done && done()) return true;
  }
  if (!failed()) now = std::max(now, end);
  return false;
}

void World::run_until(Millis end) { run_until(end, {}); }

void World::send(const NodeModel& node, bool to_control, std::function<void()> deliver) {
  ++messages;
  const bool open = to_control ? node.link_up : node.link_down;
  if (!open || random.chance(loss)) {
    coverage.hit("message", open ? "lost" : "cut");
    return;
  }
  const auto delay = [&] {
    if (random.chance(slow)) {
      coverage.hit("message", "slow");
      return random.between(Millis{500}, Millis{20000});
    }
    return random.between(Millis{1}, Millis{60});
  };
  coverage.hit("message", to_control ? "to control" : "to agent");
  if (random.chance(doubling)) {
    coverage.hit("message", "doubled");
    after(delay(), deliver);
  }
  after(delay(), std::move(deliver));
}

void World::fail(const char* invariant, std::string fact) {
  if (violation) return;
  violation = Violation{invariant, std::move(fact), now};
  trace(std::string("VIOLATION ") + invariant + ": " + violation->fact);
}

void World::trace(const std::string& text) {
  if (options.trace) std::cout << now.count() << "  " << text << "\n";
}

NodeModel& World::add_node(const std::string& provider_name, const std::string& intent,
                           NodePrice price) {
  nodes.push_back(
      std::make_unique<NodeModel>(*this, nodes.size() + 1, provider_name, intent, price));
  return *nodes.back();
}

NodeModel* World::node_by_id(const std::string& node_id) {
  for (const auto& node : nodes) {
    if (node->node_id == node_id) return node.get();
  }
  return nullptr;
}

ModelJob& World::add_job() {
  const std::string name = "job" + std::to_string(jobs.size() + 1);
  ModelJob& job = jobs[JobId(name)];
  job.id = JobId(name);
  job.seed = random.next();
  job.total = random.between(8, 40);
  job.every = random.between(2, 6);
  job.step_time = random.between(Millis{300}, Millis{2500});
  if (random.chance(0.1)) job.total = random.between(60, 120);
  for (std::int64_t number = 1; number <= 6; ++number) {
    if (!random.chance(0.25)) continue;
    const auto kinds = static_cast<std::int64_t>(TrainerFault::kCount);
    job.faults.push_back({number, random.between(0, job.total - 1),
                          static_cast<TrainerFault>(random.between(0, kinds - 1))});
    if (job.faults.back().kind == TrainerFault::kUserError && random.chance(0.8)) {
      job.faults.back().kind = TrainerFault::kSilentDeath;
    }
  }
  return job;
}

// The same content again has the same id.
std::string World::store_artifact(Artifact artifact) {
  std::string id = "a-" + artifact.manifest;
  artifacts[id] = std::move(artifact);
  return id;
}

}  // namespace ratchet::sim
