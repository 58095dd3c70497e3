#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "controlplane/artifacts/artifact_state.h"

namespace ratchet::control {

namespace {

constexpr std::size_t kMaxProgress = 64;  // interrupted uploads whose hash is remembered

Result<Sha256> hash_prefix(int fd, std::int64_t size, const std::string& path) {
  Sha256 hash;
  std::vector<std::byte> buffer(1 << 20);
  std::int64_t offset = 0;
  while (offset < size) {
    const auto want =
        std::min<std::int64_t>(size - offset, static_cast<std::int64_t>(buffer.size()));
    const auto got = ::pread(fd, buffer.data(), static_cast<std::size_t>(want), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return file_error("read again", path, got < 0 ? errno : EIO);
    hash.add(std::span(buffer.data(), static_cast<std::size_t>(got)));
    offset += got;
  }
  return hash;
}

}  // namespace

class ArtifactStore::FileUpload : public Upload {
 public:
  FileUpload(State& state, State::BlobKey key, ArtifactFile file, int fd, std::int64_t offset,
             Sha256 hash)
      : state_(state),
        key_(std::move(key)),
        file_(std::move(file)),
        fd_(fd),
        offset_(offset),
        hash_(std::move(hash)) {}

  ~FileUpload() override { let_go(); }
  FileUpload(const FileUpload&) = delete;
  FileUpload& operator=(const FileUpload&) = delete;

  Status write(std::span<const std::byte> bytes) override {
    if (bytes.empty()) return ok();
    if (fd_ < 0 || over_ || static_cast<std::int64_t>(bytes.size()) > file_.bytes - offset_) {
      return Error{Code::kInvalidArgument, "\"" + file_.path + "\" has " +
                                               std::to_string(file_.bytes) +
                                               " bytes by its manifest, and more were sent."};
    }
    const auto free = state_.options.free_bytes(state_.options.folder);
    if (!free) return free.error();
    if (free->count() - state_.options.reserve.count() < static_cast<std::int64_t>(bytes.size())) {
      return Error{Code::kNoSpace,
                   "The control plane's disk is full (" + std::to_string(free->count()) +
                       " bytes free, " + std::to_string(state_.options.reserve.count()) +
                       " in reserve). What was received stays: free space and go on at " +
                       std::to_string(offset_) + "."};
    }
    while (!bytes.empty()) {
      const auto put = ::pwrite(fd_, bytes.data(), bytes.size(), offset_);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return file_error("write", file_.path, errno);
      hash_.add(bytes.first(static_cast<std::size_t>(put)));
      offset_ += put;
      bytes = bytes.subspan(static_cast<std::size_t>(put));
    }
    return ok();
  }

  Result<FileStatus> finish() override {
    if (fd_ < 0) return FileStatus{file_, offset_, over_};
    auto status = conclude();
    let_go();
    return status;
  }

 private:
  Result<FileStatus> conclude() {
    if (::fsync(fd_) != 0) return file_error("sync", file_.path, errno);
    if (offset_ < file_.bytes) return FileStatus{file_, offset_, false};
    over_ = true;
    const std::string digest = hash_.hex();
    if (digest != file_.sha256) {
      if (auto gone = state_.blobs.remove_partial(key_.first, file_); !gone) return gone.error();
      return Error{Code::kCorrupt, "What was received as \"" + file_.path + "\" has the sha256 " +
                                       digest + ", not " + file_.sha256 +
                                       ". It was discarded: upload the file again from the "
                                       "start."};
    }
    if (auto done = state_.blobs.publish(key_.first, file_); !done) return done.error();
    state_.options.at_point("upload: published");
    return FileStatus{file_, file_.bytes, true};
  }

  // The answer that finish() makes may arrive before this object is destroyed: whoever has it may
  // upload again at once.
  void let_go() {
    if (fd_ < 0) return;
    ::close(fd_);
    fd_ = -1;
    if (!over_) remember();
    state_.let_go(key_);
  }

  void remember() {
    const std::lock_guard lock(state_.uploads);
    if (state_.progress.size() >= kMaxProgress) state_.progress.erase(state_.progress.begin());
    state_.progress.erase(key_);
    state_.progress.emplace(key_, State::Progress{offset_, hash_});
  }

  State& state_;
  const State::BlobKey key_;
  const ArtifactFile file_;
  int fd_;  // -1: the file was complete before, or this is finished
  std::int64_t offset_;
  Sha256 hash_;
  bool over_ = fd_ < 0;
};

bool ArtifactStore::State::hold(const BlobKey& key) {
  const std::lock_guard lock(uploads);
  return held.insert(key).second;
}

void ArtifactStore::State::let_go(const BlobKey& key) {
  const std::lock_guard lock(uploads);
  held.erase(key);
}

Result<std::unique_ptr<Upload>> ArtifactStore::upload(const std::string& id,
                                                      const std::string& tenant,
                                                      const std::string& path,
                                                      std::int64_t offset) {
  State& state = *state_;
  // Until the file is held, no removal may pass between the row and the file.
  std::unique_lock lock(state.records);
  auto row = state.row(id, tenant);
  if (!row) return row.error();
  if (row->state != ArtifactState::kOpen) {
    return Error{
        Code::kFailedPrecondition,
        "Artifact " + id + " is " + std::string(to_word(row->state)) + " and takes no more bytes."};
  }
  auto file = state.store.artifacts().file(id, path);
  if (!file) return file.error();
  if (auto lifted = state.lift_tombstone(*row); !lifted) return lifted.error();
  const State::BlobKey key{tenant, file->sha256};
  const auto elsewhere = [&](std::int64_t received) {
    return Error{Code::kFailedPrecondition, "The upload of \"" + path + "\" goes on at byte " +
                                                std::to_string(received) + ", not at " +
                                                std::to_string(offset) + "."};
  };
  if (state.blobs.complete(tenant, *file)) {
    if (offset != file->bytes) return elsewhere(file->bytes);
    return std::unique_ptr<Upload>(
        new FileUpload(state, key, std::move(*file), -1, offset, Sha256()));
  }
  if (!state.hold(key)) {
    return Error{Code::kFailedPrecondition,
                 "Another request is uploading the content of \"" + path +
                     "\". Wait for it to end, then ask how much was received."};
  }
  lock.unlock();

  auto fd = state.blobs.open_partial(tenant, *file);
  if (!fd) {
    state.let_go(key);
    return fd.error();
  }
  const auto refuse = [&](Error error) {
    ::close(*fd);
    state.let_go(key);
    return error;
  };
  struct stat facts{};
  if (::fstat(*fd, &facts) != 0) return refuse(file_error("look at", path, errno));
  if (facts.st_size != offset) return refuse(elsewhere(facts.st_size));
  std::optional<Sha256> hash;
  {
    const std::lock_guard progress_lock(state.uploads);
    const auto known = state.progress.find(key);
    if (known != state.progress.end() && known->second.offset == offset) {
      hash.emplace(known->second.hash);
    }
    if (known != state.progress.end()) state.progress.erase(known);
  }
  if (!hash) {
    auto read = hash_prefix(*fd, offset, path);
    if (!read) return refuse(read.error());
    hash.emplace(*read);
  }
  return std::unique_ptr<Upload>(new FileUpload(state, key, std::move(*file), *fd, offset, *hash));
}

}  // namespace ratchet::control
