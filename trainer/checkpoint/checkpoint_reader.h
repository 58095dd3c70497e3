#pragma once

// Reads checkpoints. Nothing is believed before it is checked; the rungs, in order:
//
//   V0 manifest: there, canonical, its own hash, step of the folder, hash the caller knows
//   V1 files: all there with their exact sizes, none besides, no links
//   V2 content: SHA-256 and XXH3 of every file, XXH3 of every 16 MiB
//   V3 tensors: safetensors rules; names, shapes and dtypes are those of the layout; tensors digest
//   V4 values: weights and moments finite, exp_avg_sq >= 0, counters agree with the manifest
//   V5 identity: base model, tokenizer, data set, template, locked settings
//   V6 environment: class A, B or C
//
// V0-V4 cost the checkpoint, and the one before is tried. V5 is the user's mistake, never repaired
// by an older checkpoint: the load is refused. V7 is tensors_digest() on what is on the GPU, V8 is
// witness.h. Peak memory: the caller's arenas and one 16 MiB chunk.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/events.h"
#include "proto/result.h"
#include "trainer/checkpoint/content.h"
#include "trainer/checkpoint/file_system.h"
#include "trainer/checkpoint/manifest.h"

namespace ratchet::trainer {

enum class Rung { kV0, kV1, kV2, kV3, kV4, kV5, kV6, kV7, kV8 };
std::string_view rung_name(Rung rung);  // "V0"

// What the job at hand is. Borrowed pointers outlive the call.
struct Expectations {
  WeightsKind kind = WeightsKind::kAdapter;
  const ArenaLayout* layout = nullptr;  // null: any tensors (inspect); V3 checks the file alone
  std::optional<Identity> identity;     // empty: V5 is skipped (inspect)
  std::string recipe;                   // canonical JobSpec text of now
  std::optional<EnvFingerprint> env;    // empty: V6 is skipped
  // SHA-256 of manifests by step, from another authority (a control plane's rows). A step that is
  // not in it is not compared.
  std::map<std::uint64_t, std::string> known_manifests;
  std::uint64_t newest_step = UINT64_MAX;  // checkpoints after this step are not looked at
};

// A checkpoint that passed V0-V4, its tensors not read into memory.
struct VerifiedCheckpoint {
  std::string path;
  Manifest manifest;
  std::string manifest_sha256;
  TrainerState state;
  std::string adapter_config;  // text; empty for method full
  WeightsKind kind = WeightsKind::kAdapter;
  std::uint64_t bytes = 0;
};

struct LoadedCheckpoint {
  VerifiedCheckpoint checkpoint;
  Exactness resume;                          // V6: of this resume alone
  std::vector<std::string> allowed_changes;  // settings that differ and may
};

struct LoadReport {
  std::optional<LoadedCheckpoint> loaded;    // empty: no valid checkpoint
  std::vector<RejectedCheckpoint> rejected;  // newest first, each with rung and reason
};

struct VerifyResult {
  std::optional<VerifiedCheckpoint> checkpoint;  // or
  RejectedCheckpoint rejected;
};

// Rungs V0-V4 of one folder.
VerifyResult verify_checkpoint(FileSystem& fs, const std::string& path, const Expectations& expect);

// The newest checkpoint of <job_dir>/ckpt that passes, read into `targets` (spans of
// expect.layout->arena_size floats; gaps between tensors are set to zero in `params`).
// `targets` is untouched when nothing is loaded, unspecified after an error.
// Errors: kFailedPrecondition (V5), kIo and kNoSpace never: a folder that cannot be read is
// rejected.
Result<LoadReport> load_newest(FileSystem& fs, const std::string& job_dir,
                               const Expectations& expect, const ArenaTargets& targets);

// This checkpoint or an error: kCorrupt with its rung, kNotFound, kFailedPrecondition (V5).
Result<LoadedCheckpoint> load_checkpoint(FileSystem& fs, const std::string& path,
                                         const Expectations& expect, const ArenaTargets& targets);

// Steps of the folders named step-*, newest first, valid or not. None when there is no such folder.
Result<std::vector<std::uint64_t>> list_steps(FileSystem& fs, const std::string& job_dir);

}  // namespace ratchet::trainer
