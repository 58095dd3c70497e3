#include <algorithm>
#include <utility>

#include "controlplane/core/core.h"

namespace ratchet::control {

LiveJob* Core::find_job(const JobId& id) {
  const auto found = jobs_.find(id.str());
  return found == jobs_.end() ? nullptr : &found->second;
}

LiveNode* Core::find_node(const std::string& id) {
  const auto found = nodes_.find(id);
  return found == nodes_.end() ? nullptr : &found->second;
}

LiveJob* Core::require_job(const JobId& id) {
  LiveJob* job = find_job(id);
  if (job == nullptr) {
    reject("job_not_found", "There is no job " + id.str() + " that could still change.");
  }
  return job;
}

LiveNode* Core::require_node(const std::string& id) {
  LiveNode* node = find_node(id);
  if (node == nullptr) reject("node_not_found", "There is no node " + id + ".");
  return node;
}

LiveAttempt* Core::current(LiveJob& job) {
  const auto found = job.attempts.find(job.current);
  return found == job.attempts.end() ? nullptr : &found->second;
}

void Core::reject(std::string code, std::string message) {
  out_.rejection = Rejection{std::move(code), std::move(message)};
}

void Core::save(LiveJob& job) {
  job.row.updated_at = now_.wall;
  dirty_jobs_.insert(job.row.id.str());
}

void Core::save(LiveJob& job, const LiveAttempt& attempt) {
  dirty_attempts_.emplace(job.row.id.str(), attempt.row.attempt_no);
}

void Core::save(LiveNode& node) { dirty_nodes_.insert(node.row.id); }

void Core::emit(LiveJob& job, std::string_view type, const EventData& data,
                std::string_view cause) {
  EventRow event;
  event.job_id = job.row.id;
  event.seq = ++job.row.event_seq;
  event.tenant = job.row.tenant;
  event.type = type;
  event.attempt_no = job.row.attempts;
  event.epoch = job.row.epoch;
  event.step = job.row.step;
  event.cause = cause;
  event.data_json = data.str();
  event.time = now_.wall;
  out_.events.push_back(std::move(event));
  save(job);
}

void Core::emit_attempt(LiveJob& job, const LiveAttempt& attempt, std::string_view type,
                        const EventData& data, std::string_view cause) {
  emit(job, type, data, cause);
  EventRow& event = out_.events.back();
  event.attempt_no = attempt.row.attempt_no;
  event.epoch = attempt.row.epoch;
  event.step = attempt.row.step;
}

void Core::emit_node(const LiveNode& node, std::string_view type, EventData data) {
  data.text("node_id", node.row.id).text("name", node.row.facts.name);
  EventRow event;
  event.tenant = node.row.tenant;
  event.type = type;
  event.data_json = data.str();
  event.time = now_.wall;
  out_.events.push_back(std::move(event));
}

void Core::touch(LiveNode& node) {
  ++node.rev;
  if (std::ranges::find(out_.wake, node.row.id) == out_.wake.end()) {
    out_.wake.push_back(node.row.id);
  }
}

void Core::touch(LiveJob& job) {
  for (auto& [number, attempt] : job.attempts) {
    LiveNode* node = attempt.may_live ? find_node(attempt.row.node_id) : nullptr;
    if (node == nullptr) continue;
    touch(*node);
    attempt.asked_rev = node->rev;
  }
}

void Core::collect_rows() {
  for (const std::string& id : dirty_jobs_) out_.rows.emplace_back(jobs_.at(id).row);
  for (const auto& [id, number] : dirty_attempts_) {
    out_.rows.emplace_back(jobs_.at(id).attempts.at(number).row);
  }
  for (const std::string& id : dirty_interruptions_) {
    out_.rows.emplace_back(*jobs_.at(id).interruption);
  }
  for (auto& [key, row] : dirty_checkpoints_) out_.rows.emplace_back(std::move(row));
  for (auto& [key, row] : dirty_intents_) out_.rows.emplace_back(std::move(row));
  for (const std::string& id : dirty_nodes_) out_.rows.emplace_back(nodes_.at(id).row);
  dirty_jobs_.clear();
  dirty_attempts_.clear();
  dirty_interruptions_.clear();
  dirty_checkpoints_.clear();
  dirty_intents_.clear();
  dirty_nodes_.clear();
  for (const auto& [id, number] : forget_attempts_) jobs_.at(id).attempts.erase(number);
  for (const std::string& id : forget_jobs_) jobs_.erase(id);
  for (const std::string& id : forget_nodes_) nodes_.erase(id);
  forget_attempts_.clear();
  forget_jobs_.clear();
  forget_nodes_.clear();
}

double Core::random_share() { return std::uniform_real_distribution<double>(0.0, 1.0)(random_); }

std::string Core::new_key() {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string key;
  for (std::uint64_t bits = keys_(), i = 0; i < 16; ++i, bits >>= 4) key += kHex[bits & 15];
  return key;
}

}  // namespace ratchet::control
