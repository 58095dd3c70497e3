#pragma once

// Files to and from the control plane's artifact store, with digests on both ends. Both ways go on
// where an earlier try was cut off.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "controlplane/cli/api.h"
#include "controlplane/cli/files.h"

namespace ratchet::control::cli {

// What a transfer says while it works. `done` and `total` are bytes.
struct TransferProgress {
  std::function<void(std::string_view what, std::int64_t done, std::int64_t total)> update;
  std::function<void(const std::string& line)> say;
};

struct Uploaded {
  std::string artifact_id;
  std::int64_t bytes = 0;  // of the whole artifact
  std::int64_t sent = 0;   // of it, by this call: the rest was there
};

// Hashes, declares, sends what is missing and seals. `kind` as in POST /v1/artifacts.
Answer<Uploaded> upload_artifact(Api& api, const std::string& kind, const std::string& path,
                                 const TransferProgress& progress);

struct Downloaded {
  std::vector<std::string> files;  // paths on this machine
  std::int64_t bytes = 0;
  std::int64_t received = 0;  // the rest was there
};

// Every file of a sealed artifact below `folder`. A file counts once its digest holds; until then
// it is NAME.part. Files that are there with the right digest are left alone; others are replaced.
Answer<Downloaded> download_artifact(Api& api, const std::string& artifact_id,
                                     const std::string& folder, const TransferProgress& progress);

// A line on stderr that is drawn over (terminal), or nothing until the end (no terminal).
TransferProgress transfer_progress(bool quiet);

}  // namespace ratchet::control::cli
