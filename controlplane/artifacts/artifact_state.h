#pragma once

// What the parts of ArtifactStore share. Private to this folder.

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "controlplane/artifacts/artifact_store.h"
#include "controlplane/artifacts/blob_folder.h"
#include "controlplane/artifacts/sha256.h"

namespace ratchet::control {

struct ArtifactStore::State {
  State(ArtifactOptions given, Store& owner)
      : options(std::move(given)), store(owner), blobs(options.folder, options.at_point) {}

  // Files that an upload holds, and where interrupted ones stood: so that an upload that goes on
  // at once need not read again what was received.
  struct Progress {
    std::int64_t offset;
    Sha256 hash;
  };
  using BlobKey = std::pair<std::string, std::string>;  // tenant, digest

  Status commit(Write write);
  Result<ArtifactRow> row(const std::string& id, const std::string& tenant) const;
  FileStatus status_of(const std::string& tenant, const ArtifactFile& file) const;
  Status lift_tombstone(ArtifactRow& row);
  Status finish_removal(const ArtifactRow& row);
  Result<bool> is_held(const ArtifactRow& row);
  Status reconcile();
  Status reopen_damaged(const ArtifactRow& row);
  Status remove_strays(const std::map<std::string, std::set<std::string>>& known);
  bool hold(const BlobKey& key);
  void let_go(const BlobKey& key);

  const ArtifactOptions options;
  Store& store;
  const BlobFolder blobs;
  ReconcileReport reconciled;

  std::mutex records;  // held while rows of artifacts change: a removal and a create never cross

  std::mutex uploads;
  std::set<BlobKey> held;                // guarded by uploads
  std::map<BlobKey, Progress> progress;  // guarded by uploads
};

}  // namespace ratchet::control
