#pragma once

// Artifacts of the control plane: folders of files by content. Uploads and downloads go on where
// they were cut off and are checked by SHA-256 at the far end (uploads) and here (downloads).
//
// Coroutines on the loop thread; hashing and reading happen on the pool.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "proto/net/http_client.h"
#include "proto/result.h"
#include "proto/units.h"

namespace ratchet::agent {

namespace asio = boost::asio;

struct ArtifactFile {
  std::string path;  // relative; is_safe_relative()
  Bytes size;
  std::string sha256;
  Bytes received;  // of an open artifact
  bool operator==(const ArtifactFile&) const = default;
};

struct Artifact {
  std::string id;
  std::string kind;
  bool sealed = false;
  std::vector<ArtifactFile> files;
};

// The JSON that the control plane answers about an artifact. Untrusted: ids that are no ids and
// paths that leave their folder are refused.
Result<Artifact> decode_artifact(std::string_view text);

// No empty part, no "." or "..", not absolute, no NUL or backslash, at most 1024 bytes.
bool is_safe_relative(std::string_view path);

// What a status of 400 and above says, as an Error for people. kUnavailable: worth a retry.
Error answer_error(std::string_view what, int status, std::string_view body);

struct UploadArgs {
  std::string kind;  // "checkpoint", "adapter", "model"
  std::filesystem::path folder;
  net::CancelSource* cancel = nullptr;  // borrowed; ends it with kUnavailable
};
struct Uploaded {
  std::string artifact_id;
  Bytes sent;  // over the wire
};

class ArtifactClient {
 public:
  // Borrowed; must outlive this object and its requests.
  ArtifactClient(net::HttpClient& http, asio::thread_pool& pool) : http_(http), pool_(pool) {}

  // Fails with kUnavailable when a later try may succeed, kNotFound or kCorrupt when the files here
  // are gone or changed.
  asio::awaitable<Result<Uploaded>> upload(UploadArgs args);

  asio::awaitable<Result<Artifact>> describe(std::string id, net::CancelSource* cancel);

  // All files of a sealed artifact into `folder`, where parts of an earlier try may lie. Every file
  // is digest-checked and synced when it returns.
  asio::awaitable<Status> download(Artifact artifact, std::filesystem::path folder,
                                   net::CancelSource* cancel);

 private:
  asio::awaitable<Result<std::int64_t>> put_file(std::string id, ArtifactFile file,
                                                 std::filesystem::path path,
                                                 net::CancelSource* cancel);
  asio::awaitable<Result<std::int64_t>> received(std::string target, net::CancelSource* cancel);
  asio::awaitable<Status> get_file(std::string id, ArtifactFile file, std::filesystem::path path,
                                   net::CancelSource* cancel);

  net::HttpClient& http_;
  asio::thread_pool& pool_;
};

}  // namespace ratchet::agent
