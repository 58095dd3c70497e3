#pragma once

// Rungs V0 to V4 on one folder, each file read once from front to back. Internal to this folder.
//
// Rung V3 has two halves: the files' own rules, and the table of the job's layout. The second is
// asked after V5, so that a changed rank is refused by its name and not as a broken checkpoint.

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/content.h"
#include "trainer/checkpoint/file_system.h"
#include "trainer/model/digest.h"
#include "trainer/model/safetensors.h"

namespace ratchet::trainer {

// What went wrong, at which rung.
struct Fault {
  Rung rung = Rung::kV0;
  std::string reason;
};

// A folder that passed V0 to V4, V3 without the table.
struct CheckedFolder {
  VerifiedCheckpoint checkpoint;
  SafetensorsHeader weights;
  SafetensorsHeader optimizer;
};

std::variant<CheckedFolder, Fault> inspect_folder(
    FileSystem& fs, const std::string& path,
    const std::map<std::uint64_t, std::string>& known_manifests);

// The second half of V3; empty when all is as the layout says.
std::optional<Fault> compare_layout(const CheckedFolder& inspection, WeightsKind kind,
                                    const ArenaLayout& layout);

// Reads and parses the header of an open safetensors file of `bytes` bytes.
Result<SafetensorsHeader> read_tensor_header(File& file, std::uint64_t bytes);

// Follows the bytes of a safetensors file: digests each tensor and looks at its values.
class TensorScan {
 public:
  explicit TensorScan(const SafetensorsHeader& header);
  // Chunks in order, without a gap, from the first byte of the file on; each but the last a
  // multiple of 8 bytes long.
  void take(std::span<const std::byte> chunk, std::uint64_t offset);
  // After the last chunk.
  void finish(TensorsDigest& digest);

  // First fault of the values, empty when all are finite and no exp_avg_sq is negative.
  [[nodiscard]] const std::string& fault() const { return fault_; }
  [[nodiscard]] std::int64_t step() const { return step_; }  // of the step tensor; -1 without one

 private:
  void scan(const StoredTensor& tensor, std::uint64_t at, std::span<const std::byte> bytes);

  const SafetensorsHeader& header_;
  std::size_t current_ = 0;
  Xxh3 hash_;
  std::vector<std::string> hashes_;
  std::string fault_;
  std::int64_t step_ = -1;
};

}  // namespace ratchet::trainer
