// The trainers of a node and what the agent does for them: inputs, lines, uploads.

#include <algorithm>

#include "tests/sim/checker.h"
#include "tests/sim/node_model.h"

namespace ratchet::sim {

void NodeModel::prepare(const DesiredAttempt& desired) {
  const agent::AttemptKey key{desired.job_id, desired.epoch};
  agent_later(world_.random.between(Millis{200}, Millis{2500}), [this, key, desired] {
    const bool reached = store_reachable || !desired.resume;
    if (!reached) {
      give(agent::InputsFailed{key, "the store cannot be reached"});
      return;
    }
    if (desired.resume) {
      const auto found = world_.artifacts.find(desired.resume->artifact_id);
      if (found == world_.artifacts.end() ||
          found->second.manifest != desired.resume->manifest_sha256 ||
          found->second.job_id != desired.job_id) {
        world_.fail("I3 head is in the store", "job " + desired.job_id.str() + " is to resume at " +
                                                   desired.resume->artifact_id +
                                                   ", which the store does not have so");
        return;
      }
    }
    give(agent::InputsPrepared{key});
  });
}

void NodeModel::start_trainer(const DesiredAttempt& desired) {
  const agent::AttemptKey key{desired.job_id, desired.epoch};
  world_.checker->on_start_trainer(*this, desired);
  if (world_.failed()) return;
  DiskAttempt& attempt = disk[key];
  const ModelJob& job = world_.jobs.at(desired.job_id);
  attempt.started = attempt.alive = true;
  attempt.parent_process = process_;
  attempt.state = job.seed;
  if (desired.resume) {
    const Artifact& from = world_.artifacts.at(desired.resume->artifact_id);
    attempt.step = from.step;
    attempt.state = from.state;
    attempt.parent_manifest = from.manifest;
  }
  world_.trace(name() + " starts trainer of " + key.job_id.str() + " e" +
               std::to_string(key.epoch) + " at step " + std::to_string(attempt.step));
  agent_later(world_.random.between(Millis{50}, Millis{400}),
              [this, key] { give(agent::TrainerStarted{key}); });
  later(world_.random.between(Millis{800}, Millis{4000}), [this, key] {
    DiskAttempt& mine = disk[key];
    if (!mine.alive) return;
    append(mine, StageEvent{Stage::kTraining, ""});
    if (mine.desired.resume) {
      ResumeEvent resumed;
      resumed.step = mine.step;
      append(mine, resumed);
    }
    trainer_step(key);
  });
}

void NodeModel::append(DiskAttempt& attempt, EventBody body) {
  Event event;
  event.header.seq = attempt.lines.size() + 1;
  event.header.job_id = attempt.desired.job_id;
  event.body = std::move(body);
  attempt.lines.push_back(std::move(event));
  const agent::AttemptKey key{attempt.desired.job_id, attempt.desired.epoch};
  agent_later(world_.random.between(Millis{20}, Millis{150}), [this, key] { read_lines(key); });
}

void NodeModel::read_lines(const agent::AttemptKey& key) {
  const auto found = disk.find(key);
  if (found == disk.end() || found->second.removed) return;
  std::size_t& at = read_to_[key];
  while (core_ && at < found->second.lines.size()) {
    const Event& event = found->second.lines[at];
    ++at;
    give(agent::LineRead{key, event.header.seq, event});
  }
  DiskAttempt& attempt = found->second;
  if (!core_ || attempt.alive || !attempt.started || exit_told_[key]) return;
  exit_told_[key] = true;
  // Only the process that had started it learns how it ended.
  give(agent::TrainerExited{
      key, attempt.parent_process == process_ ? attempt.facts : agent::ExitFacts{}});
}

void NodeModel::seal(DiskAttempt& attempt, CheckpointReason reason) {
  if (attempt.sealed_step == attempt.step || disk_full_) return;
  const JobId& job = attempt.desired.job_id;
  CheckpointEvent event;
  event.step = attempt.step;
  event.reason = reason;
  event.manifest_sha256 = job.str() + "-s" + std::to_string(attempt.step) + "-e" +
                          std::to_string(attempt.desired.epoch) + "-" + name();
  event.path = event.manifest_sha256;
  event.size = mebibytes(10);
  event.write_ms = 200;
  world_.parent_of[event.manifest_sha256] = attempt.parent_manifest;
  world_.state_of[event.manifest_sha256] = attempt.state;
  attempt.parent_manifest = event.manifest_sha256;
  attempt.sealed_step = attempt.step;
  append(attempt, event);
}

void NodeModel::end_trainer(DiskAttempt& attempt, agent::ExitFacts facts,
                            std::optional<ExitKind> kind) {
  if (kind) {
    ExitRecord record;
    record.kind = *kind;
    record.step = attempt.step;
    append(attempt, record);
  }
  world_.trace(name() + " trainer of " + attempt.desired.job_id.str() + " e" +
               std::to_string(attempt.desired.epoch) + " ends at step " +
               std::to_string(attempt.step));
  attempt.alive = false;
  attempt.facts = std::move(facts);
  const agent::AttemptKey key{attempt.desired.job_id, attempt.desired.epoch};
  agent_later(world_.random.between(Millis{160}, Millis{300}), [this, key] { read_lines(key); });
}

bool NodeModel::fault_due(DiskAttempt& attempt) {
  if (world_.quiet) return false;
  const ModelJob& job = world_.jobs.at(attempt.desired.job_id);
  for (const PlannedFault& fault : job.faults) {
    if (fault.attempt_no != attempt.desired.attempt_no || fault.step > attempt.step) continue;
    agent::ExitFacts facts;
    facts.exit_code = 1;
    switch (fault.kind) {
      case TrainerFault::kHang:
        world_.coverage.hit("fault", "trainer hangs");
        attempt.hung = true;
        return true;
      case TrainerFault::kOomHost:
        world_.coverage.hit("fault", "trainer runs out of host memory");
        end_trainer(attempt, agent::ExitFacts{{}, 9, {}, 1, true, {}, ""}, {});
        return true;
      case TrainerFault::kGpuFault:
        world_.coverage.hit("fault", "gpu fails");
        facts.xids = {79};
        end_trainer(attempt, facts, ExitKind::kGpuFault);
        return true;
      case TrainerFault::kInternal:
        world_.coverage.hit("fault", "trainer has a bug");
        end_trainer(attempt, facts, ExitKind::kInternal);
        return true;
      case TrainerFault::kUserError:
        world_.coverage.hit("fault", "settings are refused");
        end_trainer(attempt, facts, ExitKind::kUserError);
        return true;
      default:
        world_.coverage.hit("fault", "trainer dies silently");
        end_trainer(attempt, agent::ExitFacts{{}, 11, {}, 0, false, {}, ""}, {});
        return true;
    }
  }
  return false;
}

void NodeModel::trainer_step(const agent::AttemptKey& key) {
  DiskAttempt& attempt = disk[key];
  if (!attempt.alive || attempt.hung) return;
  judge_cap(key);
  const ModelJob& job = world_.jobs.at(key.job_id);
  if (attempt.leaving) {
    seal(attempt, CheckpointReason::kStop);
    agent::ExitFacts facts;
    facts.exit_code = 3;
    end_trainer(attempt, facts, ExitKind::kPreempted);
    return;
  }
  if (!attempt.paused && fault_due(attempt)) return;
  if (!attempt.paused && attempt.step < job.total) {
    ++attempt.step;
    attempt.state = chain_next(job, attempt.step, attempt.state);
    StepEvent event;
    event.step = attempt.step;
    event.total_steps = job.total;
    append(attempt, event);
    if (attempt.step % job.every == 0) seal(attempt, CheckpointReason::kInterval);
  }
  if (!attempt.paused && !disk_full_ && attempt.step >= job.total) {
    seal(attempt, CheckpointReason::kEnd);
    agent::ExitFacts facts;
    facts.exit_code = 0;
    end_trainer(attempt, facts, ExitKind::kCompleted);
    return;
  }
  later(job.step_time, [this, key] { trainer_step(key); });
}

void NodeModel::stop_trainer(const agent::AttemptKey& key, Millis deadline) {
  DiskAttempt& attempt = disk[key];
  if (!attempt.alive || attempt.hung) return;
  if (deadline > Millis{0}) attempt.leaving = true;
}

void NodeModel::kill_a_trainer() {
  for (auto& [key, attempt] : disk) {
    if (!attempt.alive) continue;
    end_trainer(attempt, agent::ExitFacts{{}, 9, {}, 0, false, {}, ""}, {});
    return;
  }
}

void NodeModel::upload(const agent::UploadCheckpoint& action) {
  if (world_.now > lease_until_) {
    world_.fail("authority guards publishing",
                name() + ": an upload of " + action.checkpoint.manifest_sha256 + " begins " +
                    std::to_string((world_.now - lease_until_).count()) +
                    " ms after the authority lease was over");
    return;
  }
  const std::uint64_t valid = uploads_valid_;
  const Millis took = world_.random.between(Millis{100}, Millis{4000});
  agent_later(took, [this, action, valid, took] {
    if (valid != uploads_valid_) return;
    const std::string& manifest = action.checkpoint.manifest_sha256;
    if (!store_reachable) {
      give(agent::UploadFailed{action.key, manifest, "the store cannot be reached"});
      return;
    }
    const std::string id = world_.store_artifact(Artifact{action.key.job_id, action.checkpoint.step,
                                                          world_.state_of.at(manifest), manifest});
    give(agent::CheckpointUploaded{action.key, manifest, id, mebibytes(10), took});
  });
}

void NodeModel::upload_result(const agent::UploadResult& action) {
  if (world_.now > lease_until_) {
    world_.fail("authority guards publishing",
                name() + ": the result of " + action.key.job_id.str() +
                    " is uploaded after the authority lease was over");
    return;
  }
  const std::uint64_t valid = uploads_valid_;
  agent_later(world_.random.between(Millis{100}, Millis{3000}), [this, action, valid] {
    if (valid != uploads_valid_) return;
    if (!store_reachable) {
      give(agent::UploadFailed{action.key, "", "the store cannot be reached"});
      return;
    }
    const DiskAttempt& attempt = disk[action.key];
    const std::string id = world_.store_artifact(Artifact{
        action.key.job_id, attempt.step, attempt.state,
        "result-" + action.key.job_id.str() + "-e" + std::to_string(action.key.epoch), true});
    give(agent::ResultUploaded{action.key, id});
  });
}

}  // namespace ratchet::sim
