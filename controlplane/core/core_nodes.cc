#include <algorithm>
#include <utility>

#include "controlplane/core/attempt_machine.h"
#include "controlplane/core/core.h"
#include "controlplane/core/leases.h"

namespace ratchet::control {

namespace {

constexpr std::size_t kFormerKept = 8;
constexpr int kAlternationsAllowed = 3;

// Facts that change by themselves all the time are not worth a row.
NodeFacts lasting(NodeFacts facts) {
  for (GpuFacts& gpu : facts.gpus) gpu.memory_used = Bytes(0);
  facts.disk_free = Bytes(0);
  facts.cache_used = Bytes(0);
  facts.preflight.kernel_ms = 0;
  return facts;
}

}  // namespace

bool Core::proves_death(const LiveNode& node) const {
  return std::ranges::any_of(providers_, [&](const Provider& provider) {
    return provider.name == node.row.facts.provider && provider.proves_death;
  });
}

// The node when the request is of its agent's present process.
LiveNode* Core::known(const std::string& node_id, const std::string& incarnation) {
  LiveNode* node = find_node(node_id);
  if (node == nullptr ||
      (node->row.incarnation != incarnation && fences_.on(Fence::kIncarnation))) {
    out_.needs_hello = true;
    return nullptr;
  }
  return node;
}

// Reports in a hello have no place in the order of syncs: the first sync tells what the node runs.
void Core::on(const HelloInput& input) {
  const HelloRequest& hello = input.message;
  LiveNode* node = find_node(input.node_id);
  if (node == nullptr) {
    node = &nodes_[input.node_id];
    node->row.id = input.node_id;
    node->row.tenant = input.tenant;
    node->row.intent = hello.intent;
    node->row.incarnation = hello.incarnation;
    node->row.facts.provider = hello.facts.provider;
    node->row.created_at = now_.wall;
    node->rev = first_rev_;
    node->agent_is_new = true;
    node->counted = true;
    ++provider_nodes_[hello.facts.provider];
    save(*node);
    if (intents_.contains(hello.intent)) {
      intents_.at(hello.intent).node_id = input.node_id;
      intent_over(hello.intent, IntentState::kDone, "");
    }
  } else if (node->row.incarnation != hello.incarnation) {
    new_process(*node, hello.incarnation);
  }
  contact(*node);
  take_facts(*node, hello.facts);
}

void Core::new_process(LiveNode& node, const std::string& incarnation) {
  const bool been_here = std::ranges::find(node.former, incarnation) != node.former.end();
  node.former.push_back(node.row.incarnation);
  if (node.former.size() > kFormerKept) node.former.erase(node.former.begin());
  node.row.incarnation = incarnation;
  node.last_seq = 0;
  node.agent_is_new = true;
  node.synced = false;
  node.simulate.reset();
  drop_notice(node);
  save(node);
  // A process that comes back after another one took its place: there are two of them.
  if (been_here && ++node.alternations >= kAlternationsAllowed) {
    quarantine(node, "Two agents answer to the name of this node; was its disk copied?");
    return;
  }
  move_schedulable(node, NodeEvent::kNewProcess, "");
}

void Core::on(const HeartbeatInput& input) {
  LiveNode* node = known(input.message.node_id, input.message.incarnation);
  if (node != nullptr) contact(*node);
}

// Renews both leases from now, which is later than when the agent sent its request.
void Core::contact(LiveNode& node) {
  node.last_contact = now_.mono;
  node.authority_until = lease_end(now_.mono, settings_.authority_ttl, settings_);
  if (node.heard && node.liveness == Liveness::kLive) return;
  const Liveness before = std::exchange(node.liveness, Liveness::kLive);
  const std::string& id = node.row.id;
  if (!timers_.armed(TimerKind::kAuthority, id)) {
    timers_.arm(TimerKind::kAuthority, id, node.authority_until);
  }
  timers_.arm(TimerKind::kLiveness, id, now_.mono + *until_next_liveness(Millis{0}, settings_));
  node.heard = true;
  node.row.last_seen = now_.wall;
  // Before its first sync a node is given nothing; that sync has the queue looked at.
  capacity_changed_ = capacity_changed_ || node.synced;
  save(node);
  if (before == Liveness::kSilent) emit_node(node, "node.live");
}

void Core::liveness_due(LiveNode& node) {
  const Millis silence = now_.mono - node.last_contact;
  const Liveness found = liveness_after(silence, settings_);
  if (const auto wait = until_next_liveness(silence, settings_)) {
    timers_.arm(TimerKind::kLiveness, node.row.id, now_.mono + *wait);
  }
  if (found == node.liveness) return;
  node.liveness = found;
  if (found != Liveness::kSilent) return;
  node.row.last_seen = now_.wall - silence;
  save(node);
  emit_node(node, "node.silent",
            EventData().number("silent_s", static_cast<double>(silence.count()) / 1000.0));
  stall_jobs(node, "node_silent");
  if (!fences_.on(Fence::kAuthorityWait)) authority_due(node);
}

void Core::stall_jobs(const LiveNode& node, const std::string& reason) {
  for (const auto& [job_id, number] : node.attempts) {
    LiveJob* job = find_job(job_id);
    if (job == nullptr || job->current != number || job->lost) continue;
    emit(*job, "job.stalled", EventData().text("reason", reason).text("node_id", node.row.id));
  }
}

void Core::authority_due(LiveNode& node) {
  const bool waits = fences_.on(Fence::kAuthorityWait);
  if (waits && now_.mono < node.authority_until) {
    timers_.arm(TimerKind::kAuthority, node.row.id, node.authority_until);
    return;
  }
  if (inventory_open_) {
    // Later than the end of the inventory, which may be due at this very moment.
    timers_.arm(TimerKind::kAuthority, node.row.id,
                std::max(now_.mono, began_ + settings_.inventory_window) + Millis{1});
    return;
  }
  capacity_changed_ = true;
  // The next contact arms the timer again.
  if (proves_death(node) && fences_.on(Fence::kDeathByProof)) return;
  const auto attempts = node.attempts;
  for (const auto& [job_id, number] : attempts) {
    LiveJob* job = find_job(job_id);
    if (job == nullptr || job->current != number || job->lost) continue;
    LiveAttempt& attempt = job->attempts.at(number);
    if (attempt.row.state == AttemptState::kEnded) continue;
    lose_current(*job, attempt);
  }
}

void Core::take_facts(LiveNode& node, const NodeFacts& facts) {
  const bool room_before = !node.row.facts.disk_full;
  const std::string provider = node.row.facts.provider;
  if (lasting(facts) != lasting(node.row.facts)) save(node);
  node.row.facts = facts;
  node.row.facts.provider = provider;  // of its first hello: death is judged by it
  if (room_before == facts.disk_full) capacity_changed_ = true;
  if (room_before && facts.disk_full) stall_jobs(node, "disk_full");
  const PreflightFacts& preflight = facts.preflight;
  if (!preflight.done) return;
  if (preflight.passed) {
    move_schedulable(node, NodeEvent::kPreflightPassed, "");
  } else {
    move_schedulable(node, NodeEvent::kPreflightFailed,
                     "Its preflight failed: " + preflight.message);
  }
}

void Core::move_schedulable(LiveNode& node, NodeEvent event, const std::string& reason) {
  const auto to = next(node.row.schedulable, event);
  if (!to) return;
  node.row.schedulable = *to;
  node.row.schedulable_reason = reason;
  save(node);
  touch(node);
  switch (*to) {
    case Schedulable::kReady:
      capacity_changed_ = capacity_changed_ || node.synced;
      emit_node(node, "node.ready");
      return;
    case Schedulable::kQuarantined:
      emit_node(node, "node.quarantined", EventData().text("reason", reason));
      return;
    case Schedulable::kDraining:
      emit_node(node, "node.draining", EventData().text("reason", reason));
      return;
    case Schedulable::kRetired:
    case Schedulable::kPreflight:
      return;
  }
}

void Core::quarantine(LiveNode& node, const std::string& reason) {
  std::erase_if(quarantines_, [&](Millis at) { return now_.mono - at > kBreakerWindow; });
  if (!next(node.row.schedulable, NodeEvent::kFault)) return;
  if (!breaker_allows(quarantines_.size(), nodes_.size()) &&
      fences_.on(Fence::kQuarantineBreaker)) {
    emit_node(node, "node.quarantine_refused", EventData().text("reason", reason));
    return;
  }
  quarantines_.push_back(now_.mono);
  move_schedulable(node, NodeEvent::kFault, reason);
}

void Core::drain(LiveNode& node, Millis deadline, const std::string& reason) {
  node.drain_deadline = now_.mono + deadline;
  move_schedulable(node, NodeEvent::kDrain, reason);
  for (const auto& [job_id, number] : node.attempts) {
    LiveJob* job = find_job(job_id);
    if (job == nullptr || job->current != number) continue;
    touch(*job);
    ask_for_node(*job);
  }
  touch(node);
  release_if_drained(node);
}

void Core::on(const DrainNode& input) {
  LiveNode* node = require_node(input.node_id);
  if (node == nullptr || node->row.schedulable == Schedulable::kDraining) return;
  if (node->row.schedulable == Schedulable::kRetired) return;
  drain(*node, input.deadline.value_or(settings_.drain_deadline), input.reason);
}

void Core::on(const UndrainNode& input) {
  LiveNode* node = require_node(input.node_id);
  if (node == nullptr) return;
  if (node->row.schedulable == Schedulable::kRetired) {
    return reject("node_retired", "Node " + input.node_id +
                                      " is being released and cannot be "
                                      "used again.");
  }
  node->drain_deadline.reset();
  set_leaving(*node, false);
  move_schedulable(*node, NodeEvent::kUndrain, "");
  take_facts(*node, NodeFacts(node->row.facts));
  touch(*node);
  for (const auto& [job_id, number] : node->attempts) {
    if (LiveJob* job = find_job(job_id)) touch(*job);
  }
}

void Core::on(const NoticeInput& input) {
  LiveNode* node = known(input.message.node_id, input.message.incarnation);
  if (node == nullptr) return;
  contact(*node);
  take_notice(*node, input.message.notice);
}

void Core::take_notice(LiveNode& node, const ReclaimNotice& notice) {
  if (node.row.notice && node.row.notice->event_id == notice.event_id) return;
  node.row.notice = notice;
  node.notice_at = now_.wall;
  node.notice_synced = false;
  if (node.simulate && node.simulate->event_id == notice.event_id) node.simulate.reset();
  save(node);
  emit_node(node, "node.reclaim_notice",
            EventData()
                .text("source", notice.source)
                .text("kind", to_word(notice.kind))
                .text("action", notice.action)
                .number("lead_s", static_cast<double>(notice.lead.count()) / 1000.0));
  if (notice.kind != NoticeKind::kReclaim && notice.kind != NoticeKind::kMaintenance) return;
  set_leaving(node, true);
  drain(node, notice.lead > Millis{0} ? notice.lead : settings_.drain_deadline,
        "The node is about to be taken away (" + notice.source + ").");
}

void Core::drop_notice(LiveNode& node) {
  if (!node.row.notice) return;
  node.row.notice.reset();
  node.notice_synced = false;
  save(node);
  if (node.drained_by_notice) {
    set_leaving(node, false);
    node.drain_deadline.reset();
    move_schedulable(node, NodeEvent::kUndrain, "");
    touch(node);
  }
}

void Core::set_leaving(LiveNode& node, bool leaving) {
  if (node.drained_by_notice == leaving) return;
  node.drained_by_notice = leaving;
  provider_leaving_[node.row.facts.provider] += leaving ? 1 : -1;
  intents_changed_ = true;
}

void Core::on(const SimulateReclaim& input) {
  LiveNode* node = require_node(input.node_id);
  if (node == nullptr) return;
  if (node->liveness != Liveness::kLive) {
    return reject("node_silent", "Node " + input.node_id +
                                     " does not answer, so it cannot be "
                                     "told to act as if it were reclaimed.");
  }
  node->simulate = ReclaimNotice{.source = "simulated",
                                 .kind = NoticeKind::kReclaim,
                                 .action = "terminate",
                                 .event_id = "simulated-" + new_key(),
                                 .lead = input.lead};
  touch(*node);
}

// A node of a provider that has saved its attempts before it is taken away is given back.
void Core::release_if_drained(LiveNode& node) {
  if (!node.drained_by_notice || !node.attempts.empty() || inventory_open_) return;
  const bool ours = std::ranges::any_of(providers_, [&](const Provider& provider) {
    return !provider.name.empty() && provider.name == node.row.facts.provider;
  });
  const auto to = next(node.row.provider, ProviderEvent::kRelease);
  if (!ours || !to) return;
  node.row.provider = *to;
  move_schedulable(node, NodeEvent::kRetire, "It was to be taken away and has saved its work.");
  save(node);
  out_.commands.emplace_back(ReleaseNode{node.row.id, node.row.intent, node.row.facts.provider});
}

void Core::on(const NodeGone& input) {
  LiveNode* node = find_node(input.node_id);
  if (node == nullptr) return;
  const bool released = node->row.provider == ProviderState::kReleasing;
  const bool noticed = node->row.notice.has_value();
  node->row.provider = ProviderState::kGone;
  node->row.schedulable = Schedulable::kRetired;
  node->row.gone_at = now_.wall;
  node->row.gone_proof = input.proof;
  save(*node);
  emit_node(*node, released ? "node.released" : "node.lost",
            EventData().text("proof", input.proof));
  const auto attempts = node->attempts;
  for (const auto& [job_id, number] : attempts) {
    LiveJob* job = find_job(job_id);
    if (job == nullptr) continue;
    LiveAttempt& attempt = job->attempts.at(number);
    attempt.may_live = false;
    if (attempt.row.state != AttemptState::kEnded) {
      attempt.row = end_attempt(attempt.row, noticed ? EndCause::kPreempted : EndCause::kNodeLost,
                                "The node is gone: " + input.proof, now_.wall);
      save(*job, attempt);
      if (job->current == number) {
        end_current(*job, attempt, noticed ? "notice" : "provider");
      } else {
        emit_attempt(*job, attempt, "attempt.ended", EventData().text("node_id", input.node_id),
                     to_word(*attempt.row.cause));
      }
    }
    process_gone(*job, number);
    place(*job);
  }
  for (const TimerKind kind : {TimerKind::kLiveness, TimerKind::kAuthority, TimerKind::kDrain}) {
    timers_.disarm(kind, input.node_id);
  }
  set_leaving(*node, false);
  --provider_nodes_[node->row.facts.provider];
  if (inventory_open_ && !node->counted) ++inventory_heard_;
  intents_changed_ = true;
  forget_nodes_.insert(input.node_id);
  std::erase(out_.wake, input.node_id);
}

}  // namespace ratchet::control
