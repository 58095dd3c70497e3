#include <algorithm>
#include <utility>

#include "controlplane/core/core.h"
#include "controlplane/core/intent_machine.h"
#include "controlplane/core/recovery_stages.h"
#include "controlplane/core/scheduler.h"

namespace ratchet::control {

namespace {

QueueKey key_of(const JobRow& job) { return {-job.priority, job.created_at, job.id}; }

}  // namespace

Outcome Core::handle(const Input& input, Now now) {
  now_ = now;
  out_ = std::exchange(held_back_, {});
  if (!std::exchange(begun_, true)) begin();
  follow_wall_clock();
  std::visit([this](const auto& message) { on(message); }, input);
  if (out_.rejection) {
    Outcome refused;
    refused.rejection = std::exchange(out_.rejection, {});
    held_back_ = std::move(out_);
    return refused;
  }
  if (std::holds_alternative<Tick>(input)) run_timers();
  run_scheduler();
  collect_rows();
  return std::move(out_);
}

void Core::on(const Tick& /*input*/) {
  while (!later_.empty() && later_.begin()->first <= now_.wall) {
    const JobId id = later_.begin()->second;
    later_.erase(later_.begin());
    if (LiveJob* job = find_job(id)) place(*job);
  }
}

void Core::run_timers() {
  while (const auto key = timers_.pop(now_.mono)) run_timer(*key);
}

void Core::run_timer(const Timers::Key& due) {
  const auto& [kind, key] = due;
  LiveNode* node = find_node(key);
  LiveJob* job = find_job(JobId(key));
  switch (kind) {
    case TimerKind::kLiveness:
      if (node != nullptr) liveness_due(*node);
      return;
    case TimerKind::kAuthority:
      if (node != nullptr) authority_due(*node);
      return;
    case TimerKind::kDrain:
      return;
    case TimerKind::kOffer:
      if (job != nullptr) offer_due(*job);
      return;
    case TimerKind::kBackoff:
      if (job != nullptr) place(*job);
      return;
    case TimerKind::kUpload:
      if (job != nullptr) upload_over(*job);
      return;
    case TimerKind::kCapacity:
      if (job != nullptr) capacity_due(*job);
      return;
    case TimerKind::kForget:
      if (job != nullptr && is_terminal(job->row.phase)) {
        for (auto& [number, attempt] : job->attempts) {
          if (LiveNode* host = find_node(attempt.row.node_id)) {
            host->attempts.erase({job->row.id, number});
          }
          attempt.may_live = false;
        }
        forget_if_done(*job);
      }
      return;
    case TimerKind::kOrphans:
      if (job != nullptr) orphans_due(*job);
      return;
    case TimerKind::kBoot:
      boot_due(key);
      return;
    case TimerKind::kProvider:
      intents_changed_ = true;
      return;
    case TimerKind::kInventory:
      close_inventory();
      return;
  }
}

// Puts the job where it belongs: among those to be placed now, later, or not at all.
void Core::place(LiveJob& job) {
  const std::string& id = job.row.id.str();
  const QueueKey key = key_of(job.row);
  const bool waits_for_node =
      job.row.phase == JobPhase::kQueued || job.row.phase == JobPhase::kRecovering;
  const bool held = current(job) != nullptr && !job.lost;
  const bool wants = fences_.on(Fence::kOneCurrent)
                         ? waits_for_node && !held
                         : waits_for_node || job.row.phase == JobPhase::kRunning;
  if (!wants || job.upload_awaited != 0 || timers_.armed(TimerKind::kBackoff, id)) {
    ready_.erase(key);
    newly_ready_.erase(id);
    if (!wants) timers_.disarm(TimerKind::kCapacity, id);
    return;
  }
  if (job.row.starts_at && *job.row.starts_at > now_.wall) {
    later_.emplace(*job.row.starts_at, job.row.id);
    return;
  }
  if (job.row.backoff_until) {
    job.row.backoff_until.reset();
    save(job);
  }
  if (!ready_.insert(key).second) return;
  newly_ready_.insert(id);
  stage(job, RecoveryStage::kProvisioning);
  if (job.row.phase == JobPhase::kRecovering) {
    timers_.arm(TimerKind::kCapacity, id, now_.mono + settings_.no_capacity_after);
  }
}

bool Core::may_be_given_work(const LiveNode& node) const {
  return node.row.schedulable == Schedulable::kReady && node.liveness == Liveness::kLive &&
         !node.row.facts.disk_full && node.row.provider == ProviderState::kUp && node.synced;
}

std::int64_t Core::free_slots(const LiveNode& node) const {
  std::int64_t free = node.row.facts.slots;
  if (!fences_.on(Fence::kSlotLimit)) return free;
  for (const auto& [job_id, number] : node.attempts) {
    const auto job = jobs_.find(job_id.str());
    if (job != jobs_.end()) free -= job->second.attempts.at(number).slots;
  }
  return free - node.foreign;
}

// Only jobs that are new to the queue are tried, unless room has appeared since.
void Core::run_scheduler() {
  if (inventory_open_) return;
  std::vector<JobAsk> asks;
  const auto add = [&](LiveJob& job) {
    if (is_held(job)) return;
    asks.push_back({&job.row, job.row.ledger.exogenous_without_progress >= kEscalateAfter});
  };
  if (capacity_changed_) {
    for (const QueueKey& key : ready_) add(jobs_.at(key.id.str()));
  } else {
    for (const std::string& id : newly_ready_) add(jobs_.at(id));
  }
  std::vector<JobId> unasked;
  for (const std::string& id : newly_ready_) unasked.emplace_back(id);
  const bool all_may_ask = std::exchange(intents_changed_, false);
  capacity_changed_ = false;
  newly_ready_.clear();
  if (!asks.empty()) {
    std::vector<NodeOffer> offers;
    std::vector<LiveNode*> hosts;
    for (auto& [id, node] : nodes_) {
      if (!may_be_given_work(node)) continue;
      offers.push_back({&node.row, free_slots(node), node.attempts.empty()});
      hosts.push_back(&node);
    }
    const Quota quota{settings_.tenant_slots, held_slots_};
    for (const Assignment& one : schedule(asks, offers, quota)) {
      offer(*find_job(asks[one.job].job->id), *hosts[one.node], one.slots);
    }
  }
  if (providers_.empty()) return;
  if (all_may_ask) {
    unasked.clear();
    for (const QueueKey& key : ready_) unasked.push_back(key.id);
    keep_nodes();
  }
  for (const JobId& id : unasked) {
    const bool room = std::ranges::any_of(providers_, [&](const Provider& provider) {
      return provider_load(provider) < provider.max_nodes || !fences_.on(Fence::kNodeCap);
    });
    if (!room) break;
    LiveJob* job = find_job(id);
    if (job != nullptr && ready_.contains(key_of(job->row))) ask_for_node(*job);
  }
}

// An attempt that was given up or told to stop may run on with authority: until that is over, or
// the attempt is proved stopped, nobody else is given the job. Either sets capacity_changed_.
bool Core::is_held(const LiveJob& job) const {
  if (!fences_.on(Fence::kAuthorityWait)) return false;
  return std::ranges::any_of(job.attempts, [&](const auto& entry) {
    const LiveAttempt& attempt = entry.second;
    const auto node = nodes_.find(attempt.row.node_id);
    return attempt.may_live && attempt.row.accepted_at && node != nodes_.end() &&
           now_.mono < node->second.authority_until;
  });
}

void Core::offer(LiveJob& job, LiveNode& node, std::int64_t slots) {
  if (LiveAttempt* before = current(job)) held_slots_[job.row.tenant] -= before->slots;
  if (fences_.on(Fence::kOfferEpochBump) || job.row.epoch == 0) ++job.row.epoch;
  const std::int64_t number = ++job.row.attempts;
  LiveAttempt& attempt = job.attempts[number];
  attempt.row.job_id = job.row.id;
  attempt.row.attempt_no = number;
  attempt.row.epoch = job.row.epoch;
  attempt.row.node_id = node.row.id;
  attempt.row.resume = job.row.head;
  attempt.row.step = job.row.head.step;
  const auto all = static_cast<double>(std::max<std::int64_t>(node.row.facts.slots, 1));
  attempt.row.usd_per_hour = node.row.facts.usd_per_hour * static_cast<double>(slots) / all;
  attempt.row.offered_at = now_.wall;
  attempt.slots = slots;
  node.attempts.emplace(job.row.id, number);
  held_slots_[job.row.tenant] += slots;
  job.current = number;
  job.lost = false;
  job.row.step = job.row.head.step;
  job.row.stage.clear();
  save(job, attempt);
  timers_.arm(TimerKind::kOffer, job.row.id.str(), now_.mono + settings_.offer_ttl);
  apply(job, JobEvent::kOffered,
        EventData().text("node_id", node.row.id).integer("resume_step", job.row.head.step));
}

std::int64_t Core::provider_load(const Provider& provider) const {
  std::int64_t load = 0;
  if (const auto found = provider_nodes_.find(provider.name); found != provider_nodes_.end()) {
    load += found->second;
  }
  if (const auto found = provider_intents_.find(provider.name); found != provider_intents_.end()) {
    load += found->second;
  }
  // A node that is being taken away makes room for its replacement at once.
  if (const auto found = provider_leaving_.find(provider.name); found != provider_leaving_.end()) {
    load -= found->second;
  }
  return load;
}

void Core::ask_for_node(LiveJob& job) {
  if (!job.intent.empty() || inventory_open_) return;
  const bool suited = std::ranges::any_of(providers_, [&](const Provider& provider) {
    return could_offer(job.row.needs, provider.offers);
  });
  if (!suited) return;
  const bool any_price = job.row.ledger.exogenous_without_progress >= kEscalateAfter;
  for (const auto& [id, node] : nodes_) {
    if (!may_be_given_work(node)) continue;
    if (!node.row.tenant.empty() && node.row.tenant != job.row.tenant) continue;
    const std::int64_t slots = slots_on(job.row.needs, node.row.facts, any_price);
    if (slots > 0 && slots <= free_slots(node)) return;
  }
  for (const Provider& provider : providers_) {
    if (!could_offer(job.row.needs, provider.offers)) continue;
    if (plan_intent(provider, job.row.id, job.row.needs)) return;
  }
}

bool Core::plan_intent(const Provider& provider, const JobId& job_id, const Requirements& needs) {
  if (provider.name.empty() || timers_.armed(TimerKind::kProvider, provider.name)) return false;
  if (provider_load(provider) >= provider.max_nodes && fences_.on(Fence::kNodeCap)) return false;
  IntentRow intent;
  intent.key = new_key();
  intent.provider = provider.name;
  intent.job_id = job_id;
  intent.created_at = now_.wall;
  intent.updated_at = now_.wall;
  if (LiveJob* job = find_job(job_id)) job->intent = intent.key;
  ++provider_intents_[provider.name];
  timers_.arm(TimerKind::kBoot, intent.key, now_.mono + settings_.boot_deadline);
  if (fences_.on(Fence::kIntentFirst)) dirty_intents_[intent.key] = intent;
  out_.commands.emplace_back(CreateNode{intent.key, provider.name, needs});
  EventRow event;
  if (const LiveJob* job = find_job(job_id)) event.tenant = job->row.tenant;
  event.type = "node.provisioning";
  event.data_json = EventData()
                        .text("intent", intent.key)
                        .text("provider", provider.name)
                        .text("job_id", job_id.str())
                        .str();
  event.time = now_.wall;
  out_.events.push_back(std::move(event));
  intents_.emplace(intent.key, std::move(intent));
  return true;
}

void Core::keep_nodes() {
  for (const Provider& provider : providers_) {
    while (provider_load(provider) < std::min(provider.keep, provider.max_nodes)) {
      if (!plan_intent(provider, JobId(), provider.offers)) break;
    }
  }
}

void Core::on(const IntentSent& input) {
  const auto found = intents_.find(input.key);
  if (found == intents_.end()) return;
  const auto to = next(found->second.state, IntentEvent::kSent);
  if (!to) return;
  found->second.state = *to;
  found->second.updated_at = now_.wall;
  dirty_intents_[input.key] = found->second;
}

void Core::on(const IntentAnswered& input) {
  const auto found = intents_.find(input.key);
  const auto event = event_of_answer(input.state);
  if (found == intents_.end() || !event) return;
  const auto to = next(found->second.state, *event);
  if (!to) return;
  if (is_final(*to)) {
    const std::string provider = found->second.provider;
    intent_over(input.key, *to, input.message);
    const std::size_t refusals = provider_refusals_[provider]++;
    if (!settings_.backoff.empty()) {
      const Millis base = settings_.backoff[std::min(refusals, settings_.backoff.size() - 1)];
      const double wait = static_cast<double>(base.count()) * (0.5 + random_share() / 2);
      timers_.arm(TimerKind::kProvider, provider,
                  now_.mono + Millis{static_cast<std::int64_t>(wait)});
    }
    return;
  }
  provider_refusals_[found->second.provider] = 0;
  found->second.state = *to;
  found->second.message = input.message;
  found->second.updated_at = now_.wall;
  dirty_intents_[input.key] = found->second;
}

void Core::on(const IntentGone& input) {
  if (intents_.contains(input.key)) intent_over(input.key, IntentState::kDone, input.proof);
}

void Core::intent_over(const std::string& key, IntentState state, const std::string& message) {
  const auto found = intents_.find(key);
  IntentRow row = std::move(found->second);
  intents_.erase(found);
  timers_.disarm(TimerKind::kBoot, key);
  row.state = state;
  row.message = message;
  row.updated_at = now_.wall;
  --provider_intents_[row.provider];
  if (LiveJob* job = find_job(row.job_id); job != nullptr && job->intent == key) {
    job->intent.clear();
  }
  dirty_intents_[key] = std::move(row);
  intents_changed_ = true;
}

// It did not join in time. It counts until it is proved gone (I7).
void Core::boot_due(const std::string& key) {
  const auto found = intents_.find(key);
  if (found == intents_.end()) return;
  IntentRow& row = found->second;
  row.message = "The node did not join in time and is being given back.";
  row.updated_at = now_.wall;
  dirty_intents_[key] = row;
  out_.commands.emplace_back(ReleaseNode{"", key, row.provider});
  timers_.arm(TimerKind::kBoot, key, now_.mono + settings_.boot_deadline);
}

void Core::check_inventory() {
  if (!inventory_open_) return;
  if (inventory_heard_ * 100 >= inventory_total_ * 95) close_inventory();
}

void Core::close_inventory() {
  if (!std::exchange(inventory_open_, false)) return;
  timers_.disarm(TimerKind::kInventory, "");
  capacity_changed_ = true;
  intents_changed_ = true;
  // What the desired sets lack is from now on to be stopped.
  for (auto& [id, node] : nodes_) {
    touch(node);
    release_if_drained(node);
  }
}

}  // namespace ratchet::control
