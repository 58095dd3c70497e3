#include <algorithm>

#include "agent/core/agent_state.h"

namespace ratchet::agent {

namespace {

bool is_answer_to(Call& call, std::uint64_t number) {
  if (call.number != number || number == 0) return false;
  call.number = 0;
  return true;
}

}  // namespace

bool AgentCore::State::has_authority_at(Millis when) const {
  return authority_given && when < authority_until;
}

// `revives`: the answer said what is still wanted of us. Others only make a live lease longer.
void AgentCore::State::renew(Millis sent, Millis contact_ttl, Millis authority_ttl, bool revives) {
  const auto end_of = [&](Millis ttl) {
    const Millis drift{
        static_cast<std::int64_t>(settings.drift * static_cast<double>(ttl.count()))};
    return (is_on(Fence::kSentTime) ? sent : now) + ttl - drift - settings.drift_floor;
  };
  if (contact_ttl > Millis{0}) contact_until = std::max(contact_until, end_of(contact_ttl));
  if (authority_ttl <= Millis{0}) return;
  const bool had = authority();
  if (!had && !revives && is_on(Fence::kSyncRevives)) return;
  authority_until = std::max(authority_until, end_of(authority_ttl));
  authority_given = now < authority_until;
  if (!had && authority_given) {
    authority_since = now;
    news = news || !attempts.empty();
  }
}

void AgentCore::State::heard_of(const std::string& new_boot_id, std::int64_t rev) {
  if (new_boot_id != boot_id || rev > desired_rev) news = true;
  boot_id = new_boot_id;
}

void AgentCore::State::on_hello(const HelloAnswered& answer) {
  const Millis sent = hello.sent;
  if (!is_answer_to(hello, answer.call)) return;
  const HelloResponse& response = answer.response;
  if (node_id != response.node_id || !response.node_token.empty()) {
    node_id = response.node_id;
    out.saves.emplace_back(SaveIdentity{node_id, response.node_token});
  }
  greeted = true;
  call_failures = 0;
  boot_id = response.boot_id;
  heartbeat_every = std::max(Millis{50}, response.heartbeat);
  sync_wait = std::max(Millis{0}, response.sync_wait);
  renew(sent, response.contact_ttl, Millis{0}, false);
  heartbeat_at = now + heartbeat_every;
  sync = Call{};
  sync_at = now;
  news = true;
}

void AgentCore::State::on_heartbeat(const HeartbeatAnswered& answer) {
  const Millis sent = heartbeat.sent;
  if (!is_answer_to(heartbeat, answer.call)) return;
  renew(sent, answer.response.contact_ttl, answer.response.authority_ttl, false);
  heard_of(answer.response.boot_id, answer.response.desired_rev);
}

void AgentCore::State::on_notice_answer(const NoticeAnswered& answer) {
  const Millis sent = notice_call.sent;
  if (!is_answer_to(notice_call, answer.call)) return;
  notice_told = true;
  renew(sent, answer.response.contact_ttl, answer.response.authority_ttl, false);
  heard_of(answer.response.boot_id, answer.response.desired_rev);
}

void AgentCore::State::on_sync(const SyncAnswered& answer) {
  const Millis sent = sync.sent;
  if (!is_answer_to(sync, answer.call) && is_on(Fence::kAnswerOrder)) return;
  const SyncResponse& response = answer.response;
  call_failures = 0;
  vain_hellos = 0;
  sync_at = std::max(now, sync_sent + settings.push_gap / 4);
  renew(sent, response.contact_ttl, response.authority_ttl, true);
  boot_id = response.boot_id;
  desired_rev = response.desired_rev;
  take_acks(response);
  take_verdicts(response);
  take_desired(response);
  node_want = response.node_want;
  release_time = response.node_deadline;
  if (response.simulate) see_notice(*response.simulate);
}

void AgentCore::State::take_verdicts(const SyncResponse& response) {
  for (const CheckpointVerdict& verdict : response.verdicts) {
    Attempt* attempt = nullptr;
    for (auto& [key, candidate] : attempts) {
      const bool has = std::ranges::any_of(candidate.sealed, [&](const Sealed& sealed) {
        return sealed.checkpoint.step == verdict.step &&
               sealed.checkpoint.manifest_sha256 == verdict.manifest_sha256;
      });
      if (key.job_id == verdict.job_id && has) attempt = &candidate;
    }
    if (attempt == nullptr) continue;
    if (verdict.verdict == PublishVerdict::kRejected) {
      tell("The control plane did not take the checkpoint of step " + std::to_string(verdict.step) +
           " of job " + verdict.job_id.str() + ": " + verdict.reason);
    }
    settle(*attempt, verdict.step);
  }
}

void AgentCore::State::take_acks(const SyncResponse& response) {
  for (const LineCursor& cursor : response.acked_lines) {
    for (auto& [key, attempt] : attempts) {
      if (key.job_id != cursor.job_id || attempt.desired.attempt_no != cursor.attempt_no) continue;
      if (cursor.seq <= attempt.notes.acked_seq) continue;
      attempt.notes.acked_seq = cursor.seq;
      save_notes(attempt);
    }
  }
  for (const LineCursor& cursor : response.acked_ends) {
    for (auto& [key, attempt] : attempts) {
      if (key.job_id != cursor.job_id || attempt.desired.attempt_no != cursor.attempt_no) continue;
      if (!attempt.ended() || attempt.notes.end_acked) continue;
      attempt.notes.end_acked = true;
      save_notes(attempt);
    }
  }
}

void AgentCore::State::take_desired(const SyncResponse& response) {
  std::set<AttemptKey> wanted;
  std::set<JobId> jobs;
  for (const DesiredAttempt& desired : response.desired) {
    jobs.insert(desired.job_id);
    Attempt* known = take_wish(desired);
    if (known == nullptr) continue;
    wanted.insert(known->key());
    if (known->ended() || desired.want == Want::kRun) continue;
    const bool save = desired.want == Want::kDrain;
    const Millis time = save ? desired.deadline : Millis{0};
    order(*known, desired.stop_cause, time, time);
    if (!save && desired.stop_cause == EndCause::kCancelled && !known->notes.discard) {
      known->notes.discard = true;
      save_notes(*known);
    }
  }
  if (!is_on(Fence::kAbsent)) return;
  if (response.inventory_open && is_on(Fence::kInventory)) return;
  for (auto& [key, attempt] : attempts) {
    if (attempt.ended() || wanted.contains(key)) continue;
    // A successor on this node shows that the job went on without what this one has.
    const bool replaced = jobs.contains(key.job_id);
    const Millis time = replaced ? Millis{0} : settings.drain_deadline;
    order(attempt, EndCause::kSuperseded, time, time);
  }
}

Millis AgentCore::State::backoff(std::int64_t failures) {
  Millis wait = settings.retry_first;
  for (std::int64_t i = 1; i < failures && wait < settings.retry_last; ++i) wait *= 2;
  wait = std::min(wait, settings.retry_last);
  const auto half = static_cast<std::uint64_t>(wait.count() / 2 + 1);
  return wait / 2 + Millis{static_cast<std::int64_t>(random() % half)};
}

void AgentCore::State::on_call_failed(const CallFailed& failed) {
  const bool was_hello = is_answer_to(hello, failed.call);
  const bool was_sync = is_answer_to(sync, failed.call);
  const bool was_notice = is_answer_to(notice_call, failed.call);
  if (!was_hello && !was_sync && !was_notice && !is_answer_to(heartbeat, failed.call)) return;
  ++call_failures;
  Millis again = now + backoff(call_failures);
  if (failed.error == CallError::kRefused) {
    again = now + settings.retry_last;
    tell("The control plane refused a message of this node: " + failed.message);
  }
  if (failed.error == CallError::kNeedsHello && greeted) {
    greeted = false;
    // At once, unless the last hello helped nothing: then somebody else speaks for this node.
    hello_at = vain_hellos == 0 ? now : now + backoff(vain_hellos);
    ++vain_hellos;
  }
  if (was_hello) hello_at = again;
  if (was_sync) sync_at = again;
  if (was_notice) notice_at = now + settings.retry_first;
}

void AgentCore::State::give_up_late_calls() {
  for (Call* call : {&hello, &heartbeat, &sync, &notice_call}) {
    if (call->number != 0 && now >= call->give_up) {
      on_call_failed(CallFailed{call->number, CallError::kUnreachable, "No answer came in time."});
    }
  }
}

void AgentCore::State::send_sync(Millis wait) {
  SyncRequest request;
  request.node_id = node_id;
  request.incarnation = incarnation;
  request.seq = ++sync_seq;
  request.boot_id = boot_id;
  request.desired_rev = desired_rev;
  request.wait = wait;
  request.facts = facts;
  request.facts.disk_full = request.facts.disk_full || disk_full;
  request.attempts = all_reports();
  if (notice && now < notice_over) {
    request.notice = notice;
    if (notice->lead >= Millis{0}) {
      request.notice->lead = std::max(Millis{0}, notice_over - now);
    }
  }
  sync = Call{++last_call, now, now + wait + settings.call_timeout};
  sync_sent = now;
  sync_is_push = wait == Millis{0};
  news = false;
  act(SendSync{sync.number, std::move(request)});
}

void AgentCore::State::make_calls() {
  if (!recovered || left) return;
  if (!greeted) {
    if (hello.number != 0 || now < hello_at) return;
    hello = Call{++last_call, now, now + settings.call_timeout};
    HelloRequest request{node_id, incarnation, intent, facts, all_reports()};
    act(SendHello{hello.number, std::move(request)});
    return;
  }
  if (!notice_told && notice_call.number == 0 && now >= notice_at && notice) {
    notice_call = Call{++last_call, now, now + settings.call_timeout};
    ReclaimNotice told = *notice;
    if (told.lead >= Millis{0}) told.lead = std::max(Millis{0}, notice_over - now);
    act(SendNotice{notice_call.number, NoticeRequest{node_id, incarnation, std::move(told)}});
  }
  if (heartbeat.number == 0 && now >= heartbeat_at) {
    heartbeat = Call{++last_call, now, now + settings.call_timeout};
    heartbeat_at = now + heartbeat_every;
    act(SendHeartbeat{heartbeat.number, HeartbeatRequest{node_id, incarnation, ++heartbeat_seq}});
  }
  if (sync.number != 0) {
    // A poll that waits gives way to news; a push is answered at once and does not.
    if (!news || sync_is_push || now < sync_sent + settings.push_gap) return;
    send_sync(Millis{0});
    return;
  }
  if (now < sync_at) return;
  const bool busy =
      std::ranges::any_of(attempts, [](const auto& entry) { return entry.second.live(); });
  send_sync(news ? Millis{0} : busy ? std::min(settings.progress_gap, sync_wait) : sync_wait);
}

Millis AgentCore::State::next_call_timer() const {
  Millis next = kNever;
  const auto at = [&](Millis when) { next = std::min(next, when); };
  for (const Call* call : {&hello, &heartbeat, &sync, &notice_call}) {
    if (call->number != 0) at(call->give_up);
  }
  if (!recovered || left) return kNever;
  if (!greeted) {
    if (hello.number == 0) at(hello_at);
    return next;
  }
  if (heartbeat.number == 0) at(heartbeat_at);
  if (sync.number == 0) at(sync_at);
  if (sync.number != 0 && news && !sync_is_push) at(sync_sent + settings.push_gap);
  if (!notice_told && notice && notice_call.number == 0) at(notice_at);
  if (authority_given) at(authority_until);
  return next;
}

}  // namespace ratchet::agent
