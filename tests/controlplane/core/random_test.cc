// Random inputs in any order, among them nonsense: the harness checks every outcome (epochs, heads,
// ends, event numbers, intents), this test besides that no job is wished for twice, that nodes hold
// no more than they can, and that jobs left alone on sound nodes come to an end.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/controlplane/core/core_harness.h"

namespace ratchet::control {
namespace {

using std::chrono::seconds;

class RandomWorld {
 public:
  explicit RandomWorld(std::uint64_t seed)
      : random_(seed), world_(settings(), {provider()}, seed) {}

  void run(int inputs) {
    for (const char* node : {"a", "b", "c"}) join(node);
    for (const char* job : {"x", "y", "z"}) world_.submit(job, {}, pick(3));
    for (int i = 0; i < inputs && !::testing::Test::HasFailure(); ++i) {
      act();
      check();
    }
    settle();
  }

 private:
  static CoreSettings settings() {
    CoreSettings out;
    out.authority_ttl = seconds(60);
    out.backoff = {Millis{1000}, Millis{4000}};
    out.no_progress_limit = 1000;
    return out;
  }

  static ControlCore::Provider provider() {
    return {.name = "local", .max_nodes = 3, .proves_death = true, .offers = {}};
  }

  std::int64_t pick(std::int64_t limit) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(limit));
  }

  template <class Container>
  std::string any_key(const Container& container) {
    auto it = container.begin();
    std::advance(it, pick(static_cast<std::int64_t>(container.size())));
    return it->first;
  }

  void join(const std::string& node) {
    NodeFacts facts = pick(3) == 0 ? gpu_node(2) : cpu_node();
    facts.provider = pick(2) == 0 ? "local" : "static";
    world_.join(node, facts);
  }

  void act() {
    const std::string job = any_key(world_.jobs);
    const JobId job_id(job);
    if (world_.agents.empty()) join("n" + std::to_string(++joined_));
    const std::string node = any_key(world_.agents);
    auto& agent = world_.agents.at(node);
    switch (pick(24)) {
      case 0:
        world_.handle(PauseJob{job_id});
        return;
      case 1:
      case 2:
        world_.handle(ResumeJob{job_id});
        return;
      case 3:
        if (pick(10) == 0) world_.handle(CancelJob{job_id});
        return;
      case 4:
        world_.handle(DrainNode{node, seconds(pick(60)), "upkeep"});
        return;
      case 5:
      case 6:
        world_.handle(UndrainNode{node});
        return;
      case 7:
        world_.handle(SimulateReclaim{node, seconds(30)});
        return;
      case 8: {
        NoticeRequest notice;
        notice.node_id = node;
        notice.incarnation = agent.incarnation;
        notice.notice.event_id = std::to_string(pick(1000));
        notice.notice.kind = static_cast<NoticeKind>(pick(4));
        notice.notice.lead = seconds(pick(100) - 10);
        world_.handle(NoticeInput{notice});
        return;
      }
      case 9:
        if (pick(4) == 0) world_.gone(node);
        return;
      case 10:
        if (pick(4) == 0) world_.restart();
        return;
      case 11:
        if (pick(3) == 0) agent.reports.clear();
        world_.hello(node, "p" + std::to_string(pick(5)));
        return;
      case 12:
        if (pick(3) == 0) join("n" + std::to_string(++joined_));
        return;
      case 13:
        if (pick(3) == 0) world_.submit("j" + std::to_string(++submitted_), {}, pick(3));
        return;
      case 14:
        world_.pass(seconds(pick(80)));  // everybody is silent
        return;
      case 15:
        intents();
        return;
      default:
        world_.accept(node);
        if (!agent.reports.empty()) work(node, agent.reports);
        world_.pass(seconds(pick(3)));
    }
  }

  void intents() {
    if (world_.intents.empty()) return;
    const std::string key = any_key(world_.intents);
    switch (pick(4)) {
      case 0:
        world_.handle(IntentSent{key});
        return;
      case 1:
        world_.handle(IntentAnswered{key, static_cast<IntentState>(pick(7)), "said so"});
        return;
      case 2:
        world_.handle(IntentGone{key, "its process ended"});
        return;
      default: {
        NodeFacts facts = cpu_node();
        facts.provider = "local";
        world_.join("i" + std::to_string(++joined_), facts, key);
      }
    }
  }

  void work(const std::string& node, std::vector<AttemptReport>& reports) {
    AttemptReport& report =
        reports[static_cast<std::size_t>(pick(static_cast<std::int64_t>(reports.size())))];
    if (report.state == AttemptState::kEnded) return;
    const std::string job = report.job_id.str();
    switch (pick(12)) {
      case 0:
        world_.end(node, job, static_cast<EndCause>(pick(17)), "it so happened");
        return;
      case 1:
        if (report.step > 20) world_.end(node, job, EndCause::kCompleted);
        return;
      case 2:
        report.epoch += pick(3) - 1;  // a liar
        world_.sync(node);
        return;
      case 3:
      case 4:
        world_.seal(node, job, report.step + pick(3), pick(2) == 0 ? "" : "hash-1-3");
        return;
      default:
        world_.run_to(node, job, report.step + pick(4));
    }
  }

  void check() {
    std::map<std::string, int> wished;
    for (const NodeView& node : world_.core->nodes(world_.now())) {
      std::int64_t held = 0;
      for (const DesiredAttempt& one :
           world_.core->desired_for(node.row.id, world_.now()).desired) {
        const AttemptRow& row = world_.attempt(one.job_id.str(), one.attempt_no);
        if (one.want == Want::kRun) {
          ++wished[one.job_id.str()];
          EXPECT_NE(row.state, AttemptState::kEnded);
          EXPECT_EQ(one.epoch, world_.job(one.job_id.str()).epoch);
        }
        held += 1;
      }
      EXPECT_LE(held, std::max<std::int64_t>(node.row.facts.slots, 1)) << node.row.id;
    }
    for (const auto& [job, times] : wished) EXPECT_EQ(times, 1) << job;
    for (const auto& [job, row] : world_.jobs) {
      if (row.phase == JobPhase::kFailed) {
        ASSERT_TRUE(row.failure);
        EXPECT_FALSE(row.failure->next_step.empty() && row.failure->error_type != "inputs");
      }
      EXPECT_EQ(is_terminal(row.phase), row.ended_at.has_value()) << job;
    }
  }

  // From now on everything goes well, on a node that nothing has happened to.
  void settle() {
    NodeFacts facts = gpu_node(8);
    facts.provider = "static";
    world_.join("sound", facts);
    for (int round = 0; round < 400 && !all_over(); ++round) {
      for (const auto& [job, row] : std::map(world_.jobs)) world_.handle(ResumeJob{JobId(job)});
      for (auto& [node, agent] : world_.agents) {
        world_.accept(node);
        const SyncResponse wish = world_.core->desired_for(node, world_.now());
        for (AttemptReport& report : agent.reports) obey(report, wish);
        world_.sync(node);
      }
      world_.pass(seconds(1));
    }
    for (const auto& [job, row] : world_.jobs) {
      EXPECT_TRUE(is_terminal(row.phase)) << job << " is " << to_word(row.phase);
    }
  }

  static void obey(AttemptReport& report, const SyncResponse& wish) {
    const auto own = std::ranges::find_if(wish.desired, [&](const DesiredAttempt& one) {
      return one.job_id == report.job_id && one.attempt_no == report.attempt_no;
    });
    const bool goes_on = own != wish.desired.end() && own->want == Want::kRun;
    if (goes_on) report.epoch = own->epoch;
    report.state = AttemptState::kRunning;
    report.step += 10;
    if (goes_on && report.step < 50) return;
    report.state = AttemptState::kEnded;
    report.exit = AttemptExit{};
    report.exit->cause = goes_on                     ? EndCause::kCompleted
                         : own == wish.desired.end() ? EndCause::kSuperseded
                                                     : own->stop_cause;
    report.exit->result_artifact = goes_on ? "result" : "";
  }

  [[nodiscard]] bool all_over() const {
    return std::ranges::all_of(world_.jobs,
                               [](const auto& entry) { return is_terminal(entry.second.phase); });
  }

  std::mt19937_64 random_;
  CoreHarness world_;
  int joined_ = 0;
  int submitted_ = 0;
};

TEST(RandomInputs, KeepWhatIsPromised) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomWorld(seed).run(250);
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace ratchet::control
