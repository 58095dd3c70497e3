#pragma once

// What the agent asks of the file system. Everything that must outlive a crash goes through
// write_atomically(): after it returned, a reader finds the new bytes or, before, the old ones.
// Any thread; paths are the agent's own (nothing here follows a name that came over the network).

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "proto/units.h"

namespace ratchet::agent {

// Temporary file, fsync, rename, fsync of the folder. kNoSpace when the disk is full.
Status write_atomically(const std::filesystem::path& path, std::string_view bytes,
                        unsigned mode = 0644);

// A whole small file; kNotFound, kIo, or kInvalidArgument when it is larger than `limit`.
Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit);

Status make_folders(const std::filesystem::path& path);
// Nothing there is fine.
Status remove_tree(const std::filesystem::path& path);
Status sync_folder(const std::filesystem::path& path);

struct FileEntry {
  std::string path;  // relative to the folder, with '/'
  Bytes size;
  bool operator==(const FileEntry&) const = default;
};

// Regular files below a folder, sorted by path. Links and special files are an error: an artifact
// cannot hold them. At most kMaxFiles.
constexpr std::size_t kMaxFiles = 10000;
Result<std::vector<FileEntry>> list_files(const std::filesystem::path& folder);

// Makes `to` a copy of the folder `from` whose files are hard links, by way of a temporary name, so
// that `to` is whole or absent. Already there: fine. Both must be on one file system.
Status link_tree(const std::filesystem::path& from, const std::filesystem::path& to);

// Lower-case hex SHA-256 of a file's bytes, read in pieces.
Result<std::string> sha256_file(const std::filesystem::path& path);
std::string sha256_text(std::string_view bytes);

struct DiskSpace {
  Bytes free;  // for this user
  Bytes total;
};
Result<DiskSpace> disk_space(const std::filesystem::path& path);

// Bytes of the files below a folder as the disk holds them; 0 when it is absent.
Bytes disk_use(const std::filesystem::path& folder);

// `count` random bytes of the kernel as hex.
std::string random_hex(std::size_t count);

// Error of a failed call: what was tried, errno's text. kNoSpace for ENOSPC and EDQUOT.
Error io_error(const std::string& what, int error_number);

}  // namespace ratchet::agent
