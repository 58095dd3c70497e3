#pragma once

// What a finished job leaves for others: a PEFT adapter folder, or a Hugging Face model folder.

#include <span>
#include <string>

#include "proto/attempt_spec.h"
#include "proto/result.h"
#include "trainer/train/job_inputs.h"

namespace ratchet::trainer {

// <output_dir>/adapter (method lora) or <output_dir>/model (method full).
std::string result_folder(const AttemptSpec& spec);

// Writes that folder from the trained values (inputs.arena.arena_size floats); a folder of an
// earlier execution is replaced.
Status export_result(const AttemptSpec& spec, const JobInputs& inputs,
                     std::span<const float> params);

}  // namespace ratchet::trainer
