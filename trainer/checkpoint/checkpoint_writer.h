#pragma once

// Writes one checkpoint and commits it. The order of system calls (README.md) is such that after a
// crash or a power loss at any point the folder either is a complete checkpoint or has no name that
// a reader looks at.

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "proto/result.h"
#include "trainer/checkpoint/content.h"
#include "trainer/checkpoint/file_system.h"

namespace ratchet::trainer {

// Points of a commit at which `at_point` is called, in order; those of a file come once a file,
// chunk_written once a chunk. Tests stop the process there.
inline constexpr std::string_view kCommitPoints[] = {
    "begin",
    "folder_made",
    "space_reserved",
    "chunk_written",
    "before_sync",
    "after_sync",
    "manifest_written",
    "manifest_synced",
    "manifest_named",
    "folder_synced",
    "step_named",
    "parent_synced",
    "journal_written",
    "latest_written",
    "retention_manifest_removed",
    "retention_done",
};

struct WriteOptions {
  // Past it the writer gives up: no checkpoint, no temporary folder, kUnavailable.
  std::optional<std::chrono::steady_clock::time_point> deadline;
  // A request to stop ends the same way.
  std::stop_token stop;
  // May be empty. Runs on the writing thread.
  std::function<void(std::string_view point)> at_point;
  std::string journal_reason;  // "interval", "signal", ...: for the journal only
};

struct CommittedCheckpoint {
  std::uint64_t step = 0;
  std::string path;
  std::string manifest_sha256;
  std::string tensors_digest;
  std::uint64_t bytes = 0;             // of all files
  std::chrono::microseconds write{0};  // first system call to committed, syncs included
  std::chrono::microseconds sync{0};   // part of `write` spent in fdatasync and fsync
  // Trouble after the commit (journal, LATEST): the checkpoint stands. Empty when none.
  std::string warning;
};

// Makes <job_dir>/ckpt when absent. A checkpoint of the same step is replaced in one atomic
// exchange; kFailedPrecondition when its epoch is higher than ours (another node has taken over).
// On any error the temporary folder is removed, nothing else has changed, and a later call starts
// afresh in a new folder: kNoSpace, kIo, kUnavailable (gave up), kInvalidArgument (content does not
// fit its layout).
Result<CommittedCheckpoint> write_checkpoint(FileSystem& fs, const std::string& job_dir,
                                             const CheckpointContent& content,
                                             const WriteOptions& options = {});

// Removes what writers that died left behind (.tmp-*), and returns their names. Only for the owner
// of the folder, before the first write.
Result<std::vector<std::string>> remove_leftovers(FileSystem& fs, const std::string& job_dir);

struct RetentionPolicy {
  std::uint64_t keep = 2;           // newest; at least 1
  std::uint64_t keep_every = 1000;  // and every step that is a multiple of this; 0 is none
  std::optional<std::uint64_t> best_step = {};
};

// Deletes what the policy does not keep, manifest first, and returns the steps. `committed` is a
// checkpoint known to be durable: it is never deleted, and neither is anything newer. Each deletion
// is a line in the journal.
Result<std::vector<std::uint64_t>> apply_retention(
    FileSystem& fs, const std::string& job_dir, std::uint64_t committed,
    const RetentionPolicy& policy, const std::function<void(std::string_view)>& at_point = {});

// Steps that retention would delete, pure. `steps` in any order.
std::vector<std::uint64_t> steps_to_delete(std::vector<std::uint64_t> steps,
                                           std::uint64_t committed, const RetentionPolicy& policy);

// After a resume from an older checkpoint by the user's choice: renames every newer one to
// ".aside-<name>.<random>", where no reader looks, and returns their steps. The user deletes them.
Result<std::vector<std::uint64_t>> set_aside_newer(FileSystem& fs, const std::string& job_dir,
                                                   std::uint64_t step);

}  // namespace ratchet::trainer
