#pragma once

// The trainer's control socket: one JSON line a request, one a response, on a Unix socket in the
// output folder. Requests come from the agent or from a person with a tool.
//
//   -> {"request":"checkpoint","deadline_ms":5000}
//   <- {"schema":"control/1","ok":true,"request":"checkpoint","job_id":"demo","stage":"training",
//       "step":120,"total_steps":400,"checkpoint":{"step":120,"path":"..","manifest_sha256":".."}}

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "proto/events.h"
#include "proto/ids.h"
#include "proto/result.h"
#include "proto/words.h"

namespace ratchet {

constexpr std::string_view kControlSchema = "control/1";
constexpr std::size_t kMaxControlBytes = 64 * 1024;  // of one encoded line
constexpr std::chrono::milliseconds kMaxControlDeadline = std::chrono::hours(1);

enum class ControlVerb {
  kCheckpoint,  // copy the last complete step, commit inside the deadline, go on training
  kStatus,      // answer at once
  kStop,        // as checkpoint, then leave with exit kind preempted
};
std::span<const Word<ControlVerb>> word_table(ControlVerb);

struct ControlRequest {
  ControlVerb verb = ControlVerb::kStatus;
  std::optional<std::chrono::milliseconds>
      deadline;  // 1 ms to an hour; none: the trainer's default
  bool operator==(const ControlRequest&) const = default;
};

struct ControlCheckpoint {
  std::int64_t step = 0;
  std::string path;
  std::string manifest_sha256;
  bool operator==(const ControlCheckpoint&) const = default;
};

struct ControlResponse {
  bool ok = false;
  ControlVerb verb = ControlVerb::kStatus;
  std::string error;  // full sentence when not ok
  JobId job_id;
  Stage stage = Stage::kValidation;
  std::int64_t step = 0;
  std::int64_t total_steps = 0;
  std::optional<ControlCheckpoint> checkpoint;  // the newest committed one
  bool operator==(const ControlResponse&) const = default;
};

// Lines without their newline. Decoders tolerate unknown fields.
std::string encode_control_request(const ControlRequest& request);
Result<ControlRequest> decode_control_request(std::string_view line);
std::string encode_control_response(const ControlResponse& response);
Result<ControlResponse> decode_control_response(std::string_view line);

}  // namespace ratchet
