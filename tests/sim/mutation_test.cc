// Whether the simulation would notice: every guard of both cores is switched off in turn, and some
// seed of a bounded set must then violate an invariant. A guard that nothing notices is a defect,
// of the guard or of the simulation.

#include <gtest/gtest.h>

#include <array>
#include <iostream>
#include <string>
#include <string_view>

#include "controlplane/core/fences.h"
#include "tests/sim/world.h"

namespace ratchet::sim {
namespace {

constexpr std::uint64_t kSeeds = 5000;

std::string first_violation(Options options) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    options.seed = seed;
    if (const auto violation = run_seed(options).violation) {
      return "seed " + std::to_string(seed) + ": " + violation->invariant;
    }
  }
  return {};
}

TEST(MutationTest, EveryFenceOfTheControlPlaneIsMissedWhenItIsOff) {
  for (const control::FenceInfo& info : control::all_fences()) {
    const std::string found = first_violation(Options{0, false, info.fence, {}});
    std::cout << "control " << info.name << ": " << (found.empty() ? "NOT NOTICED" : found)
              << std::endl;
    EXPECT_FALSE(found.empty()) << info.name << " (" << info.invariant
                                << ") can be switched off and nothing fails";
  }
}

TEST(MutationTest, EveryFenceOfTheAgentIsMissedWhenItIsOff) {
  using Fence = agent::AgentCore::Fence;
  struct Named {
    Fence fence;
    std::string_view name;
  };
  constexpr std::array kFences = std::to_array<Named>({
      {Fence::kEpochFloor, "epoch_floor"},
      {Fence::kSaveBeforeFork, "save_before_fork"},
      {Fence::kOldTrainerGone, "old_trainer_gone"},
      {Fence::kAuthority, "authority"},
      {Fence::kSyncRevives, "sync_revives"},
      {Fence::kSentTime, "sent_time"},
      {Fence::kAnswerOrder, "answer_order"},
      {Fence::kInventory, "inventory"},
      {Fence::kAbsent, "absent"},
      {Fence::kReportUntilAcked, "report_until_acked"},
      {Fence::kResultBeforeEnd, "result_before_end"},
      {Fence::kHardCap, "hard_cap"},
  });
  for (const Named& named : kFences) {
    const std::string found = first_violation(Options{0, false, {}, named.fence});
    std::cout << "agent " << named.name << ": " << (found.empty() ? "NOT NOTICED" : found)
              << std::endl;
    EXPECT_FALSE(found.empty()) << named.name << " can be switched off and nothing fails";
  }
}

}  // namespace
}  // namespace ratchet::sim
