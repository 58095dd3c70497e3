#pragma once

// ArtifactStore: content that jobs use and make (base models, data sets, checkpoints, adapters), on
// the control plane's own disk. An artifact is a manifest: a kind and files with size and SHA-256.
// The same manifest of the same tenant is the same artifact; equal files of a tenant are stored
// once.
//
//   <folder>/<tenant>/blobs/<2 hex>/<sha256>    whole and verified
//   <folder>/<tenant>/partial/<sha256>-<bytes>  received so far
//
// Manifests and states are in the Store. What is on the disk decides what has been received, so the
// two cannot disagree about it; reconcile() settles the rest after a crash.
//
// Every function blocks on the disk (hashing a resumed upload reads what was received before):
// call from a worker thread. Thread-safe. `tenant` is checked everywhere: a foreign id is
// kNotFound.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "controlplane/store/store.h"
#include "proto/result.h"
#include "proto/units.h"

namespace ratchet::control {

constexpr std::size_t kMaxArtifactFiles = 10'000;
constexpr std::size_t kMaxArtifactPath = 512;              // bytes
constexpr std::int64_t kMaxArtifactFileBytes = 1LL << 42;  // 4 TiB
constexpr UnixMillis kMinTombstoneDelay{3600 * 1000};

struct Manifest {
  ArtifactKind kind = ArtifactKind::kFile;
  std::vector<ArtifactFile> files;  // any order
};

// "art_" and 32 hex digits of the SHA-256 of the manifest (files by path) and the tenant.
std::string artifact_id(const Manifest& manifest, std::string_view tenant);

// Relative, '/' between segments, none of them empty, "." or "..", no backslash and no control
// characters; unique; digests are 64 lower-case hex digits; at least one file.
Status check_manifest(const Manifest& manifest);

struct FileStatus {
  ArtifactFile file;
  std::int64_t received = 0;
  bool complete = false;  // whole, and its digest was verified
};

struct ArtifactStatus {
  ArtifactRow row;
  std::vector<FileStatus> files;  // by path
};

// An open file of an artifact; closes its descriptor. Stays readable when the artifact is removed.
class ArtifactReader {
 public:
  ArtifactReader(int fd, ArtifactFile file) : fd_(fd), file_(std::move(file)) {}
  ~ArtifactReader();
  ArtifactReader(ArtifactReader&& other) noexcept;
  ArtifactReader& operator=(ArtifactReader&&) = delete;
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] const ArtifactFile& file() const { return file_; }
  // Up to out.size() bytes at `offset`; fewer only at the end of the file.
  Result<std::size_t> read(std::int64_t offset, std::span<std::byte> out) const;

 private:
  int fd_;
  ArtifactFile file_;
};

// One request that adds bytes to a file. Holds the file: a second upload of the same content is
// refused meanwhile. Destroying it keeps what was received. Used by one thread at a time.
class Upload {
 public:
  virtual ~Upload() = default;
  // kNoSpace: what was received stays, the upload can go on later. kInvalidArgument: more bytes
  // than the manifest says.
  virtual Status write(std::span<const std::byte> bytes) = 0;
  // Once. Ends this upload: another may begin at once, also while this object lives. Syncs, and
  // when the file is whole verifies its digest and makes it readable. kCorrupt: the digest differs;
  // the bytes were discarded, the upload begins again at 0.
  virtual Result<FileStatus> finish() = 0;
};

struct CollectReport {
  std::int64_t tombstoned = 0;
  std::int64_t revived = 0;
  std::int64_t removed = 0;
  std::int64_t removed_bytes = 0;
};

struct ReconcileReport {
  std::int64_t removals_finished = 0;
  std::int64_t stray_files = 0;      // deleted: no artifact refers to them
  std::vector<std::string> damaged;  // sealed, but content is missing: open again
};

struct ArtifactSpace {
  Bytes free;     // on the disk
  Bytes reserve;  // of it, what uploads leave alone
  [[nodiscard]] bool full() const { return free <= reserve; }
};

struct ArtifactOptions {
  std::filesystem::path folder;  // made when it is missing
  Bytes reserve = mebibytes(512);
  UnixMillis tombstone_delay{24LL * 3600 * 1000};  // at least kMinTombstoneDelay
  std::function<UnixMillis()> now;                 // wall clock
  // Seams for tests: free bytes at a path, and a call at each point where a crash is survived.
  std::function<Result<Bytes>(const std::filesystem::path&)> free_bytes;
  std::function<void(std::string_view point)> at_point;
};

class ArtifactStore {
 public:
  // `store` must outlive it. Reconciles before it returns.
  static Result<std::unique_ptr<ArtifactStore>> open(ArtifactOptions options, Store& store);
  ~ArtifactStore();
  ArtifactStore(const ArtifactStore&) = delete;
  ArtifactStore& operator=(const ArtifactStore&) = delete;

  // Makes the artifact, or finds the same one (a tombstone on it is lifted). kInvalidArgument for a
  // manifest that breaks a rule; kNoSpace when what is missing cannot fit.
  Result<ArtifactStatus> create(const Manifest& manifest, const std::string& tenant,
                                const std::string& created_by);
  Result<ArtifactStatus> status(const std::string& id, const std::string& tenant) const;
  Result<FileStatus> file_status(const std::string& id, const std::string& tenant,
                                 const std::string& path) const;

  // Begins to add bytes at `offset`. kFailedPrecondition when that is not what was received (ask
  // file_status() for the true offset), when another upload of the same content is under way, or
  // when the artifact is sealed.
  Result<std::unique_ptr<Upload>> upload(const std::string& id, const std::string& tenant,
                                         const std::string& path, std::int64_t offset);
  // Idempotent. kFailedPrecondition while files are missing.
  Result<ArtifactRow> seal(const std::string& id, const std::string& tenant);
  // Files of open artifacts can be read as soon as they are complete.
  Result<ArtifactReader> read(const std::string& id, const std::string& tenant,
                              const std::string& path) const;
  // Lifts tombstones: call in the handling of a submit, before the job is committed. kNotFound
  // names the first id that is not there, kFailedPrecondition one that is being removed.
  Status keep(std::span<const std::string> ids, const std::string& tenant);
  Status pin(const std::string& id, const std::string& tenant, bool pinned);

  // Garbage: not in `needed`, not pinned. First a tombstone, after the delay it is removed, unless
  // it has become needed again. `needed` must be read after the last submit was committed.
  Result<CollectReport> collect(const std::set<std::string>& needed);
  [[nodiscard]] const ReconcileReport& reconciled() const;
  Result<ArtifactSpace> space() const;

 private:
  struct State;
  class FileUpload;
  explicit ArtifactStore(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace ratchet::control
