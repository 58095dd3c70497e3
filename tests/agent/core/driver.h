#pragma once

// Drives one AgentCore by hand: remembers what it did and answers its calls.

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "agent/core/agent_core.h"

namespace ratchet::agent {

class Driver {
 public:
  explicit Driver(AgentSettings settings = {}) : core(std::move(settings)) {
    facts.slots = 1;
    facts.provider = "static";
  }

  void start(std::vector<RecoveredAttempt> attempts = {},
             std::map<JobId, std::int64_t> floor = {}) {
    Start start;
    start.incarnation = "i1";
    start.facts = facts;
    start.attempts = std::move(attempts);
    start.epoch_floor = std::move(floor);
    give(start);
    give(RecoveryDone{});
  }

  Outcome give(const Input& input) {
    Outcome outcome = core.handle(input, now);
    for (Save& save : outcome.saves) saves.push_back(save);
    for (Action& action : outcome.actions) actions.push_back(action);
    return outcome;
  }

  void pass(Millis time) {
    const Millis end = now + time;
    while (now < end) {
      now = std::min(end, core.next_timer(now).value_or(end));
      if (core.next_timer(now) == now || now == end) give(Tick{});
      now = std::max(now, std::min(end, now + Millis{1}));
    }
  }

  template <class T>
  std::vector<T> took() const {
    std::vector<T> out;
    for (const Action& action : actions) {
      if (const T* found = std::get_if<T>(&action)) out.push_back(*found);
    }
    return out;
  }
  template <class T>
  std::vector<T> saved() const {
    std::vector<T> out;
    for (const Save& save : saves) {
      if (const T* found = std::get_if<T>(&save)) out.push_back(*found);
    }
    return out;
  }
  void forget() {
    actions.clear();
    saves.clear();
  }

  void hello() {
    ASSERT_FALSE(took<SendHello>().empty());
    HelloResponse response;
    response.node_id = "n1";
    response.node_token = "secret";
    response.boot_id = "b1";
    give(HelloAnswered{took<SendHello>().back().call, response});
  }

  // Answers the newest sync.
  void answer(std::vector<DesiredAttempt> desired, bool inventory_open = false) {
    SyncResponse response = base();
    response.desired = std::move(desired);
    response.inventory_open = inventory_open;
    answer(response);
  }
  void answer(const SyncResponse& response) {
    ASSERT_FALSE(took<SendSync>().empty());
    give(SyncAnswered{took<SendSync>().back().call, response});
  }
  static SyncResponse base() {
    SyncResponse response;
    response.boot_id = "b1";
    response.contact_ttl = Millis{15000};
    response.authority_ttl = Millis{300000};
    return response;
  }

  static DesiredAttempt wish(std::int64_t epoch, std::int64_t attempt_no = 1) {
    DesiredAttempt desired;
    desired.job_id = JobId("job");
    desired.epoch = epoch;
    desired.attempt_no = attempt_no;
    return desired;
  }
  static AttemptKey key(std::int64_t epoch) { return {JobId("job"), epoch}; }

  // An attempt of this epoch that trains.
  void run(std::int64_t epoch) {
    answer({wish(epoch)});
    give(InputsPrepared{key(epoch)});
    give(TrainerStarted{key(epoch)});
    step(epoch, 1);
  }
  void line(std::int64_t epoch, EventBody body) {
    Event event;
    event.header.seq = ++seq;
    event.body = std::move(body);
    give(LineRead{key(epoch), seq, event});
  }
  void step(std::int64_t epoch, std::int64_t step) {
    StepEvent event;
    event.step = step;
    event.total_steps = 100;
    line(epoch, event);
  }
  void seal(std::int64_t epoch, std::int64_t step, const std::string& hash) {
    CheckpointEvent event;
    event.step = step;
    event.path = "c" + std::to_string(step);
    event.manifest_sha256 = hash;
    event.size = mebibytes(10);
    event.write_ms = 100;
    line(epoch, event);
  }

  AttemptReport report() const {
    const auto all = core.reports(now);
    EXPECT_EQ(all.size(), 1U);
    return all.empty() ? AttemptReport{} : all.front();
  }

  AgentCore core;
  NodeFacts facts;
  Millis now{1000};
  std::uint64_t seq = 0;
  std::vector<Action> actions;
  std::vector<Save> saves;
};

}  // namespace ratchet::agent
