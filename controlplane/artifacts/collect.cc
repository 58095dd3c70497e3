#include <algorithm>

#include "controlplane/artifacts/artifact_state.h"

namespace ratchet::control {

Result<bool> ArtifactStore::State::is_held(const ArtifactRow& row) {
  const auto files = store.artifacts().files(row.id);
  if (!files) return files.error();
  const std::lock_guard lock(uploads);
  return std::any_of(files->begin(), files->end(), [&](const ArtifactFile& file) {
    return held.contains({row.tenant, file.sha256});
  });
}

// The row says "removing" from before the first file goes until after the last: a crash in between
// is finished at the next start, and nobody reads half an artifact.
Status ArtifactStore::State::finish_removal(const ArtifactRow& row) {
  const auto files = store.artifacts().files(row.id);
  if (!files) return files.error();
  const auto shared = store.artifacts().digests(row.tenant, row.id);
  if (!shared) return shared.error();
  for (const ArtifactFile& file : *files) {
    if (shared->contains(file.sha256)) continue;
    if (auto gone = blobs.remove_whole(row.tenant, file.sha256); !gone) return gone;
    if (auto gone = blobs.remove_partial(row.tenant, file); !gone) return gone;
    options.at_point("remove: a file is gone");
  }
  auto done = commit(DeleteArtifact{row.id});
  options.at_point("remove: done");
  return done;
}

Result<CollectReport> ArtifactStore::collect(const std::set<std::string>& needed) {
  State& state = *state_;
  const std::lock_guard lock(state.records);
  auto rows = state.store.artifacts().all();
  if (!rows) return rows.error();
  CollectReport report;
  const UnixMillis now = state.options.now();
  for (ArtifactRow& row : *rows) {
    if (row.state == ArtifactState::kRemoving) {
      if (auto done = state.finish_removal(row); !done) return done.error();
      continue;
    }
    if (needed.contains(row.id) || row.pinned) {
      report.revived += row.tombstone_at ? 1 : 0;
      if (auto lifted = state.lift_tombstone(row); !lifted) return lifted.error();
      continue;
    }
    if (!row.tombstone_at) {
      row.tombstone_at = row.updated_at = now;
      if (auto stored = state.commit(UpdateArtifact{row}); !stored) return stored.error();
      ++report.tombstoned;
      continue;
    }
    if (now - *row.tombstone_at < state.options.tombstone_delay) continue;
    const auto busy = state.is_held(row);
    if (!busy) return busy.error();
    if (*busy) continue;
    row.state = ArtifactState::kRemoving;
    if (auto stored = state.commit(UpdateArtifact{row}); !stored) return stored.error();
    state.options.at_point("remove: marked");
    if (auto done = state.finish_removal(row); !done) return done.error();
    ++report.removed;
    report.removed_bytes += row.bytes;
  }
  return report;
}

Status ArtifactStore::State::reopen_damaged(const ArtifactRow& row) {
  ArtifactRow open = row;
  open.state = ArtifactState::kOpen;
  open.sealed_at.reset();
  open.updated_at = options.now();
  reconciled.damaged.push_back(row.id);
  return commit(UpdateArtifact{open});
}

Status ArtifactStore::State::remove_strays(
    const std::map<std::string, std::set<std::string>>& known) {
  const auto entries = blobs.entries();
  if (!entries) return entries.error();
  for (const auto& entry : *entries) {
    const auto tenant = known.find(entry.tenant);
    const bool wanted = tenant != known.end() && tenant->second.contains(entry.sha256);
    // A partial file beside the whole one was left by a crash after its content came another way.
    const bool over = entry.partial_of && blobs.whole(entry.tenant, entry.sha256).has_value();
    if (wanted && !over) continue;
    std::error_code fault;
    std::filesystem::remove(entry.path, fault);
    if (fault) return file_error("remove", entry.path, fault.value());
    ++reconciled.stray_files;
  }
  return ok();
}

Status ArtifactStore::State::reconcile() {
  const auto rows = store.artifacts().all();
  if (!rows) return rows.error();
  std::map<std::string, std::set<std::string>> known;
  for (const ArtifactRow& row : *rows) {
    if (row.state == ArtifactState::kRemoving) {
      if (auto done = finish_removal(row); !done) return done;
      ++reconciled.removals_finished;
      continue;
    }
    const auto files = store.artifacts().files(row.id);
    if (!files) return files.error();
    bool whole = true;
    for (const ArtifactFile& file : *files) {
      known[row.tenant].insert(file.sha256);
      whole = whole && blobs.complete(row.tenant, file);
    }
    if (row.state != ArtifactState::kSealed || whole) continue;
    if (auto reopened = reopen_damaged(row); !reopened) return reopened;
  }
  return remove_strays(known);
}

}  // namespace ratchet::control
