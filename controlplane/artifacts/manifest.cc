#include <algorithm>
#include <map>

#include "controlplane/artifacts/artifact_store.h"
#include "controlplane/artifacts/sha256.h"

namespace ratchet::control {

namespace {

constexpr std::size_t kIdDigits = 32;

bool is_digest(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

// Empty when the path is fine, else what is wrong with it.
std::string path_fault(std::string_view path) {
  if (path.empty()) return "is empty";
  if (path.size() > kMaxArtifactPath) return "is longer than 512 bytes";
  if (path.front() == '/') return "is not relative";
  for (const char c : path) {
    if (c == '\\') return "has a backslash";
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return "has a control character";
  }
  std::size_t begin = 0;
  while (begin <= path.size()) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view segment = path.substr(begin, end - begin);
    if (segment.empty() || segment == "." || segment == "..") {
      return "has a segment that is empty, \".\" or \"..\"";
    }
    begin = end + 1;
  }
  return {};
}

std::string shown(std::string_view path) {
  std::string out;
  for (const char c : path.substr(0, 80)) {
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return out;
}

std::vector<const ArtifactFile*> by_path(const Manifest& manifest) {
  std::vector<const ArtifactFile*> files;
  for (const ArtifactFile& file : manifest.files) files.push_back(&file);
  std::sort(files.begin(), files.end(),
            [](const auto* a, const auto* b) { return a->path < b->path; });
  return files;
}

Status check_file(const ArtifactFile& file) {
  const auto wrong = [&](const std::string& what) {
    return Error{Code::kInvalidArgument, "The file \"" + shown(file.path) + "\" " + what + "."};
  };
  if (const auto fault = path_fault(file.path); !fault.empty())
    return wrong("cannot be: it " + fault);
  if (file.bytes < 0 || file.bytes > kMaxArtifactFileBytes) {
    return wrong("has a size of " + std::to_string(file.bytes) + " bytes; 0 to " +
                 std::to_string(kMaxArtifactFileBytes) + " are allowed");
  }
  if (!is_digest(file.sha256)) return wrong("needs a sha256 of 64 lower-case hex digits");
  if (file.bytes == 0 && file.sha256 != Sha256().hex()) {
    return wrong("is empty, and its sha256 is not that of an empty file");
  }
  return ok();
}

}  // namespace

std::string artifact_id(const Manifest& manifest, std::string_view tenant) {
  // No field holds a line feed: paths and digests are checked, words and numbers cannot.
  Sha256 hash;
  hash.add("artifact/1\n" + std::string(tenant) + "\n" + std::string(to_word(manifest.kind)) +
           "\n");
  for (const ArtifactFile* file : by_path(manifest)) {
    hash.add(file->path + "\n" + std::to_string(file->bytes) + "\n" + file->sha256 + "\n");
  }
  return "art_" + hash.hex().substr(0, kIdDigits);
}

Status check_manifest(const Manifest& manifest) {
  if (manifest.files.empty() || manifest.files.size() > kMaxArtifactFiles) {
    return Error{Code::kInvalidArgument,
                 "An artifact has 1 to " + std::to_string(kMaxArtifactFiles) +
                     " files; this one has " + std::to_string(manifest.files.size()) + "."};
  }
  std::map<std::string_view, std::int64_t> sizes;
  std::int64_t total = 0;
  for (const ArtifactFile& file : manifest.files) {
    if (auto fits = check_file(file); !fits) return fits;
    const auto [entry, is_new] = sizes.try_emplace(file.sha256, file.bytes);
    if (!is_new && entry->second != file.bytes) {
      return Error{Code::kInvalidArgument,
                   "Two files with the sha256 " + file.sha256 + " have different sizes."};
    }
    total += file.bytes;
    if (total > kMaxArtifactFileBytes) {
      return Error{
          Code::kInvalidArgument,
          "The files have more than " + std::to_string(kMaxArtifactFileBytes) + " bytes together."};
    }
  }
  const auto files = by_path(manifest);
  for (std::size_t i = 1; i < files.size(); ++i) {
    if (files[i]->path == files[i - 1]->path) {
      return Error{Code::kInvalidArgument,
                   "The file \"" + shown(files[i]->path) + "\" is named twice."};
    }
  }
  // A path that is also a folder of another could not be laid out on a node's disk.
  std::set<std::string_view> paths;
  for (const ArtifactFile* file : files) paths.insert(file->path);
  for (const std::string_view path : paths) {
    for (auto slash = path.find('/'); slash != std::string_view::npos;
         slash = path.find('/', slash + 1)) {
      if (paths.contains(path.substr(0, slash))) {
        return Error{Code::kInvalidArgument, "\"" + shown(path.substr(0, slash)) +
                                                 "\" is a file and the folder of another file."};
      }
    }
  }
  return ok();
}

}  // namespace ratchet::control
