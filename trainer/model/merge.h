#pragma once

// Merges an adapter into its base: W + scaling * B A, in fp32, rounded once to the stored dtype.
// Streams the base folder: one matrix in memory at a time.

#include <filesystem>

#include "proto/result.h"
#include "trainer/model/digest.h"
#include "trainer/model/hf_folder.h"
#include "trainer/model/peft_folder.h"

namespace ratchet::trainer {

// Writes the merged model folder to `out`, which must be new or empty.
Status merge_adapter(const HfFolder& base, const PeftFolder& adapter,
                     const std::filesystem::path& out, const DigestProgress& progress = {});

}  // namespace ratchet::trainer
