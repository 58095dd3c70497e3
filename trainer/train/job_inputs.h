#pragma once

// All that an attempt needs before anything large is loaded: the model folder (headers only),
// tokenizer, template, data as ids, the layout of what is trained, and the length of the run. Used
// by `run` and by `check SPEC`, so both judge a job by the same rules.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/attempt_spec.h"
#include "proto/events.h"
#include "proto/result.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/data/packing.h"
#include "trainer/data/tokenized_dataset.h"
#include "trainer/hf/chat_template.h"
#include "trainer/hf/tokenizer.h"
#include "trainer/model/hf_folder.h"
#include "trainer/model/lora_layout.h"

namespace ratchet::trainer {

struct JobInputs {
  HfFolder folder;
  Tokenizer tokenizer;
  std::unique_ptr<ChatTemplate> chat_template;  // null when there is none
  TokenizedDataset train;
  std::optional<TokenizedDataset> validation;
  TokenizeCounts counts;           // of the training file
  DataIdentity data_identity;      // of the training file
  std::optional<LoraLayout> lora;  // method lora
  ArenaLayout arena;               // of what is trained, either method
  PackingOptions packing;
  RunLength run_length;
  Identity identity;  // for the manifest; base_model empty until digest_base_model()
  std::vector<std::string> warnings;  // full sentences
};

struct JobInputsOptions {
  // Stage changes and progress, from the calling thread; may be empty.
  std::function<void(Stage, const std::string& detail)> on_stage;
  std::function<void(std::uint64_t done, std::uint64_t total)> on_data_progress;
};

// What was at fault decides the exit record: kInvalidArgument and kNotFound of the spec or model
// are the user's; faults of a data file carry data_fault.
struct InputsError {
  Error error;
  bool data_fault = false;
};

struct InputsResult {
  std::optional<JobInputs> inputs;  // or
  InputsError problem;
};

InputsResult open_job_inputs(const AttemptSpec& spec, const JobInputsOptions& options = {});

// The template of `folder`, or the named file. Null when there is none: rows that need one then say
// how to name it.
Result<std::unique_ptr<ChatTemplate>> find_chat_template(const std::string& folder,
                                                         const std::optional<std::string>& file);

// Digest over the names and SHA-256 of all shards: reads every weight once.
Result<std::string> digest_base_model(const HfFolder& folder, const DigestProgress& progress = {});

// The checkpoint's kind for a method.
WeightsKind weights_kind(Method method);

}  // namespace ratchet::trainer
