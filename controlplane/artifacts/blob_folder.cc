#include "controlplane/artifacts/blob_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>

namespace ratchet::control {

namespace {

namespace fs = std::filesystem;

Status sync_folder(const fs::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return file_error("open the folder", folder, errno);
  const int result = ::fsync(fd);
  const int number = errno;
  ::close(fd);
  if (result != 0) return file_error("sync the folder", folder, number);
  return ok();
}

Status make_folder(const fs::path& folder) {
  std::error_code fault;
  if (!fs::create_directories(folder, fault)) {
    if (fault) return file_error("make the folder", folder, fault.value());
    return ok();
  }
  return sync_folder(folder.parent_path());
}

std::optional<std::int64_t> size_at(const fs::path& path) {
  struct stat facts{};
  if (::stat(path.c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) return std::nullopt;
  return facts.st_size;
}

Status remove_file(const fs::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return file_error("remove", path, errno);
  return ok();
}

}  // namespace

Error file_error(const std::string& doing, const fs::path& path, int number) {
  const bool full = number == ENOSPC || number == EDQUOT || number == EFBIG;
  std::string message =
      "Could not " + doing + " " + path.string() + ": " + std::strerror(number) + ".";
  if (full) message += " Free space on the disk of the artifacts, then go on.";
  return Error{full ? Code::kNoSpace : Code::kIo, std::move(message)};
}

fs::path BlobFolder::whole_path(const std::string& tenant, const std::string& sha256) const {
  return root_ / tenant / "blobs" / sha256.substr(0, 2) / sha256;
}

fs::path BlobFolder::partial_path(const std::string& tenant, const ArtifactFile& file) const {
  return root_ / tenant / "partial" / (file.sha256 + "-" + std::to_string(file.bytes));
}

Status BlobFolder::prepare(const std::string& tenant) const {
  if (auto made = make_folder(root_ / tenant / "blobs"); !made) return made;
  if (auto made = make_folder(root_ / tenant / "partial"); !made) return made;
  return sync_folder(root_);
}

std::optional<std::int64_t> BlobFolder::whole(const std::string& tenant,
                                              const std::string& sha256) const {
  return size_at(whole_path(tenant, sha256));
}

std::int64_t BlobFolder::received(const std::string& tenant, const ArtifactFile& file) const {
  if (complete(tenant, file)) return file.bytes;
  return size_at(partial_path(tenant, file)).value_or(0);
}

bool BlobFolder::complete(const std::string& tenant, const ArtifactFile& file) const {
  return whole(tenant, file.sha256) == file.bytes;
}

Result<int> BlobFolder::open_whole(const std::string& tenant, const std::string& sha256) const {
  const fs::path path = whole_path(tenant, sha256);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return file_error("open", path, errno);
  return fd;
}

Result<int> BlobFolder::open_partial(const std::string& tenant, const ArtifactFile& file) const {
  const fs::path path = partial_path(tenant, file);
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return file_error("open", path, errno);
  return fd;
}

Status BlobFolder::publish(const std::string& tenant, const ArtifactFile& file) const {
  const fs::path from = partial_path(tenant, file);
  const fs::path to = whole_path(tenant, file.sha256);
  if (auto made = make_folder(to.parent_path()); !made) return made;
  at_point_("publish: synced");
  if (::rename(from.c_str(), to.c_str()) != 0) return file_error("name", to, errno);
  at_point_("publish: renamed");
  if (auto synced = sync_folder(to.parent_path()); !synced) return synced;
  return sync_folder(from.parent_path());
}

Status BlobFolder::remove_whole(const std::string& tenant, const std::string& sha256) const {
  return remove_file(whole_path(tenant, sha256));
}

Status BlobFolder::remove_partial(const std::string& tenant, const ArtifactFile& file) const {
  return remove_file(partial_path(tenant, file));
}

Result<std::vector<BlobFolder::Entry>> BlobFolder::entries() const {
  std::vector<Entry> found;
  std::error_code fault;
  fs::recursive_directory_iterator walk(root_, fault);
  for (; !fault && walk != fs::recursive_directory_iterator(); walk.increment(fault)) {
    if (!walk->is_regular_file(fault)) continue;
    const fs::path relative = walk->path().lexically_relative(root_);
    const std::string name = relative.filename().string();
    const auto part = std::next(relative.begin());
    const auto depth = std::distance(relative.begin(), relative.end());
    if (name.size() < 64) continue;
    Entry entry{relative.begin()->string(), name.substr(0, 64), std::nullopt, walk->path()};
    if (depth == 4 && *part == "blobs" && name.size() == 64) {
      found.push_back(std::move(entry));
    } else if (depth == 3 && *part == "partial" && name.size() > 65 && name[64] == '-') {
      std::int64_t bytes = 0;
      const char* end = name.data() + name.size();
      if (std::from_chars(name.data() + 65, end, bytes).ptr != end) continue;
      entry.partial_of = bytes;
      found.push_back(std::move(entry));
    }
  }
  if (fault) return file_error("list the folder", root_, fault.value());
  return found;
}

}  // namespace ratchet::control
