#pragma once

// Local files: small ones whole, large ones by digest, and the files of an artifact.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "proto/units.h"

namespace ratchet::control::cli {

// kNotFound, kIo, or kInvalidArgument when it is a folder or larger than `max_bytes`.
Result<std::string> read_small_file(const std::string& path, std::size_t max_bytes);

// Written beside its place, synced and renamed: readable by its owner only, never half there.
Status write_private_file(const std::string& path, std::string_view text);

struct LocalFile {
  std::string path;    // on this machine
  std::string inside;  // within the artifact, with '/' between its parts
  Bytes size;
  std::string sha256;  // empty until hash_file()
};

constexpr std::size_t kMaxArtifactFiles = 10000;

// A file is itself under its name; a folder is all its regular files, links followed, those whose
// name or folder begins with a dot left out; in order of `inside`. kNotFound, kIo;
// kInvalidArgument when there is none or more than kMaxArtifactFiles.
Result<std::vector<LocalFile>> list_files(const std::string& path);

// Called with the bytes that came on top; returns false to give up.
using ByteProgress = std::function<bool(std::int64_t bytes)>;

// SHA-256 as 64 lower-case hex digits. kUnavailable when `progress` gave up.
Result<std::string> hash_file(const std::string& path, const ByteProgress& progress);
std::string hash_text(std::string_view text);

// Whether a path that a server sent may be made below a folder of ours: relative, no "..", no
// empty part, no control character.
bool is_safe_inside(std::string_view path);

// 32 random hex digits, of the system's generator.
std::string random_key();

}  // namespace ratchet::control::cli
