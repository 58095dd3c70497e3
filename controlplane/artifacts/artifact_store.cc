#include "controlplane/artifacts/artifact_store.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>

#include "controlplane/artifacts/artifact_state.h"
#include "proto/ids.h"

namespace ratchet::control {

namespace {

Result<Bytes> free_bytes_at(const std::filesystem::path& path) {
  struct statvfs facts{};
  if (::statvfs(path.c_str(), &facts) != 0) return file_error("ask for the space of", path, errno);
  return Bytes(static_cast<std::int64_t>(facts.f_bavail) *
               static_cast<std::int64_t>(facts.f_frsize));
}

UnixMillis system_wall() {
  return std::chrono::duration_cast<UnixMillis>(
      std::chrono::system_clock::now().time_since_epoch());
}

Error being_removed(const std::string& id) {
  return Error{Code::kFailedPrecondition,
               "Artifact " + id +
                   " is being removed: nothing has needed it for a while. Create "
                   "it again."};
}

}  // namespace

ArtifactReader::~ArtifactReader() {
  if (fd_ >= 0) ::close(fd_);
}

ArtifactReader::ArtifactReader(ArtifactReader&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), file_(std::move(other.file_)) {}

Result<std::size_t> ArtifactReader::read(std::int64_t offset, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const auto got = ::pread(fd_, out.data() + done, out.size() - done,
                             offset + static_cast<std::int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return file_error("read", file_.path, errno);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

Status ArtifactStore::State::commit(Write write) {
  Batch batch;
  batch.writes.push_back(std::move(write));
  auto done = commit_and_wait(store, std::move(batch));
  if (!done) return done.error();
  return ok();
}

Result<ArtifactRow> ArtifactStore::State::row(const std::string& id,
                                              const std::string& tenant) const {
  // An empty tenant would mean any.
  if (tenant.empty()) return Error{Code::kNotFound, "There is no artifact " + id + "."};
  return store.artifacts().artifact(id, tenant);
}

FileStatus ArtifactStore::State::status_of(const std::string& tenant,
                                           const ArtifactFile& file) const {
  const bool complete = blobs.complete(tenant, file);
  return {file, complete ? file.bytes : blobs.received(tenant, file), complete};
}

Status ArtifactStore::State::lift_tombstone(ArtifactRow& row) {
  if (!row.tombstone_at) return ok();
  row.tombstone_at.reset();
  row.updated_at = options.now();
  return commit(UpdateArtifact{row});
}

ArtifactStore::ArtifactStore(std::unique_ptr<State> state) : state_(std::move(state)) {}
ArtifactStore::~ArtifactStore() = default;

Result<std::unique_ptr<ArtifactStore>> ArtifactStore::open(ArtifactOptions options, Store& store) {
  if (!options.now) options.now = system_wall;
  if (!options.free_bytes) options.free_bytes = free_bytes_at;
  if (!options.at_point) options.at_point = [](std::string_view) {};
  options.tombstone_delay = std::max(options.tombstone_delay, kMinTombstoneDelay);
  std::error_code fault;
  std::filesystem::create_directories(options.folder, fault);
  if (fault) return file_error("make the folder", options.folder, fault.value());
  auto state = std::make_unique<State>(std::move(options), store);
  if (auto settled = state->reconcile(); !settled) return settled.error();
  return std::unique_ptr<ArtifactStore>(new ArtifactStore(std::move(state)));
}

Result<ArtifactStatus> ArtifactStore::create(const Manifest& manifest, const std::string& tenant,
                                             const std::string& created_by) {
  if (!is_valid_id(tenant)) {
    return Error{Code::kInvalidArgument, "The tenant's id cannot name a folder."};
  }
  if (auto fits = check_manifest(manifest); !fits) return fits.error();
  State& state = *state_;
  const std::lock_guard lock(state.records);
  const std::string id = artifact_id(manifest, tenant);
  auto known = state.row(id, tenant);
  if (!known && known.error().code != Code::kNotFound) return known.error();
  if (known && known->state == ArtifactState::kRemoving) {
    if (auto done = state.finish_removal(*known); !done) return done.error();
    known = Error{Code::kNotFound, ""};
  }
  if (known) {
    if (auto lifted = state.lift_tombstone(*known); !lifted) return lifted.error();
    return status(id, tenant);
  }
  if (auto made = state.blobs.prepare(tenant); !made) return made.error();

  const UnixMillis now = state.options.now();
  ArtifactRow row;
  row.id = id;
  row.tenant = tenant;
  row.kind = manifest.kind;
  row.created_by = created_by;
  row.created_at = row.updated_at = now;
  row.file_count = static_cast<std::int64_t>(manifest.files.size());
  std::set<std::string> counted;
  std::int64_t missing = 0;
  for (const ArtifactFile& file : manifest.files) {
    row.bytes += file.bytes;
    const auto size = state.blobs.whole(tenant, file.sha256);
    if (size && *size != file.bytes) {
      return Error{Code::kInvalidArgument, "The content with the sha256 of \"" + file.path +
                                               "\" has " + std::to_string(*size) + " bytes, not " +
                                               std::to_string(file.bytes) + "."};
    }
    if (counted.insert(file.sha256).second) {
      missing += file.bytes - std::min(file.bytes, state.blobs.received(tenant, file));
    }
  }
  const auto room = space();
  if (!room) return room.error();
  if (missing > 0 && room->free.count() - room->reserve.count() < missing) {
    return Error{Code::kNoSpace, "The artifact lacks " + std::to_string(missing) +
                                     " bytes, and the control "
                                     "plane's disk has " +
                                     std::to_string(room->free.count()) + " free, of which " +
                                     std::to_string(room->reserve.count()) +
                                     " stay in reserve. Remove what is not needed, or add space."};
  }
  state.options.at_point("create: before the commit");
  if (auto stored = state.commit(PutArtifact{row, manifest.files}); !stored) return stored.error();
  state.options.at_point("create: committed");
  return status(id, tenant);
}

Result<ArtifactStatus> ArtifactStore::status(const std::string& id,
                                             const std::string& tenant) const {
  auto row = state_->row(id, tenant);
  if (!row) return row.error();
  const auto files = state_->store.artifacts().files(id);
  if (!files) return files.error();
  ArtifactStatus status{std::move(*row), {}};
  for (const ArtifactFile& file : *files) status.files.push_back(state_->status_of(tenant, file));
  return status;
}

Result<FileStatus> ArtifactStore::file_status(const std::string& id, const std::string& tenant,
                                              const std::string& path) const {
  const auto row = state_->row(id, tenant);
  if (!row) return row.error();
  const auto file = state_->store.artifacts().file(id, path);
  if (!file) return file.error();
  return state_->status_of(tenant, *file);
}

Result<ArtifactRow> ArtifactStore::seal(const std::string& id, const std::string& tenant) {
  State& state = *state_;
  const std::lock_guard lock(state.records);
  auto now = status(id, tenant);
  if (!now) return now.error();
  ArtifactRow row = std::move(now->row);
  if (row.state == ArtifactState::kSealed) return row;
  if (row.state == ArtifactState::kRemoving) return being_removed(id);
  for (const FileStatus& file : now->files) {
    if (file.complete) continue;
    return Error{Code::kFailedPrecondition,
                 "Artifact " + id + " cannot be sealed: of \"" + file.file.path + "\" " +
                     std::to_string(file.received) + " of " + std::to_string(file.file.bytes) +
                     " bytes have been received. Upload the rest first."};
  }
  row.state = ArtifactState::kSealed;
  row.tombstone_at.reset();
  row.sealed_at = row.updated_at = state.options.now();
  state.options.at_point("seal: before the commit");
  if (auto stored = state.commit(UpdateArtifact{row}); !stored) return stored.error();
  state.options.at_point("seal: committed");
  return row;
}

Result<ArtifactReader> ArtifactStore::read(const std::string& id, const std::string& tenant,
                                           const std::string& path) const {
  const auto row = state_->row(id, tenant);
  if (!row) return row.error();
  if (row->state == ArtifactState::kRemoving) return being_removed(id);
  auto file = state_->store.artifacts().file(id, path);
  if (!file) return file.error();
  if (!state_->blobs.complete(tenant, *file)) {
    return Error{Code::kFailedPrecondition,
                 "The file \"" + path + "\" of artifact " + id + " is not complete yet."};
  }
  auto fd = state_->blobs.open_whole(tenant, file->sha256);
  if (!fd) return fd.error();
  return ArtifactReader(*fd, std::move(*file));
}

Status ArtifactStore::keep(std::span<const std::string> ids, const std::string& tenant) {
  State& state = *state_;
  const std::lock_guard lock(state.records);
  for (const std::string& id : ids) {
    auto row = state.row(id, tenant);
    if (!row) return row.error();
    if (row->state == ArtifactState::kRemoving) return being_removed(id);
    if (auto lifted = state.lift_tombstone(*row); !lifted) return lifted;
  }
  return ok();
}

Status ArtifactStore::pin(const std::string& id, const std::string& tenant, bool pinned) {
  State& state = *state_;
  const std::lock_guard lock(state.records);
  auto row = state.row(id, tenant);
  if (!row) return row.error();
  if (row->state == ArtifactState::kRemoving) return being_removed(id);
  row->pinned = pinned;
  row->updated_at = state.options.now();
  if (pinned) row->tombstone_at.reset();
  return state.commit(UpdateArtifact{*row});
}

const ReconcileReport& ArtifactStore::reconciled() const { return state_->reconciled; }

Result<ArtifactSpace> ArtifactStore::space() const {
  const auto free = state_->options.free_bytes(state_->options.folder);
  if (!free) return free.error();
  return ArtifactSpace{*free, state_->options.reserve};
}

}  // namespace ratchet::control
