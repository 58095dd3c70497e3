#pragma once

// AttemptSpec: what the trainer runs. A JobSpec, where its files are, where its output goes, and
// which execution of the job this is. Made by the agent, or by the trainer when it runs alone.
//
//   {"schema": "attempt/1", "job": {JobSpec}, "job_id": .., "run_id": .., "attempt_no": 1,
//    "epoch": 0, "paths": {"base_model": .., "train": .., "validation": .., "chat_template": ..,
//    "init_adapter": ..}, "output_dir": .., "resume": "auto" | "never" | "/path",
//    "stop_at_step": 120}

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "proto/finding.h"
#include "proto/ids.h"
#include "proto/job_spec.h"

namespace ratchet {

constexpr std::string_view kAttemptSchema = "attempt/1";

enum class ResumeMode {
  kAuto,   // newest valid checkpoint of the output folder, or from the start when there is none
  kNever,  // from the start; refused by the trainer when the output folder holds checkpoints
  kPath,   // this checkpoint or nothing
};

struct ResumePoint {
  ResumeMode mode = ResumeMode::kAuto;
  std::string path;  // absolute; only for kPath
  bool operator==(const ResumePoint&) const = default;
};

// All absolute and lexically normal. Optional ones are set exactly when the job names them.
struct AttemptPaths {
  std::string base_model;
  std::string train;
  std::optional<std::string> validation;
  std::optional<std::string> chat_template;
  std::optional<std::string> init_adapter;
  bool operator==(const AttemptPaths&) const = default;
};

struct AttemptSpec {
  JobSpec job;  // as the user wrote it: its own paths stay as they were
  JobId job_id;
  RunId run_id;
  std::int64_t attempt_no = 1;  // counts every execution of the job from 1
  std::int64_t epoch = 0;       // fencing number; 0 when the trainer runs alone
  AttemptPaths paths;
  std::string output_dir;  // absolute
  ResumePoint resume;
  std::optional<std::int64_t> stop_at_step;  // save and leave (preempted) after this step
  bool operator==(const AttemptSpec&) const = default;
};

struct AttemptArgs {
  std::string base_dir;    // absolute; the folder that relative paths of the job start from
  std::string output_dir;  // relative to base_dir, or absolute
  JobId job_id;            // empty: made from the job's name
  RunId run_id;            // empty: the same as the job id
  std::int64_t attempt_no = 1;
  std::int64_t epoch = 0;
  ResumePoint resume;
  std::optional<std::int64_t> stop_at_step;
};

// Pure: looks at no file. Fails when base_dir is not absolute or an id, number or path is unusable.
Result<AttemptSpec> make_attempt_spec(const JobSpec& job, const AttemptArgs& args);

// Strict for the job in it and for missing or wrong values; tolerates unknown keys elsewhere
// (attempt specs are peer messages).
Decoded<AttemptSpec> decode_attempt_spec(std::string_view text);
std::string encode_attempt_spec(const AttemptSpec& spec);

// Whether a document says that it is an attempt spec (any version): `run SPEC` takes both kinds.
bool is_attempt_spec(std::string_view text);

// A valid id from free text: "Support bot, v2" becomes "support-bot-v2".
std::string id_from_name(std::string_view name);

}  // namespace ratchet
