// What must hold once faults are over and everything came to rest; and what was covered on the way.

#include <algorithm>

#include "tests/sim/checker.h"
#include "tests/sim/control_model.h"
#include "tests/sim/node_model.h"

namespace ratchet::sim {

namespace {

template <class State>
std::string move(const State* from, State to) {
  return (from == nullptr ? std::string("-") : std::string(to_word(*from))) + " > " +
         std::string(to_word(to));
}

template <class Map, class Key, class RowType, class Member>
void cover_row(Coverage& coverage, const char* kind, const Map& map, const Key& key,
               const RowType& row, Member member) {
  const auto found = map.find(key);
  const bool known = found != map.end();
  if (known && found->second.*member == row.*member) return;
  coverage.hit(kind, move(known ? &(found->second.*member) : nullptr, row.*member));
}

}  // namespace

void Checker::cover(const Tables& before, const control::Outcome& outcome) {
  Coverage& c = world_.coverage;
  for (const control::Row& row : outcome.rows) {
    if (const auto* job = std::get_if<control::JobRow>(&row)) {
      cover_row(c, "job", before.jobs, job->id, *job, &control::JobRow::phase);
    } else if (const auto* attempt = std::get_if<control::AttemptRow>(&row)) {
      const AttemptNumber key{attempt->job_id, attempt->attempt_no};
      cover_row(c, "attempt", before.attempts, key, *attempt, &control::AttemptRow::state);
      const auto old = before.attempts.find(key);
      const bool had = old != before.attempts.end() && old->second.cause.has_value();
      if (attempt->cause && !had) c.hit("cause", std::string(to_word(*attempt->cause)));
    } else if (const auto* node = std::get_if<control::NodeRow>(&row)) {
      cover_row(c, "node", before.nodes, node->id, *node, &control::NodeRow::schedulable);
      cover_row(c, "machine", before.nodes, node->id, *node, &control::NodeRow::provider);
    } else if (const auto* checkpoint = std::get_if<control::CheckpointRow>(&row)) {
      const CheckpointKey key{checkpoint->job_id, checkpoint->epoch, checkpoint->step};
      cover_row(c, "checkpoint", before.checkpoints, key, *checkpoint,
                &control::CheckpointRow::state);
    } else if (const auto* intent = std::get_if<control::IntentRow>(&row)) {
      cover_row(c, "intent", before.intents, intent->key, *intent, &control::IntentRow::state);
    }
  }
  for (const control::EventRow& event : outcome.events) c.hit("event", event.type);
}

void Checker::at_rest(const Tables& tables) {
  for (const auto& [id, job] : tables.jobs) {
    if (!is_terminal(job.phase) && job.phase != JobPhase::kPaused) {
      world_.fail("every job comes to rest",
                  id.str() + " is still " + std::string(to_word(job.phase)) + " at step " +
                      std::to_string(job.step) + ", epoch " + std::to_string(job.epoch));
      return;
    }
    if (job.phase != JobPhase::kSucceeded) continue;
    const ModelJob& model = world_.jobs.at(id);
    const auto result = world_.artifacts.find(job.result_artifact);
    const std::uint64_t undisturbed = chain_at(model, model.total);
    if (result == world_.artifacts.end() || result->second.state != undisturbed) {
      world_.fail("a finished job has the undisturbed result",
                  id.str() + ": its result '" + job.result_artifact + "' is missing or differs");
    }
    // After a restore the last checkpoint may have been settled with the store that was lost.
    if (restored_) continue;
    const auto head = world_.artifacts.find(job.head.artifact_id);
    if (job.head.step != model.total || head == world_.artifacts.end() ||
        head->second.state != undisturbed) {
      world_.fail("a finished job has the undisturbed result",
                  id.str() + ": its head is at step " + std::to_string(job.head.step) + " of " +
                      std::to_string(model.total) + ", or differs");
    }
  }
  for (const auto& node : world_.nodes) {
    for (const auto& [key, attempt] : node->disk) {
      if (attempt.alive) {
        world_.fail("nothing runs that nobody wants", node->name() + " still trains " +
                                                          key.job_id.str() + " epoch " +
                                                          std::to_string(key.epoch));
        return;
      }
      // A node that was given back takes what it had not told with it.
      if (restored_ || !node->agent_alive() || !attempt.started) continue;
      const auto lines = tables.lines.find({key.job_id, attempt.desired.attempt_no, node->node_id});
      const std::size_t stored = lines == tables.lines.end() ? 0 : lines->second.size();
      if (stored != attempt.lines.size()) {
        world_.fail("no line of a trainer is lost",
                    node->name() + ", " + key.job_id.str() + " epoch " + std::to_string(key.epoch) +
                        ": " + std::to_string(attempt.lines.size()) + " lines written, " +
                        std::to_string(stored) + " stored");
        return;
      }
    }
  }
}

}  // namespace ratchet::sim
