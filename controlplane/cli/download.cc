#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>

#include "controlplane/cli/command.h"
#include "controlplane/cli/format.h"
#include "controlplane/cli/json_values.h"
#include "controlplane/cli/transfer.h"
#include "proto/net/retry.h"
#include "proto/net/url.h"

namespace ratchet::control::cli {
namespace {

namespace fs = std::filesystem;

struct RemoteFile {
  std::string target;
  std::string inside;
  std::int64_t size = 0;
  std::string sha256;
};

std::int64_t size_of(const std::string& path) {
  struct stat facts{};
  return ::stat(path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode) ? facts.st_size : -1;
}

bool is_whole(const std::string& path, const RemoteFile& file) {
  if (size_of(path) != file.size) return false;
  const auto digest = hash_file(path, {});
  return digest && *digest == file.sha256;
}

Problem io_problem(const std::string& what, const std::string& path) {
  return problem_of(
      Error{Code::kIo, "Cannot " + what + " '" + path + "': " + std::strerror(errno) + "."});
}

// Appends to an open file; a piece that does not fit the file's size is refused.
class PartFile {
 public:
  explicit PartFile(std::string path) : path_(std::move(path)) {
    fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  }
  ~PartFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  [[nodiscard]] bool ok() const { return fd_ >= 0; }
  bool cut(std::int64_t size) const { return ::ftruncate(fd_, size) == 0; }
  bool sync() const { return ::fsync(fd_) == 0; }
  Status append(std::string_view piece) const {
    while (!piece.empty()) {
      const ssize_t n = ::write(fd_, piece.data(), piece.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        const Code code = errno == ENOSPC || errno == EDQUOT ? Code::kNoSpace : Code::kIo;
        return Error{code, "Cannot write '" + path_ + "': " + std::strerror(errno) +
                               ". What is there stays; the same command goes on from it."};
      }
      piece.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
  }

 private:
  std::string path_;
  int fd_ = -1;
};

// One file to `path`, from what `path`.part holds on. `on_bytes` may be given a negative number:
// what was there turned out to be of no use.
Answer<void> fetch(Api& api, const RemoteFile& file, const std::string& path,
                   const std::function<void(std::int64_t)>& on_bytes) {
  const std::string part_path = path + ".part";
  const PartFile part(part_path);
  if (!part.ok()) return io_problem("write", part_path);
  std::int64_t have = std::max<std::int64_t>(size_of(part_path), 0);
  if (have > file.size) have = 0;
  if (!part.cut(have)) return io_problem("write", part_path);
  on_bytes(have);
  net::Backoff backoff(kBetweenTransferTries, static_cast<std::uint64_t>(::getpid()));
  int failures = 0;
  while (have < file.size || !is_whole(part_path, file)) {
    if (have >= file.size) {  // whole, and not what it should be: once more from the start
      on_bytes(-have);
      have = 0;
      if (!part.cut(0)) return io_problem("write", part_path);
      if (++failures >= 2) {
        return problem_of(Error{Code::kCorrupt, "'" + file.inside +
                                                    "' arrived twice with the wrong SHA-256. Ask "
                                                    "the operator to check the artifact store."});
      }
    }
    std::int64_t got = 0;
    const auto status = api.download(file.target, have, [&](std::string_view piece) -> Status {
      const auto size = static_cast<std::int64_t>(piece.size());
      if (have + got + size > file.size) {
        return Error{Code::kCorrupt, "'" + file.inside + "' is longer than was declared."};
      }
      auto appended = part.append(piece);
      if (appended) {
        got += size;
        on_bytes(size);
      }
      return appended;
    });
    have += got;
    if (got > 0) backoff.reset();
    if (status) continue;
    const Problem& problem = status.error();
    if (problem.error_class != "transient" || problem.exit == kExitInterrupted ||
        (got == 0 && ++failures >= kMaxTransferTries) || !api.pause(backoff.next())) {
      return problem;
    }
  }
  if (!part.sync() || ::rename(part_path.c_str(), path.c_str()) != 0) {
    return io_problem("write", path);
  }
  return {};
}

Answer<std::vector<RemoteFile>> list_remote(Api& api, const std::string& artifact_id) {
  const std::string target = "/v1/artifacts/" + net::url_escape(artifact_id);
  const auto artifact = api.get(target);
  if (!artifact) return artifact.error();
  std::vector<RemoteFile> files;
  for (const Json& file : array_at(*artifact, "files")) {
    RemoteFile remote{"", text_at(file, "path"), integer_at(file, "bytes"),
                      text_at(file, "sha256")};
    if (!is_safe_inside(remote.inside) || remote.size < 0) {
      return problem_of(Error{Code::kCorrupt, "The artifact names a file '" +
                                                  printable(remote.inside) +
                                                  "', which is no path that may be written."});
    }
    remote.target = target + "/files/" + net::url_escape_path(remote.inside);
    files.push_back(std::move(remote));
  }
  return files;
}

}  // namespace

Answer<Downloaded> download_artifact(Api& api, const std::string& artifact_id,
                                     const std::string& folder, const TransferProgress& progress) {
  const auto files = list_remote(api, artifact_id);
  if (!files) return files.error();
  Downloaded result;
  for (const RemoteFile& file : *files) result.bytes += file.size;
  std::int64_t done = 0;
  for (const RemoteFile& file : *files) {
    const fs::path path = fs::path(folder) / file.inside;
    std::error_code failed;
    fs::create_directories(path.parent_path(), failed);
    if (failed) {
      return problem_of(Error{Code::kIo, "Cannot make the folder '" + path.parent_path().string() +
                                             "': " + failed.message() + "."});
    }
    result.files.push_back(path.string());
    if (is_whole(path.string(), file)) {
      done += file.size;
      progress.update("downloading", done, result.bytes);
      continue;
    }
    const auto fetched = fetch(api, file, path.string(), [&](std::int64_t bytes) {
      done += bytes;
      progress.update("downloading", done, result.bytes);
    });
    if (!fetched) return fetched.error();
    result.received += file.size;
  }
  return result;
}

TransferProgress transfer_progress(bool quiet) {
  constexpr double kEverySeconds = 0.1;
  constexpr std::size_t kBarColumns = 24;
  TransferProgress progress;
  progress.say = [quiet](const std::string& line) {
    if (!quiet) std::fprintf(stderr, "%s\n", printable(line).c_str());
  };
  progress.update = [](std::string_view, std::int64_t, std::int64_t) {};
  if (quiet || !is_terminal(STDERR_FILENO)) return progress;
  const auto last = std::make_shared<std::chrono::steady_clock::time_point>();
  progress.update = [last](std::string_view what, std::int64_t done, std::int64_t total) {
    const auto now = std::chrono::steady_clock::now();
    const bool end = done >= total;
    if (!end && std::chrono::duration<double>(now - *last).count() < kEverySeconds) return;
    *last = now;
    const double ratio = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1.0;
    std::fprintf(stderr, "\r%s  %s  %s of %s\x1b[K%s", std::string(what).c_str(),
                 format_bar(ratio, kBarColumns).c_str(), format_bytes(Bytes(done)).c_str(),
                 format_bytes(Bytes(total)).c_str(), end ? "\r\x1b[K" : "");
    std::fflush(stderr);
  };
  return progress;
}

}  // namespace ratchet::control::cli
