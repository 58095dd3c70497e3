// Power loss (ALICE-style): a job saves, replaces, retains; the power fails after any call; a disk
// that keeps what was synced and any part of the rest is read again. The newest checkpoint whose
// commit had returned, or a newer one, is there with its exact bits, and no folder that a reader
// looks at is half a checkpoint. With a sync left out the same search must find a loss.

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/checkpoint/small_job.h"
#include "tests/support/simulated_disk.h"
#include "trainer/checkpoint/layout.h"

namespace ratchet::trainer {
namespace {

constexpr int kPrefixes = 10000;
constexpr int kMutantPrefixes = 2000;

// A history of saves, and which step was durable from which call on.
class History {
 public:
  explicit History(std::function<bool(const std::string&)> lying_sync = {}) {
    EXPECT_EQ(disk_.make_folder("/job"), 0);
    EXPECT_TRUE(sync_folder(disk_, "/"));
    disk_.lying_sync = std::move(lying_sync);
    start_ = disk_.now();
    for (const std::uint64_t step : {100U, 200U, 300U}) save(step);
    save(300);  // replaces
    save(400);
  }

  // One trial; empty when all invariants hold.
  std::string trial(std::mt19937_64& random) const {
    const std::size_t calls = start_ + random() % (disk_.now() - start_ + 1);
    const auto image = disk_.crash_image(calls, random);
    Arenas arenas(job_.layout());
    auto report = load_newest(*image, "/job", job_.expectations(), arenas.targets());
    const std::string at = " after call " + std::to_string(calls);
    if (!report) return report.error().message + at;
    if (!report->rejected.empty()) return report->rejected[0].reason + at;
    std::uint64_t durable = 0;
    for (const auto& [call, step] : committed_) {
      if (call <= calls) durable = step;
    }
    if (!report->loaded) return durable == 0 ? "" : "Nothing is left" + at;
    const Manifest& manifest = report->loaded->checkpoint.manifest;
    if (manifest.step < durable) return "A committed checkpoint is gone" + at;
    if (arenas != job_.arenas_at(manifest.step)) return "The bits are others" + at;
    return {};
  }

 private:
  void save(std::uint64_t step) {
    ASSERT_TRUE(job_.save(disk_, "/job", step));
    committed_[disk_.now()] = step;
    ASSERT_TRUE(apply_retention(disk_, "/job", step, {.keep = 2, .keep_every = 0}));
  }

  SmallJob job_;
  SimulatedDisk disk_;
  std::size_t start_ = 0;
  std::map<std::size_t, std::uint64_t> committed_;  // calls made, step
};

int losses(const History& history, int trials) {
  std::mt19937_64 random(20260131);
  int found = 0;
  for (int i = 0; i < trials; ++i) found += history.trial(random).empty() ? 0 : 1;
  return found;
}

TEST(PowerLoss, CommittedCheckpointsSurvive) {
  const History history;
  std::mt19937_64 random(1);
  for (int i = 0; i < kPrefixes; ++i) {
    const std::string fault = history.trial(random);
    ASSERT_EQ(fault, "") << "trial " << i;
  }
}

TEST(PowerLoss, WithoutSyncOfTheParentFolderAStepIsLost) {
  const History history([](const std::string& path) { return path == "/job/ckpt"; });
  EXPECT_GT(losses(history, kMutantPrefixes), 0);
}

TEST(PowerLoss, WithoutSyncOfTheStepFolderAStepIsLost) {
  const History history([](const std::string& path) {
    return path.find(".tmp-") != std::string::npos &&
           path.find('/', path.find(".tmp-")) == path.npos;
  });
  EXPECT_GT(losses(history, kMutantPrefixes), 0);
}

TEST(PowerLoss, WithoutSyncOfTheJobFolderAStepIsLost) {
  const History history([](const std::string& path) { return path == "/job"; });
  EXPECT_GT(losses(history, kMutantPrefixes), 0);
}

TEST(PowerLoss, WithoutSyncOfWeightsAStepIsLost) {
  const History history(
      [](const std::string& path) { return path.ends_with(kAdapterWeightsName); });
  EXPECT_GT(losses(history, kMutantPrefixes), 0);
}

TEST(PowerLoss, WithoutSyncOfTheManifestAStepIsLost) {
  const History history([](const std::string& path) { return path.ends_with(kManifestTmpName); });
  EXPECT_GT(losses(history, kMutantPrefixes), 0);
}

}  // namespace
}  // namespace ratchet::trainer
