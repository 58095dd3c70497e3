// Scheduler, recovery budgets and cost: pure functions against rules and random inputs.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "controlplane/core/cost.h"
#include "controlplane/core/recovery_policy.h"
#include "controlplane/core/scheduler.h"
#include "tests/controlplane/core/core_harness.h"

namespace ratchet::control {
namespace {

JobRow job_of(const std::string& id, Requirements needs = {}, std::int64_t priority = 0,
              std::int64_t created = 0) {
  JobRow row;
  row.id = JobId(id);
  row.tenant = "t";
  row.needs = std::move(needs);
  row.priority = priority;
  row.created_at = UnixMillis{created};
  return row;
}

Requirements of_kind(DeviceKind kind, std::int64_t count = 1) {
  Requirements needs;
  needs.kind = kind;
  needs.count = count;
  return needs;
}

Requirements of_type(const std::string& gpu_type) {
  Requirements needs;
  needs.gpu_type = gpu_type;
  return needs;
}

Requirements of_memory(Bytes memory) {
  Requirements needs;
  needs.gpu_memory = memory;
  return needs;
}

Requirements of_price(PriceClass price) {
  Requirements needs;
  needs.price = price;
  return needs;
}

NodeRow node_of(const std::string& id, NodeFacts facts) {
  NodeRow row;
  row.id = id;
  row.tenant = "t";
  row.facts = std::move(facts);
  return row;
}

TEST(Scheduler, FitsTypeCountMemoryAndPrice) {
  const NodeFacts gpus = gpu_node(4);
  EXPECT_EQ(slots_on({}, cpu_node(), false), 1);
  EXPECT_EQ(slots_on(of_kind(DeviceKind::kCuda), cpu_node(), false), 0);
  EXPECT_EQ(slots_on(of_kind(DeviceKind::kCuda, 4), gpus, false), 4);
  EXPECT_EQ(slots_on(of_kind(DeviceKind::kCuda, 5), gpus, false), 0);
  EXPECT_EQ(slots_on(of_type("h100"), gpus, false), 1);
  EXPECT_EQ(slots_on(of_type("h100"), cpu_node(), false), 0);
  EXPECT_EQ(slots_on(of_type("A100"), gpus, false), 0);
  EXPECT_EQ(slots_on(of_memory(gibibytes(81)), gpus, false), 0);
  EXPECT_EQ(slots_on(of_kind(DeviceKind::kCpu, 2), gpus, false), 1);
  NodeFacts spot = gpus;
  spot.price = NodePrice::kSpot;
  NodeFacts on_demand = gpus;
  on_demand.price = NodePrice::kOnDemand;
  EXPECT_EQ(slots_on(of_price(PriceClass::kSpot), spot, false), 1);
  EXPECT_EQ(slots_on(of_price(PriceClass::kSpot), on_demand, false), 0);
  EXPECT_EQ(slots_on(of_price(PriceClass::kSpot), on_demand, true), 1);
  EXPECT_EQ(slots_on(of_price(PriceClass::kOnDemand), spot, false), 0);
  EXPECT_EQ(slots_on(of_price(PriceClass::kOnDemand), gpus, false), 1);  // owned
}

TEST(Scheduler, PrefersPriorityThenAgeAndSkipsWhatFitsNowhere) {
  const JobRow young = job_of("young", {}, 0, 20);
  const JobRow old = job_of("old", {}, 0, 10);
  const JobRow urgent = job_of("urgent", {}, 5, 30);
  const JobRow huge = job_of("huge", of_kind(DeviceKind::kCuda, 64), 9, 1);
  const std::vector<JobAsk> asks{{&young}, {&old}, {&urgent}, {&huge}};
  const NodeRow a = node_of("a", cpu_node());
  const NodeRow b = node_of("b", cpu_node());
  const std::vector<NodeOffer> nodes{{&a, 1, true}, {&b, 1, true}};
  const auto out = schedule(asks, nodes, {});
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(asks[out[0].job].job->id.str(), "urgent");
  EXPECT_EQ(asks[out[1].job].job->id.str(), "old");
  EXPECT_NE(out[0].node, out[1].node);
}

TEST(Scheduler, AvoidsNodesUnlessThereIsNoOther) {
  JobRow job = job_of("j");
  job.avoid_nodes = {"a"};
  const std::vector<JobAsk> asks{{&job}};
  const NodeRow a = node_of("a", cpu_node());
  const NodeRow b = node_of("b", cpu_node());
  const std::vector<NodeOffer> both{{&a, 1, true}, {&b, 1, true}};
  EXPECT_EQ(schedule(asks, both, {})[0].node, 1u);
  const std::vector<NodeOffer> other_is_busy{{&a, 1, true}, {&b, 0, false}};
  EXPECT_TRUE(schedule(asks, other_is_busy, {}).empty());
  const std::vector<NodeOffer> alone{{&a, 1, true}};
  EXPECT_EQ(schedule(asks, alone, {}).size(), 1u);
}

TEST(Scheduler, PrefersGpusIdleNodesAndOwnedOnes) {
  const JobRow job = job_of("j");
  const std::vector<JobAsk> asks{{&job}};
  const NodeRow cpu = node_of("a", cpu_node());
  const NodeRow gpu = node_of("b", gpu_node(2));
  const std::vector<NodeOffer> kinds{{&cpu, 1, true}, {&gpu, 1, false}};
  EXPECT_EQ(schedule(asks, kinds, {})[0].node, 1u);
  const NodeRow busy = node_of("c", gpu_node(2));
  const std::vector<NodeOffer> idle{{&busy, 1, false}, {&gpu, 2, true}};
  EXPECT_EQ(schedule(asks, idle, {})[0].node, 1u);
  NodeFacts rented = gpu_node(2);
  rented.price = NodePrice::kSpot;
  const NodeRow spot = node_of("0", rented);
  const std::vector<NodeOffer> owned{{&spot, 2, true}, {&gpu, 2, true}};
  EXPECT_EQ(schedule(asks, owned, {})[0].node, 1u);
}

TEST(Scheduler, HoldsForRandomInputs) {
  std::mt19937_64 random(20261121);
  const auto pick = [&](std::int64_t limit) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(limit));
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<JobRow> jobs;
    for (std::int64_t i = pick(30); i >= 0; --i) {
      Requirements needs = of_kind(static_cast<DeviceKind>(pick(3)), 1 + pick(4));
      if (pick(4) == 0) needs.gpu_type = "H100";
      needs.price = static_cast<PriceClass>(pick(2));
      JobRow job = job_of("j" + std::to_string(i), needs, pick(3), pick(100));
      job.tenant = pick(3) == 0 ? "u" : "t";
      if (pick(3) == 0) job.avoid_nodes = {"n0", "n1"};
      jobs.push_back(std::move(job));
    }
    std::vector<NodeRow> nodes;
    for (std::int64_t i = pick(8); i >= 0; --i) {
      NodeFacts facts =
          pick(2) == 0 ? cpu_node()
                       : gpu_node(1 + static_cast<int>(pick(8)), pick(2) == 0 ? "H100" : "A100");
      facts.price = static_cast<NodePrice>(pick(3));
      nodes.push_back(node_of("n" + std::to_string(i), facts));
      nodes.back().tenant = pick(4) == 0 ? "" : pick(3) == 0 ? "u" : "t";
    }
    std::vector<JobAsk> asks;
    for (const JobRow& job : jobs) asks.push_back({&job, pick(5) == 0});
    std::vector<NodeOffer> offers;
    for (const NodeRow& node : nodes) {
      const std::int64_t free = pick(node.facts.slots + 1);
      offers.push_back({&node, free, free == node.facts.slots});
    }
    Quota quota{.slots_each = pick(3) == 0 ? 0 : 1 + pick(6), .held = {{"t", pick(3)}}};
    const auto out = schedule(asks, offers, quota);
    std::map<std::size_t, std::int64_t> used;
    std::map<std::string, std::int64_t> held = quota.held;
    std::set<std::size_t> placed;
    for (const Assignment& one : out) {
      const JobRow& job = *asks[one.job].job;
      const NodeRow& node = *offers[one.node].node;
      EXPECT_TRUE(placed.insert(one.job).second);
      EXPECT_GT(one.slots, 0);
      EXPECT_EQ(one.slots, slots_on(job.needs, node.facts, asks[one.job].any_price));
      EXPECT_TRUE(node.tenant.empty() || node.tenant == job.tenant);
      used[one.node] += one.slots;
      held[job.tenant] += one.slots;
    }
    for (const auto& [node, slots] : used) EXPECT_LE(slots, offers[node].free_slots);
    if (quota.slots_each > 0) {
      for (const auto& [tenant, slots] : held) {
        EXPECT_LE(slots, std::max(quota.slots_each, quota.held[tenant]));
      }
    }
    // Work-conserving: what was left out fits nowhere in what is left over.
    for (std::size_t i = 0; i < asks.size(); ++i) {
      const JobRow& job = *asks[i].job;
      if (placed.contains(i) || !job.avoid_nodes.empty() || quota.slots_each > 0) continue;
      for (std::size_t n = 0; n < offers.size(); ++n) {
        const NodeRow& node = *offers[n].node;
        const std::int64_t slots = slots_on(job.needs, node.facts, asks[i].any_price);
        const bool mine = node.tenant.empty() || node.tenant == job.tenant;
        EXPECT_FALSE(mine && slots > 0 && slots <= offers[n].free_slots - used[n]);
      }
    }
    // The same inputs in another order give the same places.
    std::vector<JobAsk> reversed(asks.rbegin(), asks.rend());
    const auto again = schedule(reversed, offers, quota);
    EXPECT_EQ(again.size(), out.size());
  }
}

RecoveryPlan plan(EndCause cause, const Ledger& ledger, double jitter = 0.5) {
  RecoveryAsk ask;
  ask.cause = cause;
  ask.ledger = ledger;
  ask.jitter = jitter;
  CoreSettings settings;
  settings.no_progress_limit = 1000;  // tested on its own
  return plan_recovery(ask, settings, FenceSet());
}

TEST(RecoveryPolicy, EachCauseHasItsOwnBudget) {
  const std::map<EndCause, std::int64_t> budgets{
      {EndCause::kUserError, 0},   {EndCause::kDataError, 0}, {EndCause::kNonFinite, 0},
      {EndCause::kLossPlateau, 0}, {EndCause::kTimeout, 0},   {EndCause::kOomGpu, 0},
      {EndCause::kOomHost, 0},     {EndCause::kGpuFault, 3},  {EndCause::kHang, 2},
      {EndCause::kInternal, 1},    {EndCause::kUnknown, 3}};
  for (const auto& [cause, budget] : budgets) {
    EXPECT_FALSE(is_exogenous(cause)) << to_word(cause);
    Ledger ledger;
    ledger.ends[EndCause::kHang] = cause == EndCause::kHang ? 0 : 100;  // of another budget
    for (std::int64_t i = 0; i < budget; ++i) {
      const RecoveryPlan one = plan(cause, ledger);
      EXPECT_EQ(one.verdict, Verdict::kRetry) << to_word(cause) << " " << i;
      ledger = one.ledger;
    }
    const Verdict last = plan(cause, ledger).verdict;
    EXPECT_EQ(last, budget == 0 ? Verdict::kNoRetry : Verdict::kBudgetSpent) << to_word(cause);
    const Failure failure = make_failure(cause, last, "", 4);
    EXPECT_EQ(failure.error_type, to_word(cause));
    EXPECT_GT(failure.message.size(), 20u);
    EXPECT_GT(failure.next_step.size(), 20u);
  }
}

TEST(RecoveryPolicy, CausesFromOutsideAreFree) {
  Ledger ledger;
  for (int i = 0; i < 50; ++i) {
    for (const EndCause cause : {EndCause::kPreempted, EndCause::kNodeLost, EndCause::kDeclined,
                                 EndCause::kControlError}) {
      EXPECT_TRUE(is_exogenous(cause));
      const RecoveryPlan one = plan(cause, ledger);
      EXPECT_EQ(one.verdict, Verdict::kRetry);
      EXPECT_EQ(one.ledger.without_progress, 0);
      ledger = one.ledger;
    }
  }
}

TEST(RecoveryPolicy, BacksOffWithJitterButNotTheFirstTimeFromOutside) {
  Ledger ledger;
  EXPECT_EQ(plan(EndCause::kNodeLost, ledger).backoff, Millis{0});
  ledger = plan(EndCause::kNodeLost, ledger).ledger;
  const std::vector<std::int64_t> bases{5000, 15000, 45000, 120000, 300000, 300000};
  for (const std::int64_t base : bases) {
    EXPECT_EQ(plan(EndCause::kNodeLost, ledger, 0.0).backoff, Millis{0});
    const RecoveryPlan one = plan(EndCause::kNodeLost, ledger, 0.5);
    EXPECT_EQ(one.backoff, Millis{base / 2});
    ledger = one.ledger;
  }
  EXPECT_EQ(plan(EndCause::kHang, Ledger{}, 0.5).backoff, Millis{2500});
  EXPECT_EQ(with_progress(ledger).backoff_index, 0);
}

TEST(RecoveryPolicy, StopsWithoutProgress) {
  RecoveryAsk ask;
  ask.cause = EndCause::kUnknown;
  ask.ledger.without_progress = 2;
  const CoreSettings settings;
  RecoveryPlan out = plan_recovery(ask, settings, FenceSet());
  EXPECT_EQ(out.verdict, Verdict::kNoProgress);
  EXPECT_EQ(make_failure(ask.cause, out.verdict, "", 3).error_type, "no_progress");
  ask.ledger = with_progress(ask.ledger);
  EXPECT_EQ(plan_recovery(ask, settings, FenceSet()).verdict, Verdict::kRetry);
}

TEST(RecoveryPolicy, FaultyNodesAreAvoided) {
  EXPECT_TRUE(plan(EndCause::kGpuFault, {}).avoid_node);
  EXPECT_TRUE(plan(EndCause::kGpuFault, {}).quarantine_node);
  RecoveryAsk ask;
  ask.cause = EndCause::kUnknown;
  EXPECT_FALSE(plan_recovery(ask, {}, FenceSet()).avoid_node);
  ask.unexplained_here = 1;
  EXPECT_TRUE(plan_recovery(ask, {}, FenceSet()).avoid_node);
}

TEST(Cost, IsExactAndSplit) {
  AttemptRow first;
  first.attempt_no = 1;
  first.usd_per_hour = 3.6;  // a tenth of a cent a second
  first.accepted_at = UnixMillis{1000};
  first.first_step_at = UnixMillis{5000};
  first.ended_at = UnixMillis{61000};
  AttemptRow second = first;
  second.attempt_no = 2;
  second.usd_per_hour = 7.2;
  second.accepted_at = UnixMillis{70000};
  second.first_step_at = UnixMillis{80000};
  second.ended_at.reset();
  AttemptRow declined;
  declined.attempt_no = 3;
  declined.usd_per_hour = 1000;
  const std::vector<AttemptRow> rows{first, second, declined};
  const Cost cost = cost_of(rows, UnixMillis{100000});
  EXPECT_DOUBLE_EQ(cost.training_s, 60 + 20);
  EXPECT_DOUBLE_EQ(cost.overhead_s, 10);
  EXPECT_DOUBLE_EQ(cost.training_usd, 0.060 + 0.040);
  EXPECT_DOUBLE_EQ(cost.overhead_usd, 0.020);
  EXPECT_DOUBLE_EQ(cost.usd, 0.120);
  EXPECT_DOUBLE_EQ(cost.usd_per_hour, 7.2);
}

TEST(Cost, AResumedAttemptWithoutANewStepIsAllOverhead) {
  AttemptRow row;
  row.attempt_no = 2;
  row.usd_per_hour = 3600;
  row.accepted_at = UnixMillis{0};
  row.ended_at = UnixMillis{1500};
  const Cost cost = cost_of(std::vector{row}, UnixMillis{99999});
  EXPECT_DOUBLE_EQ(cost.overhead_s, 1.5);
  EXPECT_DOUBLE_EQ(cost.overhead_usd, 1.5);
  EXPECT_DOUBLE_EQ(cost.training_s, 0);
  EXPECT_DOUBLE_EQ(cost.usd_per_hour, 0);
}

TEST(Cost, ClockSetBackCostsNothing) {
  AttemptRow row;
  row.attempt_no = 1;
  row.usd_per_hour = 10;
  row.accepted_at = UnixMillis{5000};
  row.ended_at = UnixMillis{1000};
  EXPECT_DOUBLE_EQ(cost_of(std::vector{row}, UnixMillis{0}).usd, 0);
}

}  // namespace
}  // namespace ratchet::control
