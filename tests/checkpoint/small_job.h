#pragma once

// A job small enough to be checkpointed ten thousand times: three tensors with gaps between them,
// and a state for every step that is a function of the step alone.

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/checkpoint_writer.h"
#include "trainer/checkpoint/content.h"

namespace ratchet::trainer {

// Three arenas and views of them.
struct Arenas {
  explicit Arenas(const ArenaLayout& layout);
  std::vector<float> params, exp_avg, exp_avg_sq;
  [[nodiscard]] ArenaViews views() const { return {params, exp_avg, exp_avg_sq}; }
  [[nodiscard]] ArenaTargets targets() { return {params, exp_avg, exp_avg_sq}; }
  bool operator==(const Arenas&) const = default;
};

class SmallJob {
 public:
  // `scale` multiplies the first dimension of every tensor.
  explicit SmallJob(std::int64_t scale = 1);

  [[nodiscard]] const ArenaLayout& layout() const { return layout_; }
  [[nodiscard]] Arenas arenas_at(std::uint64_t step) const;
  [[nodiscard]] TrainerState state_at(std::uint64_t step) const;
  [[nodiscard]] ManifestHeader header() const;
  // Borrows `arenas`.
  [[nodiscard]] CheckpointContent content(std::uint64_t step, const Arenas& arenas) const;
  [[nodiscard]] Expectations expectations() const;

  Result<CommittedCheckpoint> save(FileSystem& fs, const std::string& job_dir, std::uint64_t step,
                                   const WriteOptions& options = {}) const;
  // load_newest() into fresh arenas; fails the test when what was loaded is not what was saved.
  [[nodiscard]] LoadReport load(FileSystem& fs, const std::string& job_dir) const;

 private:
  ArenaLayout layout_;
};

std::string step_path(const std::string& job_dir, std::uint64_t step);

// A new empty folder, removed with all that is in it at the end. In memory unless a disk is asked
// for: hundreds of tests sync thousands of files, and what a sync is worth is for
// power_loss_test.cc.
class TempFolder {
 public:
  enum class On { kMemory, kDisk };
  explicit TempFolder(On where = On::kMemory);
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string read_whole(const std::string& path);
void write_whole(const std::string& path, std::string_view bytes);

// The manifest of a folder again, with the hashes of the files as they are now: what a writer with
// a fault, not a damaged disk, would have left. `edit`, which may be empty, changes it before
// sealing.
void reseal(const std::string& folder, const std::function<void(Manifest&)>& edit = {});

}  // namespace ratchet::trainer
