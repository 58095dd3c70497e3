#include "tests/sim/node_model.h"

#include <algorithm>
#include <utility>

#include "tests/sim/checker.h"
#include "tests/sim/control_model.h"

namespace ratchet::sim {

namespace {

constexpr std::size_t kLinesAtOnce = 60;
constexpr Millis kClockError{500};  // of a lease, at the rates that clocks have here

}  // namespace

NodeModel::NodeModel(World& world, std::size_t index, std::string provider, std::string key,
                     NodePrice price)
    : intent(std::move(key)), world_(world), index_(index) {
  facts_.name = name();
  facts_.provider = std::move(provider);
  facts_.price = price;
  facts_.usd_per_hour = price == NodePrice::kOwned ? 0 : 1;
  facts_.slots = world.random.chance(0.3) ? 2 : 1;
  clock_.offset = world.random.between(Millis{0}, Millis{100000000});
  clock_.rate = 1.0 + 0.008 * (world.random.unit() - 0.5);
}

void NodeModel::later(Millis wait, std::function<void()> what) {
  const std::uint64_t mine = machine_;
  auto run = [this, mine, what = std::move(what)](auto&& self) -> void {
    if (!up_ || machine_ != mine) return;
    if (world_.now < frozen_until_) {
      world_.at(frozen_until_, [self] { self(self); });
      return;
    }
    what();
  };
  world_.after(wait, [run] { run(run); });
}

void NodeModel::agent_later(Millis wait, std::function<void()> what) {
  const std::uint64_t mine = process_;
  later(wait, [this, mine, what = std::move(what)] {
    if (core_ && process_ == mine) what();
  });
}

void NodeModel::boot() {
  if (up_ || gone_) return;
  up_ = true;
  ++machine_;
  frozen_until_ = Millis{0};
  // A monotonic clock starts anew with the machine.
  clock_.offset =
      world_.random.between(Millis{0}, Millis{100000000}) - clock_.at(world_.now) + clock_.offset;
  world_.trace(name() + " boots");
  start_agent();
}

void NodeModel::power_off(bool keep_disk) {
  if (gone_) return;
  crash_agent();
  world_.trace(name() + (keep_disk ? " loses power" : " is taken away"));
  for (auto& [key, attempt] : disk) attempt.alive = false;
  up_ = false;
  if (!keep_disk) {
    gone_ = true;
    disk.clear();
  }
}

void NodeModel::freeze(Millis time) {
  world_.trace(name() + " freezes for " + std::to_string(time.count()));
  frozen_until_ = world_.now + time;
}

void NodeModel::crash_agent() {
  if (!core_) return;
  world_.trace(name() + " agent dies");
  core_.reset();
  ++tick_ticket_;
}

void NodeModel::start_agent() {
  if (!up_ || core_ || released) return;
  ++process_;
  core_ = std::make_unique<agent::AgentCore>(sim_agent_settings());
  if (world_.options.agent_off) core_->disable(*world_.options.agent_off);
  read_to_.clear();
  exit_told_.clear();
  tick_at_ = Millis::max();
  sent_at_.clear();
  sync_call_ = 0;
  lease_until_ = shortest_until_ = Millis{-1};
  agent_since_ = world_.now;
  facts_.preflight = PreflightFacts{};
  agent::Start start;
  start.node_id = node_id;
  start.incarnation = name() + "-" + std::to_string(process_);
  start.intent = intent;
  start.facts = facts_;
  start.seed = world_.random.next();
  for (const auto& [key, attempt] : disk) {
    std::int64_t& floor = start.epoch_floor[key.job_id];
    floor = std::max({floor, key.epoch, attempt.notes.granted_epoch});
    if (!attempt.removed) {
      start.attempts.push_back({attempt.desired, attempt.notes, attempt.started});
    }
  }
  world_.trace(name() + " agent starts as " + start.incarnation);
  give(start);
  for (auto& [key, attempt] : disk) {
    if (attempt.started && !attempt.removed) read_lines(key);
  }
  give(agent::RecoveryDone{});
  if (disk_full_) give(agent::DiskFull{});
  agent_later(world_.random.between(Millis{500}, Millis{3000}), [this] {
    facts_.preflight = PreflightFacts{true, true, 1.0, ""};
    give(agent::FactsSeen{facts_});
  });
}

void NodeModel::give(const agent::Input& input) {
  if (!core_ || world_.failed()) return;
  const std::uint64_t mine = process_;
  const agent::Outcome outcome = core_->handle(input, mono());
  // Now and then the process dies between deciding and doing.
  if (!world_.quiet && !outcome.saves.empty() && world_.random.chance(0.002)) {
    world_.coverage.hit("fault", "agent crash before its saves");
    crash_agent();
    later(world_.random.between(Millis{500}, Millis{20000}), [this] { start_agent(); });
    return;
  }
  run_outcome(outcome);
  if (process_ == mine) arm_tick();
}

void NodeModel::run_outcome(const agent::Outcome& outcome) {
  for (const agent::Save& one : outcome.saves) save(one);
  if (!world_.quiet && !outcome.saves.empty() && world_.random.chance(0.002)) {
    world_.coverage.hit("fault", "agent crash after its saves");
    crash_agent();
    later(world_.random.between(Millis{500}, Millis{20000}), [this] { start_agent(); });
    return;
  }
  for (const agent::Action& action : outcome.actions) {
    if (!core_) return;
    act(action);
  }
}

void NodeModel::arm_tick() {
  if (!core_) return;
  const auto due = core_->next_timer(mono());
  if (!due) return;
  const Millis when = std::max(world_.now + Millis{1}, clock_.when(*due));
  if (when >= tick_at_) return;
  tick_at_ = when;
  const std::uint64_t ticket = ++tick_ticket_;
  agent_later(when - world_.now, [this, ticket] {
    if (ticket != tick_ticket_) return;
    tick_at_ = Millis::max();
    give(agent::Tick{});
  });
}

void NodeModel::save(const agent::Save& what) {
  if (const auto* identity = std::get_if<agent::SaveIdentity>(&what)) {
    node_id = identity->node_id;
  } else if (const auto* attempt = std::get_if<agent::SaveAttempt>(&what)) {
    disk[{attempt->desired.job_id, attempt->desired.epoch}].desired = attempt->desired;
  } else if (const auto* notes = std::get_if<agent::SaveNotes>(&what)) {
    const auto found = disk.find(notes->key);
    if (found != disk.end()) found->second.notes = notes->notes;
  } else if (const auto* gone = std::get_if<agent::RemoveAttempt>(&what)) {
    const auto found = disk.find(gone->key);
    if (found == disk.end()) return;
    world_.checker->on_removed(world_.control->tables, gone->key.job_id,
                               found->second.desired.attempt_no);
    found->second.removed = true;
  }
}

void NodeModel::send(const agent::Action& action) {
  const std::uint64_t mine = process_;
  ControlModel& control = *world_.control;
  const auto post = [&](std::uint64_t call, std::function<void()> deliver) {
    sent_at_[call] = world_.now;
    // Nobody listens: the connection is refused, mostly.
    if (!control.alive() && link_up && link_down && world_.random.chance(0.7)) {
      agent_later(Millis{20}, [this, call] {
        give(agent::CallFailed{call, agent::CallError::kUnreachable, "connection refused"});
      });
      return;
    }
    world_.send(*this, true, std::move(deliver));
  };
  if (const auto* hello = std::get_if<agent::SendHello>(&action)) {
    post(hello->call, [this, &control, mine, m = *hello] { control.on_hello(*this, mine, m); });
  } else if (const auto* beat = std::get_if<agent::SendHeartbeat>(&action)) {
    post(beat->call, [this, &control, mine, m = *beat] { control.on_heartbeat(*this, mine, m); });
  } else if (const auto* told = std::get_if<agent::SendNotice>(&action)) {
    post(told->call, [this, &control, mine, m = *told] { control.on_notice(*this, mine, m); });
  } else if (const auto* sync = std::get_if<agent::SendSync>(&action)) {
    agent::SendSync full = *sync;
    sync_call_ = sync->call;
    sync_given_up_ = world_.now + sync->request.wait + sim_agent_settings().call_timeout;
    for (const auto& [key, attempt] : disk) {
      if (attempt.removed) continue;
      for (std::size_t i = core_->acked_seq(key), n = 0;
           i < attempt.lines.size() && n < kLinesAtOnce; ++i, ++n) {
        full.request.lines.push_back({key.job_id, attempt.desired.attempt_no, key.epoch, i + 1,
                                      std::to_string(key.epoch) + ":" + std::to_string(i + 1)});
      }
    }
    if (!world_.quiet && world_.random.chance(0.01)) forge(full.request);
    judge_reports(full.request);
    if (!syncs_pass) return;
    post(sync->call,
         [this, &control, mine, m = std::move(full)] { control.on_sync(*this, mine, m); });
  }
}

// A checkpoint under the epoch and step of the head, with other contents: a damaged disk or a
// trainer that ran twice would tell of it. It must be refused.
void NodeModel::forge(SyncRequest& request) {
  for (AttemptReport& report : request.attempts) {
    const auto job = world_.control->tables.jobs.find(report.job_id);
    if (job == world_.control->tables.jobs.end() || report.state == AttemptState::kEnded) continue;
    const std::int64_t step = job->second.head.step;
    if (!world_.control->tables.checkpoints.contains({report.job_id, report.epoch, step})) continue;
    const std::string manifest = "forged-" + job->second.head.manifest_sha256;
    const std::string id = world_.store_artifact(Artifact{report.job_id, step, 0, manifest});
    report.sealed.insert(report.sealed.begin(), {step, manifest, "", mebibytes(10), id});
    world_.coverage.hit("fault", "checkpoint with other contents");
    return;
  }
}

void NodeModel::judge_reports(const SyncRequest& request) {
  for (const AttemptReport& report : request.attempts) {
    if (!report.exit || report.exit->cause != EndCause::kCompleted) continue;
    if (!world_.artifacts.contains(report.exit->result_artifact)) {
      world_.fail("a completed end has its result", name() + ": " + report.job_id.str() +
                                                        " is told as completed, its result is not "
                                                        "in the store");
    }
  }
}

// A rented node that hears nothing costs money for nobody: it must have ended what it runs.
void NodeModel::judge_cap(const agent::AttemptKey& key) {
  if (facts_.price == NodePrice::kOwned || !core_) return;
  const agent::AgentSettings settings = sim_agent_settings();
  const Millis latest = std::max(agent_since_, lease_until_) + settings.hard_cap +
                        settings.drain_deadline + Millis{9500};
  if (world_.now <= std::max(latest, frozen_until_ + Millis{30000})) return;
  world_.fail("a rented node that hears nothing stops",
              name() + " still trains " + key.job_id.str() + " long after the hard cap");
}

void NodeModel::act(const agent::Action& action) {
  if (const auto* prepared = std::get_if<agent::PrepareInputs>(&action)) {
    prepare(prepared->desired);
  } else if (const auto* started = std::get_if<agent::StartTrainer>(&action)) {
    start_trainer(started->desired);
  } else if (const auto* stop = std::get_if<agent::StopTrainer>(&action)) {
    judge_stop(stop->key, "told to stop");
    stop_trainer(stop->key, stop->save_deadline);
  } else if (const auto* kill = std::get_if<agent::KillTrainer>(&action)) {
    judge_stop(kill->key, "killed");
    // A process that the kernel holds on to dies late.
    const agent::AttemptKey key = kill->key;
    const Millis takes =
        world_.random.chance(0.2) ? world_.random.between(Millis{500}, Millis{9000}) : Millis{5};
    later(takes, [this, key] {
      DiskAttempt& attempt = disk[key];
      if (attempt.alive) end_trainer(attempt, agent::ExitFacts{{}, 9, {}, 0, false, {}, ""}, {});
    });
  } else if (const auto* pause = std::get_if<agent::PauseTrainer>(&action)) {
    disk[pause->key].paused = true;
  } else if (const auto* resume = std::get_if<agent::ContinueTrainer>(&action)) {
    disk[resume->key].paused = false;
  } else if (const auto* up = std::get_if<agent::UploadCheckpoint>(&action)) {
    upload(*up);
  } else if (const auto* result = std::get_if<agent::UploadResult>(&action)) {
    upload_result(*result);
  } else if (std::holds_alternative<agent::CancelUploads>(action)) {
    ++uploads_valid_;
  } else if (const auto* leave = std::get_if<agent::Leave>(&action)) {
    world_.trace(name() + " agent leaves: " + leave->message);
    const agent::LeaveWhy why = leave->why;
    crash_agent();
    if (why == agent::LeaveWhy::kDetached) {
      later(world_.random.between(Millis{200}, Millis{8000}), [this] { start_agent(); });
    } else if (why == agent::LeaveWhy::kReleased) {
      world_.coverage.hit("fault", "node releases itself");
      released = true;
    } else {
      later(world_.random.between(Millis{5000}, Millis{30000}), [this] { start_agent(); });
    }
  } else if (const auto* text = std::get_if<agent::Tell>(&action)) {
    world_.trace(name() + " says: " + text->message);
  } else {
    send(action);
  }
}

// I8: a trainer is stopped only for one who may ask for it, never for silence.
void NodeModel::judge_stop(const agent::AttemptKey& key, const char* how) {
  DiskAttempt& attempt = disk[key];
  if (!attempt.alive || attempt.may_stop) return;
  const bool cap = facts_.price != NodePrice::kOwned &&
                   world_.now + kClockError >=
                       std::max(agent_since_, shortest_until_) + sim_agent_settings().hard_cap;
  attempt.may_stop = cap;  // for good: the node leaves
  if (cap) return;
  world_.fail("I8 silence stops nothing", name() + ": the trainer of " + key.job_id.str() +
                                              " epoch " + std::to_string(key.epoch) + " was " +
                                              how + " and nobody had asked for it");
}

// What the agent learns is also learned here, to judge what it does then.
void NodeModel::note_answer(const agent::Input& answer) {
  const control::CoreSettings settings = sim_core_settings();
  if (const auto* beat = std::get_if<agent::HeartbeatAnswered>(&answer)) {
    extend_lease(beat->call, settings.authority_ttl, false);
  } else if (const auto* told = std::get_if<agent::NoticeAnswered>(&answer)) {
    extend_lease(told->call, settings.authority_ttl, false);
  }
  const auto* sync = std::get_if<agent::SyncAnswered>(&answer);
  if (sync == nullptr || sync->call != sync_call_) return;
  sync_call_ = 0;
  extend_lease(sync->call, settings.authority_ttl, true);
  for (auto& [key, attempt] : disk) {
    const std::int64_t number = attempt.desired.attempt_no;
    const auto wish = std::ranges::find_if(sync->response.desired, [&](const DesiredAttempt& d) {
      return d.job_id == key.job_id && d.attempt_no == number;
    });
    const bool absent = wish == sync->response.desired.end();
    if (absent ? !sync->response.inventory_open : wish->want != Want::kRun) {
      attempt.may_stop = true;
    }
    if (sync->response.node_want == NodeWant::kRelease || sync->response.simulate) {
      attempt.may_stop = true;
    }
  }
}

void NodeModel::extend_lease(std::uint64_t call, Millis ttl, bool by_sync) {
  const auto sent = sent_at_.find(call);
  if (sent == sent_at_.end()) return;
  if (by_sync || world_.now < lease_until_) {
    lease_until_ = std::max(lease_until_, sent->second + ttl);
  }
  // As the agent counts it at the least: less its drift allowance, and with a clock a bit off.
  const Millis shortest = sent->second + ttl - ttl / 100 - Millis{1000};
  // An answer about as late as the agent gives up on it may not have counted.
  const bool revives = by_sync && world_.now + kClockError < sync_given_up_;
  if (revives || world_.now + kClockError < shortest_until_) {
    shortest_until_ = std::max(shortest_until_, shortest);
  }
  sent_at_.erase(sent);
}

void NodeModel::deliver(std::uint64_t process, const agent::Input& answer) {
  later(Millis{0}, [this, process, answer] {
    if (!core_ || process_ != process) return;
    note_answer(answer);
    give(answer);
  });
}

void NodeModel::notice(const ReclaimNotice& seen) {
  if (!core_) return;
  if (seen.kind == NoticeKind::kReclaim) {
    for (auto& [key, attempt] : disk) attempt.may_stop = true;
  }
  give(agent::NoticeSeen{seen});
}

void NodeModel::sigterm(agent::SigtermMeans means, Millis lead) {
  if (!core_) return;
  if (means == agent::SigtermMeans::kReclaim) {
    for (auto& [key, attempt] : disk) attempt.may_stop = true;
  }
  give(agent::Sigterm{means, lead});
}

void NodeModel::set_disk(bool full) {
  disk_full_ = full;
  if (full) {
    give(agent::DiskFull{});
  } else {
    give(agent::DiskHasRoom{});
  }
}

bool NodeModel::holds_with_authority(const JobId& job, std::int64_t attempt_no) const {
  if (!core_ || !up_) return false;
  if (!core_->has_authority(mono())) return false;
  for (const AttemptReport& report : core_->reports(mono())) {
    if (report.job_id == job && report.attempt_no == attempt_no) {
      return report.state != AttemptState::kEnded && trains(job);
    }
  }
  return false;
}

bool NodeModel::trains(const JobId& job) const {
  return std::ranges::any_of(
      disk, [&](const auto& entry) { return entry.first.job_id == job && entry.second.alive; });
}

std::size_t NodeModel::live_trainers() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(disk, [](const auto& entry) { return entry.second.alive; }));
}

}  // namespace ratchet::sim
