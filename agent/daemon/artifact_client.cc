#include "agent/daemon/artifact_client.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "agent/daemon/files.h"
#include "agent/daemon/off_loop.h"
#include "proto/api_error.h"
#include "proto/document.h"
#include "proto/ids.h"

namespace ratchet::agent {
namespace {

namespace fs = std::filesystem;
using net::ClientRequest;
using net::Method;
using net::Millis;

constexpr std::size_t kMaxAnswer = 16 * 1024 * 1024;
constexpr std::size_t kMaxManifest = 64 * 1024 * 1024;
constexpr std::int64_t kPieceBytes = 8 * 1024 * 1024;  // of one PUT
constexpr Millis kPieceTimeout{60000};                 // so at least 140 kB/s
constexpr int kMaxTries = 4;                           // in a row without a new byte

std::string file_target(const std::string& id, const std::string& path) {
  return "/v1/artifacts/" + net::url_escape(id) + "/files/" + net::url_escape_path(path);
}

// SHA-256 of the files that the checkpoint's own manifest lists, so that an emergency upload does
// not read everything twice. The control plane checks them all the same.
std::map<std::string, std::string> digests_of_manifest(const fs::path& folder) {
  std::map<std::string, std::string> out;
  const auto text = read_file(folder / "MANIFEST.json", kMaxManifest);
  if (!text) return out;
  FindingList findings;
  const auto document = Document::parse(*text, {.max_bytes = kMaxManifest}, findings);
  if (!document) return out;
  ObjectReader root = document->root(findings, UnknownKeys::kTolerate);
  for (ObjectReader& file : root.objects("files", kMaxFiles)) {
    std::string name;
    std::string sha256;
    if (file.text("name", name) && file.text("sha256", sha256) && sha256.size() == 64) {
      out[name] = sha256;
    }
  }
  return out;
}

Result<std::vector<ArtifactFile>> digest_folder(const fs::path& folder) {
  const auto entries = list_files(folder);
  if (!entries) return entries.error();
  if (entries->empty()) return Error{Code::kNotFound, "'" + folder.string() + "' holds no file."};
  const auto known = digests_of_manifest(folder);
  std::vector<ArtifactFile> files;
  for (const FileEntry& entry : *entries) {
    ArtifactFile file{entry.path, entry.size, {}, {}};
    if (const auto found = known.find(entry.path); found != known.end()) {
      file.sha256 = found->second;
    } else {
      auto digest = sha256_file(folder / entry.path);
      if (!digest) return digest.error();
      file.sha256 = *std::move(digest);
    }
    files.push_back(std::move(file));
  }
  return files;
}

std::string create_body(const std::string& kind, const std::vector<ArtifactFile>& files) {
  nlohmann::json list = nlohmann::json::array();
  for (const ArtifactFile& file : files) {
    list.push_back({{"path", file.path}, {"bytes", file.size.count()}, {"sha256", file.sha256}});
  }
  const nlohmann::json object = {{"kind", kind}, {"files", std::move(list)}};
  return object.dump();
}

class ScopedFd {
 public:
  explicit ScopedFd(int fd) : fd_(fd) {}
  ~ScopedFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  ScopedFd(const ScopedFd&) = delete;
  ScopedFd& operator=(const ScopedFd&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

std::int64_t size_of(const fs::path& path) {
  struct stat stat{};
  return ::stat(path.c_str(), &stat) == 0 ? static_cast<std::int64_t>(stat.st_size) : -1;
}

// Digest and durability of a file that was just downloaded; a wrong one is removed.
Status finish_file(const fs::path& path, const ArtifactFile& file) {
  const auto digest = sha256_file(path);
  if (!digest) return digest.error();
  if (*digest != file.sha256) {
    ::unlink(path.c_str());
    return Error{Code::kUnavailable, "The download of '" + file.path +
                                         "' does not have its digest; it is fetched again."};
  }
  const ScopedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0 || ::fsync(fd.get()) != 0) {
    return io_error("Cannot sync '" + path.string() + "'", errno);
  }
  return ok();
}

// An answer that is none comes from something that stands in the way, and perhaps not for long.
Error later(Error error) {
  if (error.code == Code::kCorrupt || error.code == Code::kInvalidArgument) {
    error.code = Code::kUnavailable;
  }
  return error;
}

// A later try announces the artifact again.
Error upload_error(std::string_view what, const net::ClientResponse& answer) {
  Error error = answer_error(what, answer.status, answer.body);
  if (error.code == Code::kNotFound) error.code = Code::kUnavailable;
  return error;
}

bool is_digest_mismatch(std::string_view body) {
  const auto error = decode_api_error(body);
  return error && error->code == to_word(ApiErrorCode::kDigestMismatch);
}

// Other bytes arrived than were announced: changed on the way, or changed here?
Error whose_fault(const fs::path& path, const ArtifactFile& file, Error told) {
  const auto digest = sha256_file(path);
  told.code = digest && *digest == file.sha256 ? Code::kUnavailable : Code::kCorrupt;
  return told;
}

}  // namespace

bool is_safe_relative(std::string_view path) {
  if (path.empty() || path.size() > 1024 || path.find('\0') != std::string_view::npos ||
      path.find('\\') != std::string_view::npos) {
    return false;
  }
  while (true) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

Result<Artifact> decode_artifact(std::string_view text) {
  FindingList findings;
  Artifact artifact;
  std::string state;
  if (const auto document = Document::parse(text, {.max_bytes = kMaxAnswer}, findings)) {
    ObjectReader root = document->root(findings, UnknownKeys::kTolerate);
    root.require("id", "the artifact's id");
    root.require("files", "its files");
    root.id("id", artifact.id);
    root.text("kind", artifact.kind);
    root.text("state", state);
    for (ObjectReader& entry : root.objects("files", kMaxFiles)) {
      ArtifactFile file;
      std::int64_t size = 0;
      std::int64_t received = 0;
      entry.text("path", file.path);
      entry.integer("bytes", size, {0});
      entry.text("sha256", file.sha256);
      entry.integer("received_bytes", received, {0});
      file.size = Bytes(size);
      file.received = Bytes(received);
      if (!is_safe_relative(file.path)) entry.add_finding("path", "must stay in its folder");
      artifact.files.push_back(std::move(file));
    }
  }
  if (!findings.empty()) return findings_error("The answer about an artifact", findings.take());
  artifact.sealed = state == "sealed";
  return artifact;
}

Error answer_error(std::string_view what, int status, std::string_view body) {
  const auto error = decode_api_error(body);
  // What is not in the control plane's form does not come from it.
  const bool transient = !error || error->error_class == ErrorClass::kTransient;
  // A wrong offset is settled by asking for the right one.
  const Code code = transient || status == 409       ? Code::kUnavailable
                    : status == 404                  ? Code::kNotFound
                    : status == 401 || status == 403 ? Code::kFailedPrecondition
                                                     : Code::kInvalidArgument;
  std::string message = std::string(what) + ": the control plane answered " +
                        std::to_string(status) + (error ? ": " + error->message : ".");
  if (error && !error->next_step.empty()) message += " " + error->next_step;
  return Error{code, std::move(message)};
}

asio::awaitable<Result<Uploaded>> ArtifactClient::upload(UploadArgs args) {
  const fs::path folder = args.folder;
  const auto digest = [folder] { return digest_folder(folder); };
  auto digested = co_await off_loop(pool_, digest);
  if (!digested) co_return digested.error();
  ClientRequest create;
  create.method = Method::kPost;
  create.target = "/v1/artifacts";
  create.body = create_body(args.kind, *digested);
  create.headers.set("Content-Type", "application/json");
  create.cancel = args.cancel;
  create.max_response_bytes = kMaxAnswer;
  const auto answer = co_await http_.send(std::move(create));
  if (!answer) co_return later(answer.error());
  if (answer->status >= 300) {
    co_return answer_error("Cannot announce an upload", answer->status, answer->body);
  }
  const auto artifact = decode_artifact(answer->body);
  if (!artifact) co_return Error{Code::kUnavailable, artifact.error().message};
  Uploaded done{artifact->id, Bytes(0)};
  if (artifact->sealed) co_return done;
  for (const ArtifactFile& file : artifact->files) {
    const auto sent = co_await put_file(artifact->id, file, folder / file.path, args.cancel);
    if (!sent) co_return sent.error();
    done.sent = done.sent + Bytes(*sent);
  }
  ClientRequest seal;
  seal.method = Method::kPost;
  seal.target = "/v1/artifacts/" + net::url_escape(artifact->id) + "/seal";
  seal.cancel = args.cancel;
  seal.total_timeout = kPieceTimeout;
  seal.max_response_bytes = kMaxAnswer;
  const auto sealed = co_await http_.send(std::move(seal));
  if (!sealed) co_return later(sealed.error());
  if (sealed->status >= 300) {
    co_return upload_error("Cannot finish an upload", *sealed);
  }
  // Who answers "all right" without saying this is not the control plane.
  const auto now = decode_artifact(sealed->body);
  if (!now || now->id != done.artifact_id || !now->sealed) {
    co_return Error{Code::kUnavailable, "The control plane did not say that the upload is whole."};
  }
  co_return done;
}

asio::awaitable<Result<std::int64_t>> ArtifactClient::received(std::string target,
                                                               net::CancelSource* cancel) {
  ClientRequest head;
  head.method = Method::kHead;
  head.target = std::move(target);
  head.cancel = cancel;
  const auto answer = co_await http_.send(std::move(head));
  if (!answer) co_return later(answer.error());
  const std::string_view text = answer->headers.get("Upload-Offset");
  std::int64_t offset = -1;
  std::from_chars(text.data(), text.data() + text.size(), offset);
  if (answer->status >= 300 || offset < 0) {
    co_return answer_error("Cannot ask how far an upload is", answer->status, answer->body);
  }
  co_return offset;
}

// Returns the bytes sent. After a broken piece the far side is asked how much arrived.
asio::awaitable<Result<std::int64_t>> ArtifactClient::put_file(std::string id, ArtifactFile file,
                                                               fs::path path,
                                                               net::CancelSource* cancel) {
  const ScopedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) co_return io_error("Cannot open '" + path.string() + "'", errno);
  const std::string target = file_target(id, file.path);
  std::int64_t offset = file.received.count();
  std::int64_t sent = 0;
  Error last{Code::kUnavailable, ""};
  int tries = 0;
  // An empty file exists at the far side only after a PUT.
  bool put_once = file.size.count() > 0;
  while ((offset < file.size.count() || !put_once) && tries < kMaxTries) {
    const std::int64_t length = std::min(kPieceBytes, file.size.count() - offset);
    ClientRequest put;
    put.method = Method::kPut;
    put.target = target;
    put.headers.set("Upload-Offset", std::to_string(offset));
    put.headers.set("Content-Type", "application/octet-stream");
    put.body = net::FileRange{fd.get(), static_cast<std::uint64_t>(offset),
                              static_cast<std::uint64_t>(length)};
    put.total_timeout = kPieceTimeout;
    put.cancel = cancel;
    const auto answer = co_await http_.send(std::move(put));
    if (answer && answer->status < 300) {
      offset += length;
      sent += length;
      tries = 0;
      put_once = true;
      continue;
    }
    last =
        answer ? upload_error("Cannot upload '" + file.path + "'", *answer) : later(answer.error());
    if (answer && is_digest_mismatch(answer->body)) {
      const auto look = [path, file, last] { return whose_fault(path, file, last); };
      last = co_await off_loop(pool_, look);
    }
    if (last.code != Code::kUnavailable || (cancel != nullptr && cancel->cancelled())) {
      co_return last;
    }
    if (++tries > 1) co_await sleep_for(Millis(250 << tries));
    const auto there = co_await received(target, cancel);
    if (there && *there > offset) tries = 0;
    if (there) offset = std::min(*there, file.size.count());
  }
  if (tries == kMaxTries) co_return last;
  co_return sent;
}

asio::awaitable<Result<Artifact>> ArtifactClient::describe(std::string id,
                                                           net::CancelSource* cancel) {
  ClientRequest get;
  get.target = "/v1/artifacts/" + net::url_escape(id);
  get.cancel = cancel;
  get.max_response_bytes = kMaxAnswer;
  const auto answer = co_await http_.send(std::move(get));
  if (!answer) co_return later(answer.error());
  if (answer->status != 200) {
    co_return answer_error("Cannot fetch the artifact '" + id + "'", answer->status, answer->body);
  }
  auto artifact = decode_artifact(answer->body);
  if (!artifact) co_return later(artifact.error());
  if (artifact->id != id) {
    co_return Error{Code::kUnavailable,
                    "The control plane answered about another artifact than '" + id + "'."};
  }
  co_return artifact;
}

asio::awaitable<Status> ArtifactClient::download(Artifact artifact, fs::path folder,
                                                 net::CancelSource* cancel) {
  for (const ArtifactFile& file : artifact.files) {
    if (!is_safe_relative(file.path)) {
      co_return Error{Code::kCorrupt, "'" + file.path + "' would leave its folder."};
    }
    const fs::path path = folder / file.path;
    if (Status made = make_folders(path.parent_path()); !made) co_return made;
    const Status got = co_await get_file(artifact.id, file, path, cancel);
    if (!got) co_return got;
  }
  co_return ok();
}

asio::awaitable<Status> ArtifactClient::get_file(std::string id, ArtifactFile file, fs::path path,
                                                 net::CancelSource* cancel) {
  Error last{Code::kUnavailable, "The download of '" + file.path + "' was cut off."};
  for (int tries = 0; tries < kMaxTries; ++tries) {
    if (tries > 0) co_await sleep_for(Millis(250 << tries));
    if (size_of(path) > file.size.count()) ::unlink(path.c_str());
    const std::int64_t have = std::max<std::int64_t>(size_of(path), 0);
    const ScopedFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (fd.get() < 0) co_return io_error("Cannot create '" + path.string() + "'", errno);
    if (have < file.size.count()) {
      ClientRequest get;
      get.target = file_target(id, file.path);
      get.cancel = cancel;
      get.headers.set("Range", "bytes=" + std::to_string(have) + "-");
      std::int64_t room = file.size.count() - have;
      const int out = fd.get();
      const net::HttpClient::Sink sink = [out, &room, &path](std::string_view piece) {
        room -= static_cast<std::int64_t>(piece.size());
        if (room < 0) return Status(Error{Code::kCorrupt, "More bytes came than announced."});
        while (!piece.empty()) {
          const ssize_t wrote = ::write(out, piece.data(), piece.size());
          if (wrote < 0 && errno == EINTR) continue;
          if (wrote < 0) return Status(io_error("Cannot write '" + path.string() + "'", errno));
          piece.remove_prefix(static_cast<std::size_t>(wrote));
        }
        return ok();
      };
      const auto answer = co_await http_.download(std::move(get), sink);
      if (answer && answer->status == 200 && have > 0) {
        // The whole file instead of the rest was sent: not to be appended.
        ::unlink(path.c_str());
        continue;
      }
      if (answer && answer->status >= 300) {
        last = answer_error("Cannot fetch '" + file.path + "'", answer->status, answer->body);
      } else if (!answer) {
        last = answer.error();
      }
      if (last.code == Code::kNoSpace || last.code == Code::kIo || last.code == Code::kNotFound ||
          (cancel != nullptr && cancel->cancelled())) {
        co_return last;
      }
      if (last.code == Code::kCorrupt) ::unlink(path.c_str());
    }
    if (size_of(path) != file.size.count()) continue;
    const auto finish = [path, file] { return finish_file(path, file); };
    const Status checked = co_await off_loop(pool_, finish);
    if (checked || checked.error().code != Code::kUnavailable) co_return checked;
    last = checked.error();
  }
  if (last.code == Code::kCorrupt) last.code = Code::kUnavailable;
  co_return last;
}

}  // namespace ratchet::agent
