#include "trainer/train/job_inputs.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "trainer/data/order.h"
#include "trainer/data/structural_check.h"
#include "trainer/model/digest.h"

namespace ratchet::trainer {
namespace {

std::string sha256_hex(std::string_view text) { return to_hex(sha256(text)); }

unsigned worker_threads() { return std::clamp(std::thread::hardware_concurrency(), 1U, 16U); }

InputsResult refuse(Error error, bool data_fault = false) {
  return {std::nullopt, {std::move(error), data_fault}};
}

void tell(const JobInputsOptions& options, Stage stage, const std::string& detail) {
  if (options.on_stage) {
    options.on_stage(stage, detail);
  }
}

TokenizeOptions tokenize_options(const AttemptSpec& spec, const JobInputsOptions& options) {
  const DataSpec& data = spec.job.data;
  TokenizeOptions result;
  result.format = data.format;
  result.columns = data.columns;
  result.sequence_length = static_cast<std::uint32_t>(data.sequence_length);
  result.over_long = data.over_long;
  result.threads = worker_threads();
  result.progress = options.on_data_progress;
  return result;
}

// The structural pass alone, so that a broken file costs neither tokenizer nor model.
Status check_file(const std::string& path, const AttemptSpec& spec,
                  const JobInputsOptions& options) {
  CheckOptions check;
  check.format = spec.job.data.format;
  check.columns = spec.job.data.columns;
  check.threads = worker_threads();
  check.progress = options.on_data_progress;
  const auto report = check_structure(path, check);
  if (!report) {
    return report.error();
  }
  return report->passed() ? ok() : Status(data_error(path, report->findings));
}

Result<TokenizeReport> tokenize_checked(const std::string& path, const JobInputs& inputs,
                                        const TokenizeOptions& options) {
  auto report = tokenize_file(path, inputs.tokenizer, inputs.chat_template.get(), options);
  if (report && !report->passed()) {
    return data_error(path, report->findings);
  }
  return report;
}

void warn_about(const TokenizeCounts& counts, const std::string& path, JobInputs& inputs) {
  const auto say = [&](std::uint64_t count, const std::string& what) {
    if (count > 0) {
      inputs.warnings.push_back(std::to_string(count) + " of " + std::to_string(counts.rows) +
                                " rows of '" + path + "' " + what);
    }
  };
  say(counts.dropped, "were dropped: longer than data.sequence_length.");
  say(counts.truncated, "were cut at data.sequence_length.");
  say(counts.untrainable, "were dropped: no token of them is trained.");
  say(counts.duplicates, "repeat another row token by token; they are kept.");
}

Status load_data(const AttemptSpec& spec, const JobInputsOptions& options, JobInputs& inputs) {
  const auto tokenizing = tokenize_options(spec, options);
  auto train = tokenize_checked(spec.paths.train, inputs, tokenizing);
  if (!train) {
    return train.error();
  }
  warn_about(train->counts, spec.paths.train, inputs);
  inputs.counts = train->counts;
  inputs.data_identity = train->identity;
  inputs.identity.dataset = train->identity.digest;
  inputs.identity.chat_template = train->identity.chat_template;
  inputs.train = std::move(train->dataset);
  if (spec.paths.validation) {
    auto held_out = tokenize_checked(*spec.paths.validation, inputs, tokenizing);
    if (!held_out) {
      return held_out.error();
    }
    inputs.identity.dataset =
        sha256_hex(inputs.identity.dataset + "\n" + held_out->identity.digest);
    inputs.validation = std::move(held_out->dataset);
  } else if (spec.job.data.validation_share) {
    const auto groups = inputs.train.rows_of_samples();
    const auto split =
        split_samples(groups, *spec.job.data.validation_share, spec.job.training.seed);
    inputs.validation = inputs.train.subset(split.validation);
    inputs.train = inputs.train.subset(split.train);
  }
  if (inputs.train.samples() == 0) {
    return Error{Code::kInvalidArgument, "No row of '" + spec.paths.train +
                                             "' is left to train on. Look at its rows with "
                                             "`ratchet-trainer render`."};
  }
  return ok();
}

Status plan_layout(const AttemptSpec& spec, JobInputs& inputs) {
  const ModelConfig& config = inputs.folder.config();
  if (spec.job.method == Method::kFull) {
    inputs.arena = make_full_layout(config);
    return ok();
  }
  const LoraSpec& lora = spec.job.lora;
  const auto targets = parse_target_modules(lora.target_modules);
  if (!targets) {
    return targets.error();
  }
  auto layout = make_lora_layout(
      config, {lora.rank, static_cast<double>(lora.alpha), lora.rslora, lora.dora}, *targets);
  if (!layout) {
    return layout.error();
  }
  inputs.arena = layout->arena;
  inputs.lora = std::move(*layout);
  return ok();
}

Status check_vocabulary(const JobInputs& inputs, const std::string& model) {
  if (inputs.tokenizer.vocab_size() > inputs.folder.config().vocab_size) {
    return Error{Code::kInvalidArgument,
                 "The tokenizer of '" + model + "' has " +
                     std::to_string(inputs.tokenizer.vocab_size()) + " tokens, the model only " +
                     std::to_string(inputs.folder.config().vocab_size) +
                     ". They do not belong together; use the tokenizer that came with the model."};
  }
  return ok();
}

}  // namespace

Result<std::unique_ptr<ChatTemplate>> find_chat_template(const std::string& folder,
                                                         const std::optional<std::string>& file) {
  const auto override_file = file ? std::optional<std::filesystem::path>(*file) : std::nullopt;
  auto loaded = ChatTemplate::load(folder, override_file);
  if (loaded) {
    return std::make_unique<ChatTemplate>(std::move(*loaded));
  }
  if (loaded.error().code == Code::kNotFound && !file) {
    return std::unique_ptr<ChatTemplate>();
  }
  return loaded.error();
}

WeightsKind weights_kind(Method method) {
  return method == Method::kFull ? WeightsKind::kFull : WeightsKind::kAdapter;
}

Result<std::string> digest_base_model(const HfFolder& folder, const DigestProgress& progress) {
  const auto shards = folder.digest_shards(progress);
  if (!shards) {
    return shards.error();
  }
  std::string all;
  for (const ShardDigest& shard : *shards) {
    all += shard.file + " " + shard.digest.sha256 + "\n";
  }
  return sha256_hex(all);
}

InputsResult open_job_inputs(const AttemptSpec& spec, const JobInputsOptions& options) {
  tell(options, Stage::kValidation, "reading the headers of '" + spec.paths.base_model + "'");
  auto folder = HfFolder::open(spec.paths.base_model);
  if (!folder) {
    return refuse(folder.error());
  }
  tell(options, Stage::kValidation, "checking '" + spec.paths.train + "'");
  if (auto fine = check_file(spec.paths.train, spec, options); !fine) {
    return refuse(fine.error(), true);
  }
  if (spec.paths.validation) {
    if (auto fine = check_file(*spec.paths.validation, spec, options); !fine) {
      return refuse(fine.error(), true);
    }
  }
  auto tokenizer = Tokenizer::load(spec.paths.base_model);
  if (!tokenizer) {
    return refuse(tokenizer.error());
  }
  auto chat_template = find_chat_template(spec.paths.base_model, spec.paths.chat_template);
  if (!chat_template) {
    return refuse(chat_template.error());
  }
  InputsResult result;
  result.inputs.emplace(JobInputs{std::move(*folder),
                                  std::move(*tokenizer),
                                  std::move(*chat_template),
                                  {},
                                  {},
                                  {},
                                  {},
                                  {},
                                  {},
                                  {},
                                  {},
                                  {},
                                  {}});
  JobInputs& inputs = *result.inputs;
  inputs.warnings = inputs.folder.notes();
  if (auto fits = check_vocabulary(inputs, spec.paths.base_model); !fits) {
    return refuse(fits.error());
  }
  if (auto planned = plan_layout(spec, inputs); !planned) {
    return refuse(planned.error());
  }
  tell(options, Stage::kPreprocessing, "tokenising '" + spec.paths.train + "'");
  if (auto loaded = load_data(spec, options, inputs); !loaded) {
    return refuse(loaded.error(), true);
  }
  inputs.identity.tokenizer = inputs.tokenizer.digest();
  inputs.identity.recipe = sha256_hex(encode_job_spec(spec.job));
  const TrainingSpec& training = spec.job.training;
  inputs.packing = {training.seed, static_cast<std::uint32_t>(spec.job.data.sequence_length),
                    spec.job.data.packing};
  inputs.run_length.global_batch = static_cast<std::uint64_t>(training.global_batch);
  if (training.max_steps) {
    inputs.run_length.max_steps = static_cast<std::uint64_t>(*training.max_steps);
  } else {
    inputs.run_length.data_epochs = static_cast<std::uint64_t>(*training.data_epochs);
  }
  return result;
}

}  // namespace ratchet::trainer
