#pragma once

// The files of an ArtifactStore on disk; names: artifact_store.h. Knows nothing of artifacts.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "controlplane/store/records.h"
#include "proto/result.h"

namespace ratchet::control {

Error file_error(const std::string& doing, const std::filesystem::path& path, int number);

class BlobFolder {
 public:
  using AtPoint = std::function<void(std::string_view)>;
  BlobFolder(std::filesystem::path root, AtPoint at_point)
      : root_(std::move(root)), at_point_(std::move(at_point)) {}

  [[nodiscard]] const std::filesystem::path& root() const { return root_; }
  Status prepare(const std::string& tenant) const;  // makes its folders

  // Size of the whole, verified file; nothing when there is none.
  [[nodiscard]] std::optional<std::int64_t> whole(const std::string& tenant,
                                                  const std::string& sha256) const;
  [[nodiscard]] std::int64_t received(const std::string& tenant, const ArtifactFile& file) const;
  [[nodiscard]] bool complete(const std::string& tenant, const ArtifactFile& file) const;

  Result<int> open_whole(const std::string& tenant, const std::string& sha256) const;
  Result<int> open_partial(const std::string& tenant, const ArtifactFile& file) const;
  // The partial file, which must be synced and verified, becomes the whole one, durably.
  Status publish(const std::string& tenant, const ArtifactFile& file) const;
  Status remove_whole(const std::string& tenant, const std::string& sha256) const;
  Status remove_partial(const std::string& tenant, const ArtifactFile& file) const;

  struct Entry {
    std::string tenant;
    std::string sha256;
    std::optional<std::int64_t> partial_of;  // bytes of the file; nothing: it is a whole one
    std::filesystem::path path;
  };
  Result<std::vector<Entry>> entries() const;  // only names of ours

 private:
  [[nodiscard]] std::filesystem::path whole_path(const std::string& tenant,
                                                 const std::string& sha256) const;
  [[nodiscard]] std::filesystem::path partial_path(const std::string& tenant,
                                                   const ArtifactFile& file) const;
  std::filesystem::path root_;
  AtPoint at_point_;
};

}  // namespace ratchet::control
