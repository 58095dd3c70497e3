#include <algorithm>
#include <utility>

#include "controlplane/core/core.h"

namespace ratchet::control {

namespace {

Millis left_until(Millis deadline, Millis now) { return std::max(deadline - now, Millis{0}); }

}  // namespace

DesiredAttempt Core::desired(const LiveNode& node, const LiveJob& job, const LiveAttempt& attempt,
                             Now now) const {
  DesiredAttempt out;
  out.job_id = job.row.id;
  out.run_id = job.row.run_id;
  out.attempt_no = attempt.row.attempt_no;
  out.epoch = attempt.row.epoch;
  out.job_spec = job.row.spec_json;
  out.inputs = job.row.inputs;
  if (!attempt.row.resume.artifact_id.empty()) {
    out.resume = ResumeFrom{attempt.row.resume.step, attempt.row.resume.manifest_sha256,
                            attempt.row.resume.artifact_id};
  }
  const bool is_current =
      job.current == attempt.row.attempt_no && attempt.row.state != AttemptState::kEnded;
  if (is_terminal(job.row.phase)) {
    out.want = Want::kStop;
    out.deadline = settings_.stop_deadline;
  } else if (!is_current || (job.lost && job.row.phase != JobPhase::kRecovering)) {
    out.want = Want::kStop;
    out.stop_cause = EndCause::kSuperseded;
    out.deadline = settings_.stop_deadline;
  } else if (job.row.phase == JobPhase::kCancelling) {
    out.want = Want::kStop;
    out.deadline = left_until(job.stop_deadline, now.mono);
  } else if (job.row.phase == JobPhase::kPausing) {
    out.want = Want::kDrain;
    out.deadline = left_until(job.stop_deadline, now.mono);
  } else if (attempt.hangs) {
    out.want = Want::kStop;
    out.stop_cause = EndCause::kHang;
    out.deadline = settings_.stop_deadline;
  } else if (node.row.schedulable == Schedulable::kDraining && node.drain_deadline) {
    out.want = Want::kDrain;
    out.stop_cause = EndCause::kPreempted;
    out.deadline = left_until(*node.drain_deadline, now.mono);
  }
  return out;
}

SyncResponse Core::desired_for(const std::string& node_id, Now now) const {
  SyncResponse out;
  out.boot_id = boot_id_;
  out.contact_ttl = settings_.contact_ttl;
  out.authority_ttl = settings_.authority_ttl;
  out.inventory_open = inventory_open_;
  const auto found = nodes_.find(node_id);
  if (found == nodes_.end()) return out;
  const LiveNode& node = found->second;
  out.desired_rev = node.rev;
  if (!node.synced) {
    // Its agent may have lost what we would wish for, and would take it for new: first it tells.
    out.inventory_open = true;
    return out;
  }
  for (const auto& [job_id, number] : node.attempts) {
    const auto job = jobs_.find(job_id.str());
    if (job == jobs_.end()) continue;
    const auto attempt = job->second.attempts.find(number);
    if (attempt == job->second.attempts.end()) continue;
    out.desired.push_back(desired(node, job->second, attempt->second, now));
  }
  if (node.row.provider == ProviderState::kReleasing) {
    out.node_want = NodeWant::kRelease;
  } else if (node.row.schedulable == Schedulable::kDraining) {
    out.node_want = NodeWant::kDrain;
    out.node_deadline = left_until(node.drain_deadline.value_or(now.mono), now.mono);
  }
  out.simulate = node.simulate;
  return out;
}

std::int64_t Core::desired_rev(const std::string& node_id) const {
  const auto found = nodes_.find(node_id);
  return found == nodes_.end() ? 0 : found->second.rev;
}

const JobRow* Core::job(const JobId& id) const {
  const auto found = jobs_.find(id.str());
  return found == jobs_.end() ? nullptr : &found->second.row;
}

NodeView Core::view(const LiveNode& node, Now now) const {
  NodeView out;
  out.row = node.row;
  out.liveness = node.heard ? node.liveness : Liveness::kNeverSeen;
  out.silent_for = std::max(now.mono - node.last_contact, Millis{0});
  for (const auto& [job_id, number] : node.attempts) {
    const auto job = jobs_.find(job_id.str());
    const bool is_current = job != jobs_.end() && job->second.current == number;
    if (is_current && !job->second.lost) out.jobs.push_back(job_id);
  }
  out.free_slots = std::max<std::int64_t>(free_slots(node), 0);
  return out;
}

std::optional<NodeView> Core::node(const std::string& id, Now now) const {
  const auto found = nodes_.find(id);
  if (found == nodes_.end()) return std::nullopt;
  return view(found->second, now);
}

std::vector<NodeView> Core::nodes(Now now) const {
  std::vector<const LiveNode*> order;
  order.reserve(nodes_.size());
  for (const auto& [id, node] : nodes_) order.push_back(&node);
  std::ranges::sort(order,
                    [](const LiveNode* a, const LiveNode* b) { return a->row.id < b->row.id; });
  std::vector<NodeView> out;
  out.reserve(order.size());
  for (const LiveNode* node : order) out.push_back(view(*node, now));
  return out;
}

std::optional<Millis> Core::next_timer(Now now) const {
  std::optional<Millis> due = timers_.next();
  if (!later_.empty()) {
    const Millis wait = std::max(Millis{later_.begin()->first - now.wall}, Millis{0});
    due = std::min(due.value_or(now.mono + wait), now.mono + wait);
  }
  return due;
}

}  // namespace ratchet::control
