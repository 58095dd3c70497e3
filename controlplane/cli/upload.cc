#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <utility>

#include "controlplane/cli/format.h"
#include "controlplane/cli/json_values.h"
#include "controlplane/cli/transfer.h"
#include "proto/net/retry.h"
#include "proto/net/url.h"

namespace ratchet::control::cli {
namespace {

constexpr std::int64_t kUploadPiece = 16 * 1024 * 1024;

std::string artifact_target(const std::string& id, std::string_view rest = "") {
  return "/v1/artifacts/" + net::url_escape(id) + std::string(rest);
}

Answer<void> hash_all(std::vector<LocalFile>& files, const TransferProgress& progress,
                      std::int64_t total, const Api& api) {
  std::int64_t done = 0;
  for (LocalFile& file : files) {
    const auto digest = hash_file(file.path, [&](std::int64_t bytes) {
      done += bytes;
      progress.update("hashing", done, total);
      return !api.interrupted();
    });
    if (!digest) {
      Problem problem = problem_of(digest.error());
      if (api.interrupted()) problem.exit = kExitInterrupted;
      return problem;
    }
    file.sha256 = *digest;
  }
  return {};
}

Json declaration(const std::string& kind, const std::vector<LocalFile>& files) {
  Json list = Json::array();
  for (const LocalFile& file : files) {
    list.push_back({{"path", file.inside}, {"bytes", file.size.count()}, {"sha256", file.sha256}});
  }
  return {{"kind", kind}, {"files", std::move(list)}};
}

// Sends one file from `offset` on; `sent` counts what got through.
class FileSender {
 public:
  FileSender(Api& api, std::string target, const LocalFile& file)
      : api_(api), target_(std::move(target)), file_(file) {}
  ~FileSender() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileSender(const FileSender&) = delete;
  FileSender& operator=(const FileSender&) = delete;

  Answer<void> run(std::int64_t offset, const std::function<void(std::int64_t)>& on_bytes) {
    fd_ = ::open(file_.path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) {
      return problem_of(
          Error{Code::kIo, "Cannot open '" + file_.path + "': " + std::strerror(errno) + "."});
    }
    int failures = 0;
    while (offset < file_.size.count()) {
      const std::int64_t length = std::min(kUploadPiece, file_.size.count() - offset);
      const auto reached = api_.upload(target_, fd_, offset, length);
      if (!reached) {
        const Problem& problem = reached.error();
        const bool transient = problem.error_class == "transient" || problem.status >= 500;
        if (!transient || problem.exit == kExitInterrupted || ++failures >= kMaxTransferTries) {
          return problem;
        }
        if (!api_.pause(backoff_.next())) return problem;
        continue;
      }
      if (*reached > file_.size.count() ||
          (*reached <= offset && ++failures >= kMaxTransferTries)) {
        return problem_of(Error{Code::kCorrupt, "The upload of '" + file_.path +
                                                    "' does not get further than byte " +
                                                    std::to_string(offset) + "."});
      }
      if (*reached > offset) failures = 0;
      on_bytes(*reached - offset);
      offset = *reached;
    }
    return {};
  }

 private:
  Api& api_;
  std::string target_;
  const LocalFile& file_;
  int fd_ = -1;
  net::Backoff backoff_{kBetweenTransferTries, static_cast<std::uint64_t>(::getpid())};
};

}  // namespace

Answer<Uploaded> upload_artifact(Api& api, const std::string& kind, const std::string& path,
                                 const TransferProgress& progress) {
  auto files = list_files(path);
  if (!files) return problem_of(files.error());
  Uploaded result;
  for (const LocalFile& file : *files) result.bytes += file.size.count();
  if (auto hashed = hash_all(*files, progress, result.bytes, api); !hashed) return hashed.error();

  const Json body = declaration(kind, *files);
  const auto artifact =
      api.send(net::Method::kPost, "/v1/artifacts", &body, hash_text(body.dump()));
  if (!artifact) return artifact.error();
  result.artifact_id = text_at(*artifact, "id");
  if (text_at(*artifact, "state") == "sealed") return result;

  std::map<std::string, std::int64_t> received;
  for (const Json& file : array_at(*artifact, "files")) {
    received[text_at(file, "path")] = integer_at(file, "received_bytes");
  }
  std::int64_t done = 0;
  for (const LocalFile& file : *files) done += received[file.inside];
  for (const LocalFile& file : *files) {
    FileSender sender(
        api, artifact_target(result.artifact_id, "/files/" + net::url_escape_path(file.inside)),
        file);
    const auto sent = sender.run(received[file.inside], [&](std::int64_t bytes) {
      done += bytes;
      result.sent += std::max<std::int64_t>(bytes, 0);
      progress.update("uploading", done, result.bytes);
    });
    if (!sent) return sent.error();
  }
  const auto sealed = api.send(net::Method::kPost, artifact_target(result.artifact_id, "/seal"),
                               nullptr, "seal-" + result.artifact_id);
  if (!sealed) return sealed.error();
  return result;
}

}  // namespace ratchet::control::cli
