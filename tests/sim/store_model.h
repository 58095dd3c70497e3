#pragma once

// The durable store: rows and events of one outcome are applied at once, or not at all.

#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "controlplane/core/control_core.h"

namespace ratchet::sim {

using CheckpointKey = std::tuple<JobId, std::int64_t, std::int64_t>;  // job, epoch, step
using AttemptNumber = std::pair<JobId, std::int64_t>;

struct Tables {
  std::map<JobId, control::JobRow> jobs;
  std::map<AttemptNumber, control::AttemptRow> attempts;
  std::map<std::string, control::NodeRow> nodes;
  std::map<CheckpointKey, control::CheckpointRow> checkpoints;
  std::map<std::string, control::IntentRow> intents;
  std::map<AttemptNumber, control::InterruptionRow> interruptions;
  std::map<JobId, std::int64_t> last_event;
  std::map<std::tuple<JobId, std::int64_t, std::string>, std::vector<std::string>>
      lines;  // of an attempt on a node
  std::map<std::string, std::string> node_of_incarnation;
};

inline void apply(Tables& tables, const control::Outcome& outcome) {
  struct Put {
    Tables& t;
    void operator()(const control::JobRow& row) const { t.jobs[row.id] = row; }
    void operator()(const control::AttemptRow& row) const {
      t.attempts[{row.job_id, row.attempt_no}] = row;
    }
    void operator()(const control::NodeRow& row) const { t.nodes[row.id] = row; }
    void operator()(const control::CheckpointRow& row) const {
      t.checkpoints[{row.job_id, row.epoch, row.step}] = row;
    }
    void operator()(const control::IntentRow& row) const { t.intents[row.key] = row; }
    void operator()(const control::InterruptionRow& row) const {
      t.interruptions[{row.job_id, row.number}] = row;
    }
  };
  for (const control::Row& row : outcome.rows) std::visit(Put{tables}, row);
  for (const control::EventRow& event : outcome.events) {
    if (!event.job_id.empty()) tables.last_event[event.job_id] = event.seq;
  }
}

// What the store hands to a new core, as control_core.h asks for it.
inline control::LoadedRows load(const Tables& tables) {
  control::LoadedRows out;
  const auto is_live = [&](const JobId& id) {
    const auto found = tables.jobs.find(id);
    return found != tables.jobs.end() && !is_terminal(found->second.phase);
  };
  for (const auto& [id, row] : tables.jobs) {
    if (is_live(id)) out.jobs.push_back(row);
  }
  for (const auto& [key, row] : tables.attempts) {
    if (!is_live(key.first)) continue;
    const bool is_last = !tables.attempts.contains({key.first, key.second + 1});
    if (is_last || row.state != AttemptState::kEnded) out.attempts.push_back(row);
  }
  for (const auto& [id, row] : tables.nodes) {
    if (row.provider != ProviderState::kGone) out.nodes.push_back(row);
  }
  for (const auto& [key, row] : tables.checkpoints) {
    if (is_live(row.job_id) && row.state != CheckpointState::kRetired) {
      out.checkpoints.push_back(row);
    }
  }
  for (const auto& [key, row] : tables.intents) {
    if (row.state != IntentState::kDone) out.intents.push_back(row);
  }
  for (const auto& [key, row] : tables.interruptions) {
    const bool is_last = !tables.interruptions.contains({key.first, key.second + 1});
    if (is_live(key.first) && is_last) out.interruptions.push_back(row);
  }
  return out;
}

}  // namespace ratchet::sim
