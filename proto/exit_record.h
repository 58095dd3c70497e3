#pragma once

// How an attempt of the trainer ended, with evidence. A host OOM or a kill leaves no record: that
// verdict is the parent's.

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "proto/words.h"

namespace ratchet {

enum class ExitKind {
  kCompleted,    // the job's last step was done, or early stopping ended it; result exported
  kUserError,    // spec, flags, locked folder, refused resume
  kDataError,    // data set or model folder is faulty
  kOomGpu,       // device memory ran out
  kPreempted,    // told to stop (SIGTERM, Ctrl-C, stop request, --stop-at-step); state saved or not
  kGpuFault,     // the device or its driver failed
  kNonFinite,    // a loss or gradient was not finite
  kLossPlateau,  // training.loss_plateau fired
  kTimeout,      // training.timeout_s passed
  kInternal,     // a bug of ours, or a full or failing disk
};
std::span<const Word<ExitKind>> word_table(ExitKind);

// 0 completed, 3 preempted, 1 everything else. 2 (wrong usage) is the command line's.
int exit_code(ExitKind kind);

using EvidenceValue =
    std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>>;

struct ExitRecord {
  ExitKind kind = ExitKind::kInternal;
  std::string message;                            // full sentences for the user
  std::map<std::string, EvidenceValue> evidence;  // "sample_ids", "allocated_bytes", ...
  std::int64_t step = 0;                          // last complete step
  std::string stage;                              // word of the Stage in which it ended
  bool resumable = false;  // a valid checkpoint is in the output folder and going on makes sense
  bool operator==(const ExitRecord&) const = default;
};

}  // namespace ratchet
