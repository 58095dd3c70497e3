#include "tests/sim/checker.h"

#include <algorithm>
#include <utility>

#include "tests/sim/control_model.h"
#include "tests/sim/node_model.h"
#include "tests/sim/provider_model.h"

namespace ratchet::sim {

namespace {

template <class Map, class Key>
const typename Map::mapped_type* find(const Map& map, const Key& key) {
  const auto found = map.find(key);
  return found == map.end() ? nullptr : &found->second;
}

std::string word(auto value) { return std::string(to_word(value)); }

std::string named(const control::AttemptRow& row) {
  return row.job_id.str() + " attempt " + std::to_string(row.attempt_no) + " epoch " +
         std::to_string(row.epoch) + " on " + row.node_id;
}

bool is_final(IntentState state) {
  return state == IntentState::kDone || state == IntentState::kRefused ||
         state == IntentState::kAbsentConfirmed;
}

template <class RowType>
const RowType* row_of(const control::Row& row) {
  return std::get_if<RowType>(&row);
}

constexpr Millis kBreakerWindow{600000};

}  // namespace

void Checker::on_commit(const Tables& before, const control::Outcome& outcome) {
  if (outcome.rows.empty() && outcome.events.empty()) return;
  cover(before, outcome);
  i4_events(before, outcome);
  for (const control::Row& row : outcome.rows) {
    if (const auto* job = row_of<control::JobRow>(row)) {
      const control::JobRow* old = find(before.jobs, job->id);
      i1_epochs_grow(old, *job);
      i2_head_never_goes_back(old, *job);
      i3_head_is_committed(old, *job, before, outcome);
      i5_terminal_is_final(old, *job);
      i9_outside_is_free(before, old, *job, outcome);
    } else if (const auto* attempt = row_of<control::AttemptRow>(row)) {
      const control::AttemptRow* old =
          find(before.attempts, AttemptNumber{attempt->job_id, attempt->attempt_no});
      i1_old_epochs_change_nothing(before, old, *attempt);
      i5_ended_is_final(old, *attempt);
      if (old == nullptr) {
        i8b_authority(before, *attempt);
        slots(before, *attempt, outcome);
      }
    } else if (const auto* node = row_of<control::NodeRow>(row)) {
      i7_gone_by_proof(*node);
      i11_breaker(before, *node);
    } else if (const auto* checkpoint = row_of<control::CheckpointRow>(row)) {
      i3_checkpoints(before, *checkpoint, outcome);
    } else if (const auto* intent = row_of<control::IntentRow>(row)) {
      i6_node_cap(before, *intent, outcome);
    }
  }
  for (const control::EventRow& event : outcome.events) {
    i7_silence_is_no_proof(before, event, outcome);
  }
}

void Checker::i1_epochs_grow(const control::JobRow* before, const control::JobRow& after) {
  if (before != nullptr && after.epoch < before->epoch) {
    world_.fail("I1 epochs grow", after.id.str() + ": epoch " + std::to_string(before->epoch) +
                                      " became " + std::to_string(after.epoch));
  }
}

void Checker::i1_old_epochs_change_nothing(const Tables& before, const control::AttemptRow* old,
                                           const control::AttemptRow& row) {
  for (const auto& [key, other] : before.attempts) {
    if (key.first == row.job_id && key.second != row.attempt_no && other.epoch == row.epoch) {
      world_.fail("I1 one attempt an epoch", named(row) + " has the epoch of " + named(other));
    }
  }
  if (old == nullptr) return;
  if (row.epoch < old->epoch) {
    world_.fail("I1 epochs grow", named(*old) + " became " + named(row));
  }
  // An attempt may end and have its successor in one commit: the epoch before it counts.
  const std::int64_t job_epoch = before.jobs.at(row.job_id).epoch;
  if (old->epoch != row.epoch || row.epoch >= job_epoch) return;
  if (row.step != old->step || row.resume != old->resume ||
      row.first_step_at.has_value() != old->first_step_at.has_value() ||
      (row.state != old->state && row.state != AttemptState::kEnded)) {
    world_.fail("I1 old epochs change nothing",
                named(row) + " is below the job's epoch " + std::to_string(job_epoch) +
                    " and went from " + word(old->state) + " step " + std::to_string(old->step) +
                    " to " + word(row.state) + " step " + std::to_string(row.step));
  }
}

void Checker::i2_head_never_goes_back(const control::JobRow* before, const control::JobRow& after) {
  if (before == nullptr) return;
  const bool same_step_other_content = after.head.step == before->head.step &&
                                       after.head != before->head &&
                                       !before->head.artifact_id.empty();
  if (after.head.step < before->head.step || same_step_other_content) {
    world_.fail("I2 the head never goes back",
                after.id.str() + ": from step " + std::to_string(before->head.step) + " (" +
                    before->head.manifest_sha256 + ") to " + std::to_string(after.head.step) +
                    " (" + after.head.manifest_sha256 + ")");
  }
}

void Checker::i3_head_is_committed(const control::JobRow* before, const control::JobRow& after,
                                   const Tables& tables, const control::Outcome& outcome) {
  if (before == nullptr || after.head == before->head) return;
  const Artifact* artifact = find(world_.artifacts, after.head.artifact_id);
  if (artifact == nullptr || artifact->manifest != after.head.manifest_sha256 ||
      artifact->step != after.head.step || artifact->job_id != after.id) {
    world_.fail("I3 head is in the store", after.id.str() + ": the head is step " +
                                               std::to_string(after.head.step) + ", artifact '" +
                                               after.head.artifact_id + "'");
    return;
  }
  const control::CheckpointRow* row = nullptr;
  const auto consider = [&](const control::CheckpointRow& candidate) {
    if (candidate.job_id == after.id && candidate.step == after.head.step &&
        candidate.manifest_sha256 == after.head.manifest_sha256) {
      row = &candidate;
    }
  };
  for (const auto& [key, candidate] : tables.checkpoints) consider(candidate);
  for (const control::Row& candidate : outcome.rows) {
    if (const auto* one = row_of<control::CheckpointRow>(candidate)) consider(*one);
  }
  const bool on_line = row != nullptr && (row->state == CheckpointState::kCommitted ||
                                          row->state == CheckpointState::kAdopted);
  if (!on_line) {
    world_.fail("I3 head is committed",
                after.id.str() + ": no committed checkpoint stands behind the head at step " +
                    std::to_string(after.head.step));
    return;
  }
  if (row->state == CheckpointState::kCommitted && row->epoch != before->epoch &&
      row->epoch != after.epoch) {
    world_.fail("I3 only the current epoch commits",
                after.id.str() + ": step " + std::to_string(row->step) + " of epoch " +
                    std::to_string(row->epoch) + " moved the head, the job's epoch is " +
                    std::to_string(before->epoch));
  }
  if (row->state == CheckpointState::kAdopted && !before->head.artifact_id.empty()) {
    std::string manifest = row->manifest_sha256;
    while (!manifest.empty() && manifest != before->head.manifest_sha256) {
      manifest = world_.parent_of[manifest];
    }
    if (manifest.empty()) {
      world_.fail("I3 adopted checkpoints descend from the head",
                  after.id.str() + ": " + row->manifest_sha256 + " was not trained from " +
                      before->head.manifest_sha256);
    }
  }
}

void Checker::i3_checkpoints(const Tables& before, const control::CheckpointRow& row,
                             const control::Outcome& outcome) {
  const control::CheckpointRow* old =
      find(before.checkpoints, CheckpointKey{row.job_id, row.epoch, row.step});
  if (old != nullptr && old->manifest_sha256 != row.manifest_sha256) {
    world_.fail("I3 same epoch and step, same contents",
                row.job_id.str() + " epoch " + std::to_string(row.epoch) + " step " +
                    std::to_string(row.step) + ": " + old->manifest_sha256 + " became " +
                    row.manifest_sha256);
  }
  if (row.state != CheckpointState::kCommitted || old != nullptr) return;
  std::int64_t epoch = before.jobs.at(row.job_id).epoch;
  for (const control::Row& other : outcome.rows) {
    const auto* job = row_of<control::JobRow>(other);
    if (job != nullptr && job->id == row.job_id) epoch = std::max(epoch, job->epoch);
  }
  if (row.epoch < before.jobs.at(row.job_id).epoch) {
    world_.fail("I3 only the current epoch commits",
                row.job_id.str() + ": step " + std::to_string(row.step) + " of epoch " +
                    std::to_string(row.epoch) + " was committed, the job's epoch is " +
                    std::to_string(epoch));
  }
}

void Checker::i4_events(const Tables& before, const control::Outcome& outcome) {
  std::map<JobId, std::int64_t> last;
  for (const control::EventRow& event : outcome.events) {
    if (event.job_id.empty()) continue;
    auto [at, is_new] = last.try_emplace(event.job_id, 0);
    if (is_new) {
      const std::int64_t* known = find(before.last_event, event.job_id);
      at->second = known == nullptr ? 0 : *known;
    }
    if (event.seq != at->second + 1) {
      world_.fail("I4 events have no gap", event.job_id.str() + ": event " +
                                               std::to_string(event.seq) + " follows " +
                                               std::to_string(at->second));
    }
    at->second = event.seq;
  }
  for (const control::Row& row : outcome.rows) {
    const auto* job = row_of<control::JobRow>(row);
    if (job == nullptr) continue;
    const control::JobRow* old = find(before.jobs, job->id);
    const auto told = last.find(job->id);
    const std::int64_t* known = find(before.last_event, job->id);
    const std::int64_t expected =
        told != last.end() ? told->second : (known == nullptr ? 0 : *known);
    if (job->event_seq != expected) {
      world_.fail("I4 events commit with their change",
                  job->id.str() + ": the row counts " + std::to_string(job->event_seq) +
                      " events, there are " + std::to_string(expected));
    }
    if (old != nullptr && old->phase != job->phase && told == last.end()) {
      world_.fail("I4 every change has its event", job->id.str() + " went from " +
                                                       word(old->phase) + " to " +
                                                       word(job->phase) + " without one");
    }
  }
}

void Checker::i5_terminal_is_final(const control::JobRow* before, const control::JobRow& after) {
  if (before == nullptr || !is_terminal(before->phase)) return;
  if (after.phase != before->phase || after.head != before->head ||
      after.result_artifact != before->result_artifact || after.failure != before->failure ||
      after.epoch != before->epoch) {
    world_.fail("I5 a terminal job is final", after.id.str() + " was " + word(before->phase) +
                                                  " and changed (now " + word(after.phase) + ")");
  }
}

void Checker::i5_ended_is_final(const control::AttemptRow* before,
                                const control::AttemptRow& after) {
  if (before == nullptr || before->state != AttemptState::kEnded) return;
  if (after.state != AttemptState::kEnded || after.cause != before->cause ||
      after.ended_at != before->ended_at || after.step != before->step) {
    world_.fail("I5 an ended attempt is final", named(after) + " changed after its end");
  }
}

void Checker::i6_node_cap(const Tables& before, const control::IntentRow& row,
                          const control::Outcome& outcome) {
  if (before.intents.contains(row.key)) return;
  Tables after;
  after.nodes = before.nodes;
  after.intents = before.intents;
  for (const control::Row& other : outcome.rows) {
    if (const auto* node = row_of<control::NodeRow>(other)) after.nodes[node->id] = *node;
    if (const auto* intent = row_of<control::IntentRow>(other))
      after.intents[intent->key] = *intent;
  }
  std::int64_t load = 0;
  for (const auto& [key, intent] : after.intents) {
    if (intent.provider == row.provider && !is_final(intent.state)) ++load;
  }
  for (const auto& [id, node] : after.nodes) {
    const bool leaving = node.notice && node.schedulable == Schedulable::kDraining;
    const bool retired = node.schedulable == Schedulable::kRetired;
    if (node.facts.provider == row.provider && node.provider != ProviderState::kGone && !leaving &&
        !retired) {
      ++load;
    }
  }
  const std::int64_t limit = world_.provider->provider().max_nodes;
  if (load > limit) {
    world_.fail("I6 no more nodes than allowed", std::to_string(load) + " nodes and intents at '" +
                                                     row.provider + "', the limit is " +
                                                     std::to_string(limit));
  }
}

void Checker::on_create(const Tables& tables, const control::CreateNode& command) {
  const control::IntentRow* intent = find(tables.intents, command.intent_key);
  if (intent == nullptr || is_final(intent->state)) {
    world_.fail("I6 intents come first",
                "a node is asked for under " + command.intent_key + ", which is not stored");
  }
}

void Checker::i7_gone_by_proof(const control::NodeRow& row) {
  if (row.provider != ProviderState::kGone) return;
  const NodeModel* node = world_.node_by_id(row.id);
  if (row.gone_proof.empty() || (node != nullptr && !node->gone())) {
    world_.fail("I7 gone by proof", "node " + row.id + " is called gone, and it runs");
  }
}

// Nodes whose provider proves death are lost by that proof, not by silence.
void Checker::i7_silence_is_no_proof(const Tables& before, const control::EventRow& event,
                                     const control::Outcome& outcome) {
  if (event.type != "job.recovering" || event.cause != "node_lost") return;
  const control::AttemptRow* row = nullptr;
  for (const auto& [key, candidate] : before.attempts) {
    if (key.first == event.job_id && candidate.state != AttemptState::kEnded) row = &candidate;
  }
  if (row == nullptr) return;
  for (const control::Row& changed : outcome.rows) {
    const auto* attempt = row_of<control::AttemptRow>(changed);
    const bool same = attempt != nullptr && attempt->job_id == row->job_id &&
                      attempt->attempt_no == row->attempt_no;
    if (same && attempt->state == AttemptState::kEnded) return;
  }
  const control::NodeRow* node = find(before.nodes, row->node_id);
  if (node != nullptr && node->facts.provider == world_.provider->provider().name) {
    world_.fail("I7 silence is no proof",
                named(*row) + " was given up for silence, though its provider can prove a death");
  }
}

void Checker::i8b_authority(const Tables& before, const control::AttemptRow& row) {
  if (restored_) return;
  for (const auto& [key, old] : before.attempts) {
    if (key.first != row.job_id || key.second == row.attempt_no || !old.accepted_at) continue;
    // One that had not stepped gives way to an earlier one that comes back (re-grant).
    if (old.cause == EndCause::kSuperseded) continue;
    const NodeModel* node = world_.node_by_id(old.node_id);
    if (node == nullptr || !node->holds_with_authority(key.first, key.second)) continue;
    world_.fail("I8b no new epoch under a live authority lease",
                named(row) + " is offered while " + named(old) + " runs with authority");
  }
}

void Checker::i9_outside_is_free(const Tables& before, const control::JobRow* old,
                                 const control::JobRow& row, const control::Outcome& outcome) {
  if (old == nullptr) return;
  if (row.failure && !old->failure) {
    const auto cause = from_word<EndCause>(row.failure->error_type);
    if (cause && is_exogenous(*cause)) {
      world_.fail("I9 causes from outside fail no job",
                  row.id.str() + " failed by " + row.failure->error_type);
    }
  }
  if (row.ledger.without_progress <= old->ledger.without_progress) return;
  for (const control::Row& changed : outcome.rows) {
    const auto* attempt = row_of<control::AttemptRow>(changed);
    if (attempt == nullptr || attempt->job_id != row.id || !attempt->cause) continue;
    const control::AttemptRow* was =
        find(before.attempts, AttemptNumber{attempt->job_id, attempt->attempt_no});
    const bool ended_now = was == nullptr || was->state != AttemptState::kEnded;
    if (ended_now && !is_exogenous(*attempt->cause)) return;
  }
  world_.fail("I9 causes from outside spend no budget",
              row.id.str() + ": a failure was charged, and no attempt ended by its own fault");
}

// I10: everything that decides later is in the rows.
void Checker::on_memory(const Tables& tables, const control::ControlCore& core) {
  for (const auto& [id, row] : tables.jobs) {
    const control::JobRow* live = core.job(id);
    if (live == nullptr) continue;
    if (live->ledger != row.ledger || live->backoff_until != row.backoff_until ||
        live->phase != row.phase || live->head != row.head || live->epoch != row.epoch ||
        live->event_seq != row.event_seq) {
      world_.fail("I10 budgets and backoff are durable", id.str() + ": memory and store differ (" +
                                                             word(live->phase) + ", " +
                                                             word(row.phase) + ")");
    }
  }
}

void Checker::i11_breaker(const Tables& before, const control::NodeRow& row) {
  if (row.schedulable != Schedulable::kQuarantined) return;
  const control::NodeRow* old = find(before.nodes, row.id);
  if (old != nullptr && old->schedulable == Schedulable::kQuarantined) return;
  if (!row.facts.preflight.passed) return;  // it never was in the pool
  while (!quarantines_.empty() && world_.now - quarantines_.front() > kBreakerWindow) {
    quarantines_.pop_front();
  }
  quarantines_.push_back(world_.now);
  std::size_t pool = 0;
  for (const auto& [id, node] : before.nodes) pool += node.provider != ProviderState::kGone;
  if (quarantines_.size() > std::max<std::size_t>(1, pool / 5) + restarts_) {
    world_.fail("I11 quarantine takes few nodes", std::to_string(quarantines_.size()) + " of " +
                                                      std::to_string(pool) +
                                                      " nodes were quarantined in ten minutes");
  }
}

// I12: whatever was lost before, one answer says all that a node is to run.
void Checker::on_answer(const Tables& tables, const std::string& node_id,
                        const SyncResponse& response) {
  for (const auto& [id, job] : tables.jobs) {
    const bool runs = job.phase == JobPhase::kStarting || job.phase == JobPhase::kRunning;
    if (!runs) continue;
    const auto row = std::ranges::find_if(tables.attempts, [&](const auto& entry) {
      return entry.first.first == id && entry.second.epoch == job.epoch &&
             entry.second.state != AttemptState::kEnded;
    });
    if (row == tables.attempts.end() || row->second.node_id != node_id) continue;
    const bool told = std::ranges::any_of(response.desired, [&](const DesiredAttempt& wish) {
      return wish.job_id == id && wish.attempt_no == row->second.attempt_no &&
             wish.epoch == row->second.epoch;
    });
    if (!told && !response.inventory_open) {
      world_.fail("I12 desired state is whole",
                  named(row->second) + " is current and the answer to its node lacks it");
    }
  }
}

void Checker::slots(const Tables& before, const control::AttemptRow& row,
                    const control::Outcome& outcome) {
  std::map<AttemptNumber, bool> open{{{row.job_id, row.attempt_no}, true}};
  for (const auto& [key, other] : before.attempts) {
    if (other.node_id == row.node_id) open[key] = other.state != AttemptState::kEnded;
  }
  for (const control::Row& changed : outcome.rows) {
    const auto* other = row_of<control::AttemptRow>(changed);
    if (other != nullptr && other->node_id == row.node_id) {
      open[{other->job_id, other->attempt_no}] = other->state != AttemptState::kEnded;
    }
  }
  const control::NodeRow* node = find(before.nodes, row.node_id);
  std::int64_t held = 0;
  for (const auto& [key, is_open] : open) held += is_open ? 1 : 0;
  if (node != nullptr && held > node->facts.slots) {
    world_.fail("I1 no device is given twice", row.node_id + " has " +
                                                   std::to_string(node->facts.slots) +
                                                   " slots and is given " + std::to_string(held));
  }
}

// At most one trainer is ever started for a job under one epoch, after its epoch was durable, and
// never beside another one of the job on the same node.
void Checker::on_start_trainer(const NodeModel& node, const DesiredAttempt& desired) {
  const std::string what =
      desired.job_id.str() + " epoch " + std::to_string(desired.epoch) + " on " + node.name();
  const auto saved = node.disk.find({desired.job_id, desired.epoch});
  if (saved == node.disk.end() || saved->second.desired.epoch != desired.epoch) {
    world_.fail("the epoch is durable before the trainer starts", what + " is not on the disk");
    return;
  }
  // After a restore, a start that was decided by the lost store is known to nobody, too.
  const Tables& tables = world_.control->tables;
  const auto row = tables.attempts.find({desired.job_id, desired.attempt_no});
  const bool known = row != tables.attempts.end() && row->second.epoch == desired.epoch &&
                     row->second.node_id == node.node_id;
  if (restored_ && !known) return;
  if (!started_.emplace(desired.job_id, desired.epoch).second) {
    world_.fail("I1 one trainer an epoch", what + " was started before");
  }
  if (node.trains(desired.job_id)) {
    world_.fail("one trainer of a job on a node", what + " starts beside an older one");
  }
  if (node.live_trainers() >= static_cast<std::size_t>(node.facts().slots)) {
    world_.fail("I1 no device is given twice", what + " starts on a node without a free slot");
  }
}

// An old copy learns only the epochs that a node it knows still tells of: what was acknowledged, or
// was when the process died, and nodes that joined later, are known to nobody.
void Checker::forget_history(const Tables& tables) {
  restored_ = true;
  started_.clear();
  for (const auto& node : world_.nodes) {
    if (!tables.nodes.contains(node->node_id)) continue;
    for (const auto& [key, attempt] : node->disk) {
      if (attempt.alive) started_.emplace(key.job_id, key.epoch);
    }
  }
}

void Checker::on_lines(const std::vector<std::string>& stored, std::uint64_t seq,
                       const std::string& line) {
  if (!restored_ && seq <= stored.size() && stored[seq - 1] != line) {
    world_.fail("lines are stored once", "line " + line + " differs from " + stored[seq - 1]);
  }
}

// What a node forgets, the control plane has taken down.
void Checker::on_removed(const Tables& tables, const JobId& job, std::int64_t attempt_no) {
  const control::JobRow* row = find(tables.jobs, job);
  const control::AttemptRow* attempt = find(tables.attempts, AttemptNumber{job, attempt_no});
  if (restored_ || row == nullptr || is_terminal(row->phase) || attempt == nullptr) return;
  if (attempt->state != AttemptState::kEnded) {
    world_.fail("ends are told before they are forgotten",
                named(*attempt) + " is " + word(attempt->state) + " in the store");
  }
}

}  // namespace ratchet::sim
