#include "tests/sim/control_model.h"

#include <algorithm>
#include <utility>

#include "tests/sim/checker.h"
#include "tests/sim/node_model.h"
#include "tests/sim/provider_model.h"

namespace ratchet::sim {

namespace {

constexpr std::int64_t kWallStart = 1'700'000'000'000;

}  // namespace

ControlModel::ControlModel(World& world) : world_(world) {}

control::Now ControlModel::clock() const {
  return control::Now{clock_.at(world_.now),
                      UnixMillis{kWallStart + (world_.now + wall_jump_).count()}};
}

void ControlModel::start() {
  if (core_) return;
  ++generation;
  if (generation > 1) world_.checker->on_restart();
  boot_id_ = "boot" + std::to_string(generation);
  clock_.offset = world_.random.between(Millis{0}, Millis{100000000});
  clock_.rate = 1.0 + 0.004 * (world_.random.unit() - 0.5);
  frozen_until_ = Millis{0};
  crash_point_ = CrashPoint::kNone;
  tick_at_ = Millis::max();
  core_ = std::make_unique<control::ControlCore>(
      sim_core_settings(), std::vector{world_.provider->provider()}, boot_id_, load(tables),
      clock(), mix(world_.options.seed, static_cast<std::uint64_t>(generation)));
  if (world_.options.control_off) core_->disable(*world_.options.control_off);
  world_.trace("control starts as " + boot_id_);
  submit(control::Tick{});
}

void ControlModel::crash() {
  if (!core_) return;
  world_.trace("control crashes");
  world_.checker->on_memory(tables, *core_);
  core_.reset();
  parked_.clear();
  ++tick_ticket_;
}

void ControlModel::restore_backup() {
  if (!backup_) return;
  crash();
  // Lines are large and are stored apart; the node's own copy of them outlives the restore.
  auto lines = std::move(tables.lines);
  tables = *backup_;
  tables.lines = std::move(lines);
  restored = true;
  world_.checker->forget_history(tables);
  world_.trace("the store is an old copy now");
}

void ControlModel::freeze(Millis time) { frozen_until_ = world_.now + time; }

bool ControlModel::ready(std::function<void()> again) {
  if (!core_) return false;
  if (world_.now >= frozen_until_) return true;
  const std::int64_t mine = generation;
  world_.at(frozen_until_, [this, mine, again = std::move(again)] {
    if (generation == mine) again();
  });
  return false;
}

std::optional<control::Outcome> ControlModel::submit(const control::Input& input) {
  if (!core_ || world_.failed()) return std::nullopt;
  control::Outcome outcome = core_->handle(input, clock());
  const CrashPoint point = std::exchange(crash_point_, CrashPoint::kNone);
  const bool changes = !outcome.rows.empty();
  if (point == CrashPoint::kBeforeCommit && changes) {
    world_.coverage.hit("fault", "control crash before commit");
    core_.reset();
    parked_.clear();
    ++tick_ticket_;
    return std::nullopt;
  }
  world_.checker->on_commit(tables, outcome);
  apply(tables, outcome);
  if (world_.options.trace) {
    for (const control::EventRow& event : outcome.events) {
      world_.trace("  event " + event.job_id.str() + " #" + std::to_string(event.seq) + " " +
                   event.type + " a" + std::to_string(event.attempt_no) + " e" +
                   std::to_string(event.epoch) + " s" + std::to_string(event.step) + " " +
                   event.cause + " " + event.data_json);
    }
  }
  if (point == CrashPoint::kAfterCommit && changes) {
    world_.coverage.hit("fault", "control crash after commit");
    core_.reset();
    parked_.clear();
    ++tick_ticket_;
    return std::nullopt;
  }
  if (point != CrashPoint::kNone) crash_point_ = point;
  for (const control::Command& command : outcome.commands) world_.provider->command(command);
  for (const std::string& node_id : outcome.wake) answer_parked(node_id);
  arm_tick();
  return outcome;
}

void ControlModel::arm_tick() {
  if (!core_) return;
  const auto due = core_->next_timer(clock());
  if (!due) return;
  const Millis when = std::max(world_.now + Millis{1}, clock_.when(*due));
  if (when >= tick_at_) return;
  tick_at_ = when;
  const std::uint64_t ticket = ++tick_ticket_;
  auto tick = [this, ticket](auto&& self) -> void {
    if (ticket != tick_ticket_ || !core_) return;
    if (!ready([this, self] { self(self); })) return;
    tick_at_ = Millis::max();
    submit(control::Tick{});
  };
  world_.at(when, [tick] { tick(tick); });
}

void ControlModel::reply(NodeModel& node, std::uint64_t process, agent::Input answer) {
  world_.send(node, false,
              [&node, process, answer = std::move(answer)] { node.deliver(process, answer); });
}

void ControlModel::refuse(NodeModel& node, std::uint64_t process, std::uint64_t call,
                          agent::CallError error) {
  reply(node, process, agent::CallFailed{call, error, "refused"});
}

HeartbeatResponse ControlModel::heartbeat_response(const std::string& node_id) const {
  const control::CoreSettings settings = sim_core_settings();
  return HeartbeatResponse{boot_id_, core_->desired_rev(node_id), settings.contact_ttl,
                           settings.authority_ttl};
}

void ControlModel::on_hello(NodeModel& node, std::uint64_t process, const agent::SendHello& hello) {
  if (!ready([this, &node, process, hello] { on_hello(node, process, hello); })) return;
  // The same process of an agent gets the same node, however often it asks.
  std::string node_id = hello.request.node_id;
  const auto before = tables.node_of_incarnation.find(hello.request.incarnation);
  if (before != tables.node_of_incarnation.end()) node_id = before->second;
  if (node_id.empty()) node_id = "n" + std::to_string(++node_numbers_);
  const auto outcome = submit(control::HelloInput{hello.request, "tenant", node_id});
  if (!outcome) return;
  tables.node_of_incarnation[hello.request.incarnation] = node_id;
  if (outcome->rejection) return refuse(node, process, hello.call, agent::CallError::kRefused);
  const control::CoreSettings settings = sim_core_settings();
  HelloResponse response;
  response.node_id = node_id;
  response.node_token = hello.request.node_id.empty() ? "token" : "";
  response.boot_id = boot_id_;
  response.heartbeat = settings.heartbeat;
  response.contact_ttl = settings.contact_ttl;
  response.authority_ttl = settings.authority_ttl;
  response.sync_wait = Millis{10000};
  reply(node, process, agent::HelloAnswered{hello.call, response});
}

void ControlModel::on_heartbeat(NodeModel& node, std::uint64_t process,
                                const agent::SendHeartbeat& beat) {
  if (!ready([this, &node, process, beat] { on_heartbeat(node, process, beat); })) return;
  const auto outcome = submit(control::HeartbeatInput{beat.request});
  if (!outcome) return;
  if (outcome->needs_hello) {
    return refuse(node, process, beat.call, agent::CallError::kNeedsHello);
  }
  reply(node, process,
        agent::HeartbeatAnswered{beat.call, heartbeat_response(beat.request.node_id)});
}

void ControlModel::on_notice(NodeModel& node, std::uint64_t process,
                             const agent::SendNotice& notice) {
  if (!ready([this, &node, process, notice] { on_notice(node, process, notice); })) return;
  const auto outcome = submit(control::NoticeInput{notice.request});
  if (!outcome) return;
  if (outcome->needs_hello) {
    return refuse(node, process, notice.call, agent::CallError::kNeedsHello);
  }
  reply(node, process,
        agent::NoticeAnswered{notice.call, heartbeat_response(notice.request.node_id)});
}

void ControlModel::take_lines(const SyncRequest& request, SyncResponse& response) {
  for (const TrainerLine& line : request.lines) {
    auto& stored = tables.lines[{line.job_id, line.attempt_no, request.node_id}];
    world_.checker->on_lines(stored, line.seq, line.line);
    if (line.seq == stored.size() + 1) stored.push_back(line.line);
  }
  for (const AttemptReport& report : request.attempts) {
    const auto& stored = tables.lines[{report.job_id, report.attempt_no, request.node_id}];
    response.acked_lines.push_back({report.job_id, report.attempt_no, stored.size()});
  }
}

void ControlModel::answer_sync(NodeModel& node, std::uint64_t process, std::uint64_t call,
                               const std::string& node_id, const SyncRequest* request,
                               const control::Outcome* outcome) {
  SyncResponse response = core_->desired_for(node_id, clock());
  if (outcome != nullptr) {
    response.verdicts = outcome->verdicts;
    response.acked_ends = outcome->acked_ends;
  }
  if (request != nullptr) take_lines(*request, response);
  world_.checker->on_answer(tables, node_id, response);
  reply(node, process, agent::SyncAnswered{call, std::move(response)});
}

void ControlModel::on_sync(NodeModel& node, std::uint64_t process, const agent::SendSync& sync) {
  if (!ready([this, &node, process, sync] { on_sync(node, process, sync); })) return;
  const SyncRequest& request = sync.request;
  if (world_.options.trace) {
    std::string told;
    for (const AttemptReport& report : request.attempts) {
      told += " " + report.job_id.str() + ":e" + std::to_string(report.epoch) + ":" +
              std::string(to_word(report.state));
    }
    world_.trace("  sync of " + request.node_id + " #" + std::to_string(request.seq) + " " +
                 request.boot_id + told);
  }
  // A newer sync answers the older poll.
  answer_parked(request.node_id);
  const auto outcome = submit(control::SyncInput{request});
  if (!outcome) return;
  if (outcome->needs_hello) {
    return refuse(node, process, sync.call, agent::CallError::kNeedsHello);
  }
  const bool news = !outcome->verdicts.empty() || !outcome->acked_ends.empty() ||
                    !request.lines.empty() || request.boot_id != boot_id_ ||
                    core_->desired_rev(request.node_id) > request.desired_rev;
  if (news || request.wait <= Millis{0}) {
    return answer_sync(node, process, sync.call, request.node_id, &request, &*outcome);
  }
  const std::uint64_t ticket = ++tickets_;
  parked_[request.node_id] = Parked{&node, process, sync.call, ticket};
  const std::string node_id = request.node_id;
  world_.after(request.wait, [this, node_id, ticket] {
    const auto found = parked_.find(node_id);
    if (found == parked_.end() || found->second.ticket != ticket) return;
    if (!ready([this, node_id] { answer_parked(node_id); })) return;
    answer_parked(node_id);
  });
}

void ControlModel::answer_parked(const std::string& node_id) {
  const auto found = parked_.find(node_id);
  if (found == parked_.end() || !core_) return;
  const Parked parked = found->second;
  parked_.erase(found);
  answer_sync(*parked.node, parked.process, parked.call, node_id, nullptr, nullptr);
}

}  // namespace ratchet::sim
