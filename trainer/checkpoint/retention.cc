#include <algorithm>
#include <cerrno>
#include <utility>

#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/checkpoint_writer.h"
#include "trainer/checkpoint/journal.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/checkpoint/names.h"

namespace ratchet::trainer {

Result<std::vector<std::uint64_t>> list_steps(FileSystem& fs, const std::string& job_dir) {
  auto entries = list_folder(fs, checkpoint_root(job_dir));
  if (!entries && entries.error().code == Code::kNotFound) return std::vector<std::uint64_t>{};
  if (!entries) return entries.error();
  std::vector<std::uint64_t> steps;
  for (const auto& entry : *entries) {
    if (entry.kind != FileSystem::Kind::kFolder) continue;
    if (const auto step = step_of_folder_name(entry.name)) steps.push_back(*step);
  }
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

Result<std::vector<std::string>> remove_leftovers(FileSystem& fs, const std::string& job_dir) {
  const std::string root = checkpoint_root(job_dir);
  std::vector<std::string> removed;
  auto entries = list_folder(fs, root);
  if (!entries && entries.error().code == Code::kNotFound) return removed;
  if (!entries) return entries.error();
  for (const auto& entry : *entries) {
    if (entry.kind != FileSystem::Kind::kFolder || !entry.name.starts_with(kTmpPrefix)) continue;
    if (auto status = remove_tree(fs, join_path(root, entry.name)); !status) return status.error();
    removed.push_back(entry.name);
  }
  return removed;
}

std::vector<std::uint64_t> steps_to_delete(std::vector<std::uint64_t> steps,
                                           std::uint64_t committed, const RetentionPolicy& policy) {
  std::sort(steps.rbegin(), steps.rend());
  const std::uint64_t keep = std::max<std::uint64_t>(policy.keep, 1);
  std::vector<std::uint64_t> deleted;
  std::uint64_t kept = 0;
  for (const std::uint64_t step : steps) {
    // What is newer than the newest known good one is of an abandoned or damaged line: not ours to
    // judge, and no replacement for an older good one.
    if (step > committed) continue;
    const bool multiple = policy.keep_every != 0 && step % policy.keep_every == 0 && step != 0;
    if (kept < keep) {
      ++kept;
    } else if (!multiple && step != policy.best_step) {
      deleted.push_back(step);
    }
  }
  return deleted;
}

namespace {

// The manifest goes first and durably: a power loss in the middle leaves a folder that is no
// checkpoint, not one that lacks files.
Status delete_checkpoint(FileSystem& fs, const std::string& path,
                         const std::function<void(std::string_view)>& at_point) {
  const int rc = fs.remove(join_path(path, kManifestName), FileSystem::Kind::kFile);
  if (rc < 0 && rc != -ENOENT) return file_error("Could not delete the manifest of", path, -rc);
  if (auto status = sync_folder(fs, path); !status) return status;
  if (at_point) at_point("retention_manifest_removed");
  return remove_tree(fs, path);
}

}  // namespace

Result<std::vector<std::uint64_t>> apply_retention(
    FileSystem& fs, const std::string& job_dir, std::uint64_t committed,
    const RetentionPolicy& policy, const std::function<void(std::string_view)>& at_point) {
  auto steps = list_steps(fs, job_dir);
  if (!steps) return steps.error();
  if (std::find(steps->begin(), steps->end(), committed) == steps->end()) {
    return Error{Code::kFailedPrecondition,
                 "Old checkpoints in '" + job_dir + "' are kept: that of step " +
                     std::to_string(committed) + ", which was to replace them, is not there."};
  }
  const auto doomed = steps_to_delete(*std::move(steps), committed, policy);
  for (const std::uint64_t step : doomed) {
    const std::string path = join_path(checkpoint_root(job_dir), step_folder_name(step));
    if (auto status = delete_checkpoint(fs, path, at_point); !status) return status.error();
    if (auto status = append_journal(fs, job_dir, {"deleted", step, {}}); !status) {
      return status.error();
    }
  }
  if (at_point) at_point("retention_done");
  return doomed;
}

Result<std::vector<std::uint64_t>> set_aside_newer(FileSystem& fs, const std::string& job_dir,
                                                   std::uint64_t step) {
  auto steps = list_steps(fs, job_dir);
  if (!steps) return steps.error();
  const std::string root = checkpoint_root(job_dir);
  std::vector<std::uint64_t> moved;
  for (const std::uint64_t newer : *steps) {
    if (newer <= step) break;
    const std::string name = step_folder_name(newer);
    const std::string aside = std::string(kAsidePrefix) + name + "." + random_name();
    if (auto status = rename_path(fs, join_path(root, name), join_path(root, aside),
                                  FileSystem::Rename::kNoReplace);
        !status) {
      return status.error();
    }
    moved.push_back(newer);
  }
  if (moved.empty()) return moved;
  if (auto status = sync_folder(fs, root); !status) return status.error();
  return moved;
}

}  // namespace ratchet::trainer
