#include "tests/controlplane/core/core_harness.h"

#include <algorithm>

namespace ratchet::control {

CoreHarness::CoreHarness(CoreSettings settings, std::vector<ControlCore::Provider> providers,
                         std::uint64_t seed)
    : settings_(std::move(settings)), providers_(std::move(providers)), seed_(seed) {
  restart();
}

void CoreHarness::restart() {
  LoadedRows rows;
  const auto live = [&](const JobId& id) {
    const auto found = jobs.find(id.str());
    return found != jobs.end() && !is_terminal(found->second.phase);
  };
  for (const auto& [key, row] : jobs) {
    if (!is_terminal(row.phase)) rows.jobs.push_back(row);
  }
  for (const auto& [key, row] : attempts) {
    const bool last = live(row.job_id) && jobs.at(row.job_id.str()).attempts == row.attempt_no;
    if (row.state != AttemptState::kEnded || last) rows.attempts.push_back(row);
  }
  for (const auto& [key, row] : nodes) {
    if (row.provider != ProviderState::kGone) rows.nodes.push_back(row);
  }
  for (const auto& [key, row] : intents) rows.intents.push_back(row);
  for (const auto& [key, row] : checkpoints) {
    if (live(row.job_id)) rows.checkpoints.push_back(row);
  }
  std::map<std::string, InterruptionRow> last;
  for (const auto& [key, row] : interruptions) last[key.first] = row;
  for (const auto& [key, row] : last) {
    if (live(row.job_id)) rows.interruptions.push_back(row);
  }
  core = std::make_unique<ControlCore>(settings_, providers_, "boot-" + std::to_string(++boots_),
                                       std::move(rows), now_, seed_);
}

void CoreHarness::store_row(const Row& row) {
  if (const auto* job = std::get_if<JobRow>(&row)) {
    const auto found = jobs.find(job->id.str());
    if (found != jobs.end()) {
      EXPECT_GE(job->epoch, found->second.epoch) << "I1";
      EXPECT_GE(job->head.step, found->second.head.step) << "I2";
      EXPECT_FALSE(is_terminal(found->second.phase) && job->phase != found->second.phase) << "I5";
    }
    jobs[job->id.str()] = *job;
  } else if (const auto* attempt = std::get_if<AttemptRow>(&row)) {
    const std::pair key{attempt->job_id.str(), attempt->attempt_no};
    const auto found = attempts.find(key);
    if (found != attempts.end() && found->second.state == AttemptState::kEnded) {
      EXPECT_EQ(attempt->state, AttemptState::kEnded);
      EXPECT_EQ(attempt->cause, found->second.cause);
    }
    attempts[key] = *attempt;
  } else if (const auto* node = std::get_if<NodeRow>(&row)) {
    nodes[node->id] = *node;
  } else if (const auto* checkpoint = std::get_if<CheckpointRow>(&row)) {
    checkpoints[{checkpoint->job_id.str(), checkpoint->epoch, checkpoint->step}] = *checkpoint;
  } else if (const auto* intent = std::get_if<IntentRow>(&row)) {
    intents[intent->key] = *intent;
  } else if (const auto* interruption = std::get_if<InterruptionRow>(&row)) {
    interruptions[{interruption->job_id.str(), interruption->number}] = *interruption;
  }
}

void CoreHarness::store(const Outcome& outcome) {
  for (const Row& row : outcome.rows) store_row(row);
  for (const EventRow& event : outcome.events) {
    if (event.job_id.empty()) {
      EXPECT_EQ(event.seq, 0);
    } else {
      const auto same = [&](const EventRow& other) { return other.job_id == event.job_id; };
      EXPECT_EQ(event.seq, std::ranges::count_if(events, same) + 1) << event.type;
    }
    events.push_back(event);
  }
  for (const Command& command : outcome.commands) {
    if (const auto* create = std::get_if<CreateNode>(&command)) {
      EXPECT_TRUE(intents.contains(create->intent_key)) << "I6";
    }
  }
}

Outcome CoreHarness::handle(const Input& input) {
  Outcome outcome = core->handle(input, now_);
  store(outcome);
  return outcome;
}

void CoreHarness::pass(Millis time) { pass_beating(time, {}); }

void CoreHarness::pass_beating(Millis time, const std::set<std::string>& beating) {
  for (Millis passed{0}; passed < time; passed += Millis{500}) {
    now_.mono += Millis{500};
    now_.wall += Millis{500};
    for (const std::string& node : beating) {
      handle(HeartbeatInput{{.node_id = node, .incarnation = agents.at(node).incarnation}});
    }
    handle(Tick{});
  }
}

Outcome CoreHarness::submit(const std::string& id, const Requirements& needs,
                            std::int64_t priority) {
  JobRow row;
  row.id = JobId(id);
  row.run_id = RunId(id);
  row.tenant = "t";
  row.name = id;
  row.spec_json = "{}";
  row.needs = needs;
  row.priority = priority;
  row.phase = JobPhase::kQueued;
  row.created_at = now_.wall + UnixMillis{static_cast<std::int64_t>(jobs.size())};
  return handle(SubmitJob{row});
}

Outcome CoreHarness::hello(const std::string& node_id, const std::string& incarnation) {
  Agent& agent = agents[node_id];
  agent.incarnation = incarnation;
  agent.seq = 0;
  HelloRequest request;
  request.node_id = node_id;
  request.incarnation = incarnation;
  request.facts = agent.facts;
  return handle(HelloInput{request, "t", node_id});
}

void CoreHarness::join(const std::string& node_id, NodeFacts facts, const std::string& intent) {
  if (facts.provider.empty()) facts.provider = "static";
  if (facts.name.empty()) facts.name = node_id;
  facts.preflight = {.done = true, .passed = true, .kernel_ms = 1, .message = ""};
  agents[node_id].facts = facts;
  HelloRequest request;
  request.node_id = node_id;
  request.incarnation = agents[node_id].incarnation;
  request.facts = facts;
  request.intent = intent;
  handle(HelloInput{request, "t", node_id});
  sync(node_id);
}

Outcome CoreHarness::sync(const std::string& node_id) {
  Agent& agent = agents.at(node_id);
  SyncRequest request;
  request.node_id = node_id;
  request.incarnation = agent.incarnation;
  request.seq = ++agent.seq;
  const SyncResponse known = core->desired_for(node_id, now_);
  request.boot_id = known.boot_id;
  request.desired_rev = known.desired_rev;
  request.facts = agent.facts;
  request.attempts = agent.reports;
  Outcome outcome = handle(SyncInput{request});
  for (const LineCursor& acked : outcome.acked_ends) {
    std::erase_if(agent.reports, [&](const AttemptReport& one) {
      return one.job_id == acked.job_id && one.attempt_no == acked.attempt_no;
    });
  }
  for (const CheckpointVerdict& verdict : outcome.verdicts) {
    for (AttemptReport& one : agent.reports) {
      std::erase_if(one.sealed, [&](const SealedCheckpoint& sealed) {
        return one.job_id == verdict.job_id && sealed.manifest_sha256 == verdict.manifest_sha256;
      });
    }
  }
  return outcome;
}

AttemptReport& CoreHarness::report(const std::string& node_id, const std::string& job_id) {
  for (AttemptReport& one : agents.at(node_id).reports) {
    if (one.job_id.str() == job_id) return one;
  }
  ADD_FAILURE() << node_id << " has no attempt of " << job_id;
  static AttemptReport none;
  return none;
}

void CoreHarness::accept(const std::string& node_id) {
  Agent& agent = agents.at(node_id);
  for (const DesiredAttempt& one : core->desired_for(node_id, now_).desired) {
    const auto found = std::ranges::find_if(agent.reports, [&](const AttemptReport& other) {
      return other.job_id == one.job_id && other.attempt_no == one.attempt_no;
    });
    if (found != agent.reports.end()) {
      found->epoch = std::max(found->epoch, one.epoch);
      continue;
    }
    if (one.want != Want::kRun) continue;
    AttemptReport fresh;
    fresh.job_id = one.job_id;
    fresh.attempt_no = one.attempt_no;
    fresh.epoch = one.epoch;
    fresh.step = one.resume ? one.resume->step : 0;
    fresh.resumed_from_step = fresh.step;
    agent.reports.push_back(fresh);
  }
  sync(node_id);
}

void CoreHarness::run_to(const std::string& node_id, const std::string& job_id, std::int64_t step) {
  AttemptReport& one = report(node_id, job_id);
  one.state = AttemptState::kRunning;
  one.stage = "training";
  one.step = step;
  one.total_steps = 100;
  sync(node_id);
}

Outcome CoreHarness::seal(const std::string& node_id, const std::string& job_id, std::int64_t step,
                          const std::string& parent) {
  AttemptReport& one = report(node_id, job_id);
  one.step = std::max(one.step, step);
  const std::string hash = "hash-" + std::to_string(one.epoch) + "-" + std::to_string(step);
  one.sealed.push_back({.step = step,
                        .manifest_sha256 = hash,
                        .parent_manifest_sha256 = parent,
                        .size = Bytes(1000),
                        .artifact_id = "artifact-" + hash});
  return sync(node_id);
}

Outcome CoreHarness::end(const std::string& node_id, const std::string& job_id, EndCause cause,
                         const std::string& message) {
  AttemptReport& one = report(node_id, job_id);
  one.state = AttemptState::kEnded;
  one.exit = AttemptExit{};
  one.exit->cause = cause;
  one.exit->record.message = message;
  if (cause == EndCause::kCompleted) one.exit->result_artifact = "result";
  return sync(node_id);
}

Outcome CoreHarness::gone(const std::string& node_id) {
  agents.erase(node_id);
  return handle(NodeGone{node_id, "its process has ended"});
}

std::optional<DesiredAttempt> CoreHarness::desired(const std::string& node_id,
                                                   const std::string& job_id) const {
  for (const DesiredAttempt& one : core->desired_for(node_id, now_).desired) {
    if (one.job_id.str() == job_id) return one;
  }
  return std::nullopt;
}

std::vector<std::string> CoreHarness::types(const std::string& job_id) const {
  std::vector<std::string> out;
  for (const EventRow& event : events) {
    if (event.job_id.str() == job_id) out.push_back(event.type);
  }
  return out;
}

bool CoreHarness::told(const std::string& type) const {
  return std::ranges::any_of(events, [&](const EventRow& event) { return event.type == type; });
}

NodeFacts cpu_node() {
  NodeFacts facts;
  facts.cpu_cores = 2;
  facts.memory_total = gibibytes(8);
  return facts;
}

NodeFacts gpu_node(int gpus, const std::string& name) {
  NodeFacts facts = cpu_node();
  for (int i = 0; i < gpus; ++i) {
    GpuFacts gpu;
    gpu.uuid = "GPU-" + std::to_string(i);
    gpu.name = name;
    gpu.memory_total = gibibytes(80);
    facts.gpus.push_back(gpu);
  }
  facts.slots = gpus;
  return facts;
}

ControlCore::Provider local(std::int64_t max_nodes) {
  return {.name = "local", .max_nodes = max_nodes, .proves_death = true, .offers = {}};
}

NodeFacts local_node() {
  NodeFacts facts = cpu_node();
  facts.provider = "local";
  return facts;
}

void start_job(CoreHarness& world, const NodeFacts& facts) {
  world.join("a", facts);
  world.submit("j");
  world.accept("a");
  world.run_to("a", "j", 8);
  world.seal("a", "j", 10);
  world.run_to("a", "j", 12);
  world.join("b", facts);
}

}  // namespace ratchet::control
