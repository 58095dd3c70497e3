#pragma once

// Telemetry: one typed event, one line of JSON. Written by the trainer, read by agent and tools.
//
//   {"schema":"event/1","type":"step","seq":17,"time_ms":1763722800123,"job_id":"demo",
//    "attempt_no":1,"epoch":0,"step":12,"loss":2.31,...}
//
// Floats that are not finite are null in JSON; where bits matter they are in a *_bits field: 16 hex
// digits of the IEEE double (loss, grad_norm), so that a resume can prove its first steps (V8).
// Readers tolerate unknown fields and get kUnsupported for an unknown type or schema version.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "proto/exit_record.h"
#include "proto/ids.h"
#include "proto/result.h"
#include "proto/units.h"
#include "proto/words.h"

namespace ratchet {

constexpr std::string_view kEventSchema = "event/1";
constexpr std::size_t kMaxEventBytes = 256 * 1024;  // of one encoded line

struct EventHeader {
  std::uint64_t seq = 0;  // from 1, without gaps in one output folder, over all attempts
  UnixMillis time{0};
  JobId job_id;
  std::int64_t attempt_no = 1;
  std::int64_t epoch = 0;
  bool operator==(const EventHeader&) const = default;
};

enum class Stage {  // TRN-07
  kValidation,      // spec, model folder and data are checked
  kPreprocessing,   // tokenising, packing
  kModelLoad,
  kTraining,
  kEvaluation,
  kCheckpointing,  // only where the loop waits for it: at the end or in an emergency
  kExport,
};
std::span<const Word<Stage>> word_table(Stage);

struct StageEvent {
  Stage stage = Stage::kValidation;
  std::string detail;  // for people: "reading 16 shards"; may be empty
  bool operator==(const StageEvent&) const = default;
};

struct StepTimes {  // milliseconds; the whole is their sum plus what is not accounted for
  double total_ms = 0;
  double data_ms = 0;
  double forward_ms = 0;
  double backward_ms = 0;
  double optimizer_ms = 0;
  double checkpoint_stall_ms = 0;
  bool operator==(const StepTimes&) const = default;
};

struct VramUse {
  Bytes allocated;    // by tensors
  Bytes reserved;     // by the caching allocator
  Bytes peak;         // most allocated since the attempt began
  Bytes device_used;  // by all processes, as the driver says
  bool operator==(const VramUse&) const = default;
};

struct StepEvent {
  std::int64_t step = 0;         // steps complete, counting this one
  std::int64_t total_steps = 0;  //
  double data_epoch = 0;         // passes over the data so far, with fraction
  double loss = 0;               // mean over the trained tokens of the step
  double grad_norm = 0;          // before clipping
  double lr = 0;
  std::int64_t tokens = 0;          // of this step
  std::int64_t trained_tokens = 0;  // of them, those with a loss
  double tokens_per_s = 0;
  StepTimes times;
  double eta_s = 0;  // to the last step
  std::optional<VramUse> vram;
  bool replayed = false;  // an earlier attempt had already done this step
  bool operator==(const StepEvent&) const = default;
};

struct EvaluationEvent {
  std::int64_t step = 0;
  double loss = 0;  // mean over the trained tokens of the validation set
  std::int64_t trained_tokens = 0;
  double duration_ms = 0;
  bool best = false;  // lowest of the job so far
  bool operator==(const EvaluationEvent&) const = default;
};

enum class CheckpointReason { kInterval, kRequest, kSignal, kEnd, kBest, kStop };
std::span<const Word<CheckpointReason>> word_table(CheckpointReason);

struct CheckpointEvent {
  std::int64_t step = 0;
  CheckpointReason reason = CheckpointReason::kInterval;
  std::string path;  // of the committed checkpoint; empty when skipped
  std::string manifest_sha256;
  Bytes size;
  std::int64_t stall_us = 0;  // the loop waited
  double copy_ms = 0;         // arenas to the snapshot
  double write_ms = 0;        // snapshot to disk, committed
  std::string skipped;        // why there is none: full disk, deadline; empty when committed
  bool operator==(const CheckpointEvent&) const = default;
};

enum class ResumeClass {
  kBitExact,  // A
  kSameData,  // B: same data and random numbers, other hardware or threads
  kDegraded,  // C: with reasons
};
std::span<const Word<ResumeClass>> word_table(ResumeClass);

struct RejectedCheckpoint {
  std::string path;
  std::string rung;  // "V2"
  std::string reason;
  bool operator==(const RejectedCheckpoint&) const = default;
};

struct ResumeEvent {
  std::int64_t step = 0;  // of the checkpoint
  std::string path;
  ResumeClass resume_class = ResumeClass::kBitExact;
  std::vector<std::string> reasons;          // why it is not A
  std::vector<RejectedCheckpoint> rejected;  // newer ones that did not pass
  std::int64_t replay_steps = 0;             // steps done before that are done again
  bool operator==(const ResumeEvent&) const = default;
};

struct WarningEvent {
  std::string kind;     // stable word: "rows_truncated", "witness_mismatch"
  std::string message;  // full sentence
  std::int64_t step = 0;
  bool operator==(const WarningEvent&) const = default;
};

using EventBody = std::variant<StageEvent, StepEvent, EvaluationEvent, CheckpointEvent, ResumeEvent,
                               WarningEvent, ExitRecord>;

struct Event {
  EventHeader header;
  EventBody body;
  bool operator==(const Event&) const = default;
};

// "stage", "step", "evaluation", "checkpoint", "resume", "warning", "exit".
std::string_view event_type(const EventBody& body);

// One line without its newline, keys sorted, at most kMaxEventBytes: long texts (4000 bytes) and
// lists (200) are cut. Invalid UTF-8 in a text is replaced by U+FFFD.
std::string encode_event(const Event& event);

Result<Event> decode_event(std::string_view line);

// 16 lower-case hex digits of a double, and back.
std::string double_bits(double value);
std::optional<double> double_from_bits(std::string_view hex);

}  // namespace ratchet
