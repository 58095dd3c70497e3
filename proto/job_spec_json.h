#pragma once

// Between JobSpec and JSON trees, for the other .cc files of this room only (an AttemptSpec holds a
// JobSpec). Everybody else uses the text forms in job_spec.h.

#include <nlohmann/json_fwd.hpp>

#include "proto/document.h"
#include "proto/job_spec.h"

namespace ratchet {

// Adds findings to the reader's list; the value is meaningless when it added any.
JobSpec read_job_spec(ObjectReader& root);

nlohmann::json job_spec_to_json(const JobSpec& spec);

// Keys that people write for ours, from other trainers' settings or in the wrong section.
std::span<const KeyHint> job_spec_hints();

}  // namespace ratchet
